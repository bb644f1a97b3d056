"""May this call go now, and if not: who is next?

Every call waits for a place in all the buckets that concern it, and takes them together. Among those that could go,
the more urgent goes first, and then the cards and chats by turns, so that a busy one makes no other wait. A call
that can not go in time is told so before it waits rather than after.

A place is taken when a call goes, and is free again when the window has passed *since its answer*: in between the
platform has counted it, nobody knows when. So no delay on the way can put more into a window than it holds.

What others use of a limit that is shared (other bots in a chat, other processes of this app) is learned from
refusals: each halves what the bucket lets through, which then grows back slowly.
"""

from bisect import insort
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import floor
from typing import Final

from mainstay.channels.feishu.governor.model import Busy, Call, Key, Limit, Scope, Urgency

__all__ = ["Bucket", "Governor", "Ticket"]

_NEVER: Final = float("-inf")
_FOREVER: Final = float("inf")
_LEAST_SHARE: Final = 1 / 8
_MANY_BUCKETS: Final = 1000


@dataclass(slots=True, eq=False)
class Ticket:
    """A call that waits for its places, or has them.

    Attributes:
        went_s: when it got them; None while it waits.
    """

    call: Call
    turn: int
    number: int
    went_s: float | None = None

    @property
    def rank(self) -> tuple[Urgency, int, int]:
        """The lower, the sooner."""
        return self.call.urgency, self.turn, self.number


@dataclass(slots=True)
class Bucket:
    """The places under one limit."""

    limit: Limit
    _answered: list[float] = field(default_factory=list)
    _under_way: int = 0
    _paced_s: float = _NEVER
    _closed_until_s: float = _NEVER
    _share: float = 1.0
    _halved_s: float = _NEVER

    def share(self, now_s: float) -> float:
        """How much of the limit is used; 1.0 unless it was refused of late."""
        open_s = max(0.0, now_s - self._closed_until_s) if self._share < 1.0 else 0.0
        return min(1.0, self._share + open_s / self.limit.recovery_s)

    def free_s(self, now_s: float, ahead: int = 0) -> float:
        """The moment at which there is a place behind so many others, as far as that is known; ``now_s``: now."""
        share = self.share(now_s)
        free_s = max(now_s, self._closed_until_s)
        for window in self.limit.windows:
            most = max(1, floor(window.calls * share))
            rounds, rest = divmod(ahead, most)
            left, place_s = most - self._under_way - rest, free_s
            if left <= 0:
                place_s = max(place_s, now_s + window.seconds)
            elif len(self._answered) >= left:
                place_s = max(place_s, self._answered[-left] + window.seconds)
            free_s = max(free_s, place_s + rounds * window.seconds)
        if self.limit.per_second is not None:
            interval_s = 1.0 / (self.limit.per_second * share)
            free_s = max(free_s, max(self._paced_s, now_s) + (ahead + 1 - self.limit.burst) * interval_s)
        return free_s

    def take(self, now_s: float) -> None:
        """A call goes."""
        self._under_way += 1
        if self.limit.per_second is not None:
            self._paced_s = max(self._paced_s, now_s) + 1.0 / (self.limit.per_second * self.share(now_s))

    def answered(self, now_s: float) -> None:
        """The platform has counted it."""
        self._under_way -= 1
        self._answered.append(now_s)
        most = max(window.calls for window in self.limit.windows)
        if len(self._answered) > 2 * most:
            del self._answered[:-most]

    def give_back(self, now_s: float) -> None:
        """It was not made after all."""
        self._under_way -= 1
        if self.limit.per_second is not None:
            self._paced_s -= 1.0 / (self.limit.per_second * self.share(now_s))

    def refused(self, now_s: float, *, went_s: float, wait_s: float) -> None:
        """The platform had no place for a call that went then, and wants no other for so long (0.0: unsaid)."""
        if went_s > self._halved_s:
            self._share = max(self.share(now_s) / 2, _LEAST_SHARE)
            self._halved_s = now_s
        pause_s = wait_s or self.limit.windows[0].seconds / self._share
        self._closed_until_s = max(self._closed_until_s, now_s + pause_s)

    def is_idle(self, now_s: float) -> bool:
        """Whether a new one would be the same."""
        longest_s = max(window.seconds for window in self.limit.windows)
        used = self._under_way or (self._answered and self._answered[-1] + longest_s > now_s)
        return not used and max(self._closed_until_s, self._paced_s) <= now_s and self.share(now_s) == 1.0


class Governor:
    """All calls of one app.

    Args:
        limits: by whose calls they count.
        longest_s: after so long a call that went is taken to be over, whether or not its end was told.
        most_waiting: so many calls may wait; more are told to come back.
    """

    def __init__(self, limits: Mapping[Scope, Limit], *, longest_s: float, most_waiting: int) -> None:
        self._limits = limits
        self._longest_s = longest_s
        self._most_waiting = most_waiting
        self._buckets: dict[Key, Bucket] = {}
        self._waiting: list[Ticket] = []
        self._going: dict[Ticket, None] = {}
        self._turns: dict[Key, int] = {}
        self._turn = 0
        self._number = 0

    @property
    def waiting(self) -> int:
        """How many calls wait for a place."""
        return len(self._waiting)

    def ask(self, call: Call, now_s: float, *, patience_s: float) -> Ticket | Busy:
        """Want to make a call within so long; a ticket goes when `go` says so."""
        turn = max(self._turn, self._turns.get(call.owner, -1) + 1)
        ticket = Ticket(call, turn, self._number)
        wait_s = self._free_s(ticket, now_s) - now_s
        if wait_s > patience_s or len(self._waiting) >= self._most_waiting:
            return Busy(max(wait_s, 0.0))
        self._number += 1
        self._turns[call.owner] = turn
        insort(self._waiting, ticket, key=lambda each: each.rank)
        return ticket

    def _free_s(self, ticket: Ticket, now_s: float) -> float:
        before = [each.call.buckets for each in self._waiting if each.rank < ticket.rank]
        return max(
            self._bucket(key).free_s(now_s, sum(key in buckets for buckets in before))
            for key in ticket.call.buckets
        )

    def go(self, now_s: float) -> tuple[list[Ticket], float]:
        """Those that go now, in this order, and the moment to ask again at the latest."""
        self._expire(now_s)
        going: list[Ticket] = []
        staying: list[Ticket] = []
        free: dict[Key, float] = {}
        next_s = _FOREVER
        for ticket in self._waiting:
            for key in ticket.call.buckets:
                if key not in free:
                    free[key] = self._bucket(key).free_s(now_s)
            free_s = max(free[key] for key in ticket.call.buckets)
            if free_s > now_s:
                staying.append(ticket)
                next_s = min(next_s, free_s)
                continue
            for key in ticket.call.buckets:
                self._bucket(key).take(now_s)
                del free[key]
            ticket.went_s = now_s
            self._turn = max(self._turn, ticket.turn)
            going.append(ticket)
        self._waiting = staying
        if not staying:
            self._turns.clear()
        self._going.update(dict.fromkeys(going))
        self._forget_idle(now_s)
        return going, next_s

    def answered(self, ticket: Ticket, now_s: float) -> None:
        """The call is over, however it ended."""
        if ticket in self._going:
            del self._going[ticket]
            for key in ticket.call.buckets:
                self._bucket(key).answered(now_s)

    def is_going(self, ticket: Ticket) -> bool:
        """Whether it has its places, and they are not forgotten yet."""
        return ticket in self._going

    def give_up(self, ticket: Ticket, now_s: float) -> None:
        """The call is not made; its places are free for others."""
        if ticket in self._going:
            del self._going[ticket]
            for key in ticket.call.buckets:
                self._bucket(key).give_back(now_s)
        elif ticket in self._waiting:
            self._waiting.remove(ticket)

    def refused(self, ticket: Ticket, now_s: float, *, wait_s: float, narrow: bool) -> None:
        """The platform found it one too many: for its API, or (``narrow``) for what it concerns there."""
        for key in ticket.call.buckets:
            if (key[0] is not Scope.API) is narrow:
                went_s = now_s if ticket.went_s is None else ticket.went_s
                self._bucket(key).refused(now_s, went_s=went_s, wait_s=wait_s)

    def _expire(self, now_s: float) -> None:
        while self._going:
            oldest = next(iter(self._going))
            if oldest.went_s is None or oldest.went_s + self._longest_s > now_s:
                return
            self.answered(oldest, now_s)

    def _bucket(self, key: Key) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket(self._limits[key[0]])
        return bucket

    def _forget_idle(self, now_s: float) -> None:
        if len(self._buckets) > _MANY_BUCKETS:
            self._buckets = {key: each for key, each in self._buckets.items() if not each.is_idle(now_s)}
