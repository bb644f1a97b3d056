"""Who is asked next, when, and when is it enough?

Pure decisions about one call; `mainstay.recovery.call.fallback` carries them out. A call is a walk along the chain
in its order:

1. Whoever was not asked yet comes first: while somebody is left who may do better, nobody waits and nothing is
   tried twice. The last of the chain is a *last resort*, for which its breaker makes one exception.
2. When all were asked or had to be left alone, the one that may be tried first is waited for, if the failure is one
   that passes, and all waits together are no longer than a person can bear and leave time for an attempt. Only
   then is a place waited for where all are taken.

A failure that would be the same everywhere (a wrong request, a bug of ours) ends the walk at once.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

from mainstay.errors import Category
from mainstay.recovery.call.model import Ask, GaveUp, Limits, Wait, Why
from mainstay.recovery.model import Failure, Limit, RecoverySettings

__all__ = ["Walk", "attempt_ends", "limit_at"]

_MOST_REFUSALS: Final = 3
"""So often one candidate is come back to that its breaker keeps closed: others are trying it meanwhile."""

_NOBODY: Final = Failure(category=Category.INTERNAL, message="there is nobody to ask")
_LATE: Final = Failure(category=Category.TIMEOUT, message="the time for this answer is used up")


@cache
def _first_ask(index: int, last_resort: bool) -> Ask:  # noqa: FBT001  nearly every call makes this one decision
    return Ask(index, last_resort=last_resort)


class _Standing:
    """One candidate in this call: how often it was asked or refused, and when it may be worth coming back to."""

    __slots__ = ("asked", "failure", "ready_at", "refused", "settled")

    def __init__(self) -> None:
        self.asked = 0
        self.refused = 0
        self.ready_at = 0.0
        self.failure: Failure | None = None
        self.settled = False  # nothing more is to be had from it


class Walk:
    """One call on its way along a chain of ``count`` candidates.

    Args:
        settings: see `RecoverySettings`.
        deadline: monotonic seconds by which the call must be over; infinite for none.
        chance: gives numbers from 0 to 1, for the jitter of waits.
        windows: how many tokens each candidate takes in, where that is known.
    """

    __slots__ = (
        "_chance",
        "_count",
        "_deadline",
        "_failure",
        "_next",
        "_settings",
        "_standings",
        "_waited_s",
        "_why",
        "_windows",
    )

    def __init__(
        self,
        count: int,
        settings: RecoverySettings,
        *,
        deadline: float,
        chance: Callable[[], float],
        windows: Sequence[int | None] = (),
    ) -> None:
        self._settings = settings
        self._deadline = deadline
        self._chance = chance
        self._windows = windows
        self._count = count
        self._standings: dict[int, _Standing] = {}
        self._next = 0
        self._failure: Failure | None = None
        self._why: Why = "failed"
        self._waited_s = 0.0

    def next(self, now: float) -> Ask | Wait | GaveUp:
        """What to do now. After an `Ask` one of `lost`, `refused` or `unaffordable` is due, or the call is over."""
        if self._deadline - now < self._settings.min_attempt:
            return GaveUp(failure=self._failure or _LATE, why="failed" if self._failure else "late")
        while self._next < self._count:
            index = self._next
            self._next += 1
            known = self._standings.get(index)
            if known is None or not known.settled:
                return _first_ask(index, self._next == self._count)
        return self._come_back(now)

    def lost(self, index: int, failure: Failure, now: float) -> None:
        """The attempt failed."""
        standing = self._of(index)
        standing.asked += 1
        standing.failure = failure
        self._failure, self._why = failure, "failed"
        if not self._others_may_do_better(failure):
            self._settle_others(index)
        again = standing.asked <= min(failure.traits.retries, self._settings.retries)
        standing.settled = not again
        standing.ready_at = now + max(self._backoff(standing.asked), failure.retry_after_s or 0.0)
        if failure.category is Category.CONTEXT_LENGTH:
            self._skip_smaller(index)

    def refused(self, index: int, failure: Failure, wait_s: float, now: float, *, why: Why = "left_alone") -> None:
        """No attempt could be made.

        Args:
            index: of the candidate.
            failure: what to tell if it stays at that.
            wait_s: when it may be tried; 0 when nobody knows.
            now: monotonic seconds.
            why: see `Why`.
        """
        standing = self._of(index)
        standing.refused += 1
        if self._failure is None or self._why != "failed":
            self._failure, self._why = failure, why
        standing.failure = failure
        if why == "busy":
            standing.settled, standing.ready_at = self._next == self._count, now
            return
        standing.settled = why == "forbidden" or standing.refused > _MOST_REFUSALS
        standing.ready_at = now + (wait_s or self._backoff(standing.refused))

    @property
    def patience_s(self) -> float:
        """For how long a place may be waited for: not at all while somebody is left to ask."""
        return self._settings.longest_wait - self._waited_s if self._next == self._count else 0.0

    def waited(self, seconds: float) -> None:
        """So long a place was waited for."""
        self._waited_s += seconds

    def unaffordable(self, index: int) -> None:
        """Nothing is left to pay for a retry of this candidate."""
        self._of(index).settled = True

    def _of(self, index: int) -> _Standing:
        return self._standings.setdefault(index, _Standing())

    def _others_may_do_better(self, failure: Failure) -> bool:
        if failure.category is Category.CONTENT_FILTER:
            return self._settings.content_filter_fallback
        return failure.traits.fallback

    def _settle_others(self, index: int) -> None:
        for other in range(self._count):
            if other != index:
                self._of(other).settled = True

    def _skip_smaller(self, index: int) -> None:
        """What was too long for one is too long for all that are known to take no more."""
        windows = self._windows
        size = windows[index] if index < len(windows) else None
        for other, window in enumerate(windows):
            if size is not None and window is not None and window <= size:
                self._of(other).settled = True

    def _come_back(self, now: float) -> Ask | Wait | GaveUp:
        left = [(each.ready_at, index) for index, each in self._standings.items() if not each.settled]
        if not left:
            return self._give_up(now)
        _, first = min(left)
        standing = self._standings[first]
        wait_s = standing.ready_at - now
        if wait_s <= 0:
            after = standing.failure.category if standing.asked and standing.failure else None
            return Ask(first, last_resort=first == self._count - 1, after=after)
        bearable = self._waited_s + wait_s <= self._settings.longest_wait
        if not bearable or now + wait_s + self._settings.min_attempt > self._deadline:
            return self._give_up(now)
        self._waited_s += wait_s
        return Wait(first, wait_s)

    def _give_up(self, now: float) -> GaveUp:
        waits = [each.ready_at - now for each in self._standings.values() if not each.settled]
        return GaveUp(failure=self._failure or _NOBODY, why=self._why, wait_s=min(waits, default=None))

    def _backoff(self, tries: int) -> float:
        """Half of it fixed, half by chance, so that those who failed together do not return together."""
        settings = self._settings
        return min(settings.retry_cap, settings.retry_base * 2.0 ** (tries - 1)) * (0.5 + 0.5 * self._chance())


def attempt_ends(limits: Limits, started: float, last: float | None, deadline: float) -> float:
    """The moment by which the next piece must be there.

    Args:
        limits: those of the attempt.
        started: when the attempt began.
        last: when the latest piece of content came; None before the first.
        deadline: of the call; infinite for none.
    """
    end = deadline
    if limits.total_s is not None:
        end = min(end, started + limits.total_s)
    if last is None:
        return end if limits.first_token_s is None else min(end, started + limits.first_token_s)
    return end if limits.idle_s is None else min(end, last + limits.idle_s)


def limit_at(
    limits: Limits, started: float, last: float | None, deadline: float, end: float
) -> tuple[Limit, float]:
    """Which limit ended the attempt at the moment ``end`` of `attempt_ends`, and how many seconds it allows."""
    if end == deadline:
        return "deadline", deadline - started
    if last is None and limits.first_token_s is not None and end == started + limits.first_token_s:
        return "first token", limits.first_token_s
    if last is not None and limits.idle_s is not None and end == last + limits.idle_s:
        return "idle", limits.idle_s
    return "total", limits.total_s or 0.0
