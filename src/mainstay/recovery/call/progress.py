"""How far is this call, and what does the next attempt need?

Carries out what `mainstay.recovery.call.machine` decides: before an attempt it gets a place in the candidate's
bulkhead and a permit of its breaker, and afterwards it says how that went.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Any, Final

from mainstay.clock import Clock
from mainstay.errors import Category
from mainstay.messages import Hop
from mainstay.recovery.breaker.permits import Breaker, BreakerOpen
from mainstay.recovery.bulkhead import Bulkhead, Busy
from mainstay.recovery.call.attempt import Attempt
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.machine import Walk
from mainstay.recovery.call.model import Ask, CallEvent, GaveUp, Hopped, Lost, Wait, Waiting, Why
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Failure, RecoverySettings

__all__ = ["Call", "Chain", "Refuse"]

Refuse = Callable[[str], Failure | None]
"""Asked by a candidate's name before each attempt; a failure keeps it from being made."""

_CHANCE: Final = SystemRandom().random
_SLOW: Final = Failure(category=Category.TIMEOUT, message="left alone for a while: its first tokens came too late")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What all calls of one `Fallback` share; there is one of ``breakers`` and ``windows`` for each candidate."""

    candidates: Sequence[Candidate[..., Any]]
    breakers: Sequence[Breaker]
    windows: Sequence[int | None]
    settings: RecoverySettings
    clock: Clock
    now: Callable[[], float]
    listener: Callable[[CallEvent[Any, Any]], object] | None

    def tell(self, event: CallEvent[Any, Any]) -> None:
        """What a listener raises is its own affair: it must not decide how a call ends."""
        if self.listener is not None:
            try:
                self.listener(event)
            except Exception:  # noqa: BLE001  the border to the caller's code
                _log.exception("the listener of a call failed on %s", type(event).__name__)


class Call:
    """One call, from its beginning to its `Done` or `GaveUp`.

    Attributes:
        deadline: monotonic seconds; infinite for none.
        error: what the last attempt raised.
    """

    __slots__ = ("_chain", "_left", "_refuse", "_walk", "deadline", "error")

    def __init__(self, chain: Chain, deadline: float, refuse: Refuse | None = None) -> None:
        self.deadline = deadline
        self.error: BaseException | None = None
        self._chain = chain
        self._refuse = refuse
        self._left: _Left | None = None
        self._walk = Walk(
            len(chain.candidates), chain.settings, deadline=deadline, chance=_CHANCE, windows=chain.windows
        )

    async def next(self) -> Attempt | Waiting | GaveUp:
        """The next attempt, once it may be made; a wait that is then due; or the end."""
        chain = self._chain
        while True:
            decision = self._walk.next(chain.now())
            if isinstance(decision, Ask):
                attempt = await self._enter(decision)
                if attempt is not None:
                    return attempt
            elif isinstance(decision, Wait):
                assert self._left is not None
                name = chain.candidates[decision.index].name
                waiting = Waiting(candidate=name, seconds=decision.seconds, failure=self._left.failure)
                chain.tell(waiting)
                return waiting
            else:
                chain.tell(decision)
                return decision

    def won(self, attempt: Attempt) -> None:
        """The attempt is complete."""
        attempt.permit.succeed()
        if attempt.candidate.retries is not None:
            attempt.candidate.retries.succeeded()

    def lost(self, attempt: Attempt, error: Exception) -> Lost:
        """The attempt failed."""
        self.error = error
        chain = self._chain
        failure, now = classify(error, rules=chain.settings.rules, now=chain.clock.now()), chain.now()
        attempt.permit.fail(failure)
        self._walk.lost(attempt.index, failure, now)
        name, elapsed_s = attempt.candidate.name, now - attempt.started
        self._left = _Left(name, failure, attempt.shown, elapsed_s)
        lost = Lost(candidate=name, failure=failure, error=error, shown=attempt.shown, elapsed_s=elapsed_s)
        chain.tell(lost)
        return lost

    async def _enter(self, ask: Ask) -> Attempt | None:
        """An attempt that may be made; None if it must not be, and then the walk knows why."""
        chain, index = self._chain, ask.index
        candidate = chain.candidates[index]
        bulkhead = candidate.bulkhead
        forbidden = self._refuse(candidate.name) if self._refuse is not None else None
        if forbidden is not None:
            self._refused(index, forbidden, "forbidden")
            return None
        if ask.after is not None and candidate.retries is not None and not candidate.retries.take(ask.after):
            self._walk.unaffordable(index)
            return None
        if bulkhead is not None and not bulkhead.enter_at_once() and not await self._queued(bulkhead, index):
            return None
        try:
            permit = chain.breakers[index].permit(last_resort=ask.last_resort)
        except BreakerOpen as refused:
            if bulkhead is not None:
                bulkhead.leave()
            self._refused(index, refused.failure or _SLOW, "left_alone", refused.wait_s)
            return None
        attempt = Attempt(index, candidate, chain.breakers[index], permit, self.deadline, chain.now)
        if self._left is not None:
            attempt.hopped = Hopped(self._left.hop(candidate.name))
            chain.tell(attempt.hopped)
        return attempt

    async def _queued(self, bulkhead: Bulkhead, index: int) -> bool:
        """Whether a place came free in time."""
        chain, began = self._chain, self._chain.now()
        latest_s = self.deadline - began - chain.settings.min_attempt
        try:
            await bulkhead.enter(min(self._walk.patience_s, latest_s))
        except Busy as busy:
            self._refused(index, Failure(category=Category.OVERLOADED, message=str(busy)), "busy")
            return False
        finally:
            self._walk.waited(chain.now() - began)
        return True

    def _refused(self, index: int, failure: Failure, why: Why, wait_s: float = 0.0) -> None:
        self._left = self._left or _Left(self._chain.candidates[index].name, failure)
        self._walk.refused(index, failure, wait_s, self._chain.now(), why=why)


@dataclass(frozen=True, slots=True)
class _Left:
    """The candidate that the call has left, or could not even ask, and why."""

    name: str
    failure: Failure
    shown: int = 0
    elapsed_s: float = 0.0

    def hop(self, to: str) -> Hop:
        return Hop(
            from_model=self.name,
            to_model=to,
            category=self.failure.category,
            shown_chars=self.shown,
            elapsed_s=self.elapsed_s,
        )
