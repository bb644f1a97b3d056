"""How does a call wait for its turn, and what do the answers teach?

The shell around `Governor` and `Quota`: time passes here. Who waits is woken by the end of another call, or by the
one timer for the moment at which a place becomes free.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from mainstay.channels.feishu.governor.machine import Governor, Ticket
from mainstay.channels.feishu.governor.model import Busy, Call, Key, Mode, Urgency, limits
from mainstay.channels.feishu.governor.quota import Quota
from mainstay.channels.feishu.machine import Action, Refusal, failed_request
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.clock import Clock
from mainstay.errors import Category

__all__ = ["Gate", "NoTurn"]

_MOST_WAITING: Final = 1000
_MOST_HELD: Final = 1000
_LOOK_EVERY_S: Final = 10.0  # for what other processes have used since


class NoTurn(Exception):
    """A call was not made: there is no place for it in time, or it can not be spared this month."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class Gate:
    """Where every call of one app goes through.

    Args:
        quota: the month's calls.
        on_mode: told when the month's calls are used up, and when there are some again.
    """

    def __init__(
        self,
        settings: FeishuSettings,
        *,
        quota: Quota,
        clock: Clock,
        on_mode: Callable[[Mode], object] = lambda _mode: None,
    ) -> None:
        self._patience_s = settings.queue_wait
        self._governor = Governor(
            limits(settings.calls_per_second), longest_s=settings.request_timeout, most_waiting=_MOST_WAITING
        )
        self._quota = quota
        self._clock = clock
        self._on_mode = on_mode
        self._waiting: dict[Ticket, asyncio.Timeout] = {}
        self._held: dict[Key, Ticket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._exhausted_s = float("-inf")

    @property
    def waiting(self) -> int:
        """How many calls wait for their turn."""
        return self._governor.waiting

    @property
    def mode(self) -> Mode:
        """How it stands with the month's calls."""
        return self._quota.mode(self._clock.now())

    @asynccontextmanager
    async def turn(self, call: Call) -> AsyncIterator[Ticket]:
        """Wait until the call may be made, and make it inside. Raises `NoTurn`."""
        ticket = self._held.pop(call.owner, None)
        if ticket is not None and (call.urgency is not Urgency.UPDATE or not self._governor.is_going(ticket)):
            self._give_up(ticket)
            ticket = None
        if ticket is None:
            self._spare(call)
            ticket = await self._take(call)
            if ticket is None:
                raise self._too_late(call)
        try:
            yield ticket
        finally:
            self._governor.answered(ticket, self._clock.monotonic())
            self._go()

    async def hold(self, call: Call, unless: asyncio.Event) -> None:
        """Wait for the turn of a card's next update and keep it for `turn`, but not longer than ``unless``.

        For who wants to decide in the last moment what the update is. Raises `NoTurn`.
        """
        while (wait_s := self._until_update_s(call.owner)) and not unless.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await unless.wait()
        held = self._held.get(call.owner)
        if unless.is_set() or (held is not None and self._governor.is_going(held)):
            return
        ticket = await self._take(call, unless)
        if ticket is not None:
            if len(self._held) >= _MOST_HELD:
                self._held = {key: each for key, each in self._held.items() if self._governor.is_going(each)}
            self._held[call.owner] = ticket
        elif not unless.is_set():
            raise self._too_late(call)

    def refuse_streaming(self) -> None:
        """Raise `NoTurn` if nothing is to be streamed, because the month's calls are used up."""
        if self.mode is Mode.EXHAUSTED:
            raise _no_call_left()

    def learn(self, call: Call, ticket: Ticket, refusal: Refusal | None) -> None:
        """What the platform said to a call; None: it was done."""
        now_s, now, before = self._clock.monotonic(), self._clock.now(), self.mode
        if refusal is None:
            if call.counted:
                self._quota.succeeded(now)
                if ticket.went_s is not None and ticket.went_s > self._exhausted_s:
                    self._quota.has_some()
            if call.urgency is Urgency.UPDATE:
                self._quota.updated(call.owner[1], now_s)
        elif refusal.action is Action.QUOTA:
            self._quota.refused(now)
            self._exhausted_s = now_s
        elif refusal.category is Category.RATE_LIMIT:
            self._governor.refused(ticket, now_s, wait_s=refusal.wait_s, narrow=refusal.narrow)
        after = self.mode
        if after is not before and Mode.EXHAUSTED in (before, after):
            self._on_mode(after)

    def _spare(self, call: Call) -> None:
        match call.urgency:
            case Urgency.UPDATE:
                self.refuse_streaming()
            case Urgency.COURTESY if not self._quota.can_spare(self._clock.now()):
                raise _no_call_left()

    def _until_update_s(self, card: Key) -> float:
        wait_s = self._quota.until_update_s(card[1], self._clock.monotonic(), self._clock.now())
        return _LOOK_EVERY_S if wait_s is None else min(wait_s, _LOOK_EVERY_S)

    async def _take(self, call: Call, unless: asyncio.Event | None = None) -> Ticket | None:
        """A ticket that goes; None if there was none in time. Raises `NoTurn` where that is known before."""
        ticket = self._governor.ask(call, self._clock.monotonic(), patience_s=self._patience_s)
        if isinstance(ticket, Busy):
            reason = f"no place before {ticket.wait_s:.1f} s: {call.api}"
            raise NoTurn(failed_request(Category.RATE_LIMIT, reason, wait_s=ticket.wait_s))
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience_s) as patience:
                    self._waiting[ticket] = patience
                    self._go()
                    if ticket.went_s is None:
                        await (unless or asyncio.Event()).wait()
        except BaseException:
            self._give_up(ticket)
            raise
        if ticket.went_s is None:
            self._give_up(ticket)
            return None
        return ticket

    def _too_late(self, call: Call) -> NoTurn:
        return NoTurn(failed_request(Category.RATE_LIMIT, f"no place within {self._patience_s:g} s: {call.api}"))

    def _give_up(self, ticket: Ticket) -> None:
        self._waiting.pop(ticket, None)
        self._governor.give_up(ticket, self._clock.monotonic())
        self._go()

    def _go(self) -> None:
        """Let go who can, and set the timer for the next."""
        now_s, loop = self._clock.monotonic(), asyncio.get_running_loop()
        going, next_s = self._governor.go(now_s)
        for ticket in going:
            patience = self._waiting.pop(ticket)
            if not patience.expired():  # it may have ended just now, and then who waits sees that it may go
                patience.reschedule(loop.time())
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_s < float("inf"):
            self._timer = loop.call_later(next_s - now_s, self._go)


def _no_call_left() -> NoTurn:
    reason = "this month's calls of the platform's API are used up, or kept for outcomes"
    return NoTurn(Refusal(action=Action.QUOTA, category=Category.QUOTA_EXHAUSTED, reason=reason))
