"""How far is this call, and what does the next attempt need?

Carries out what `mainstay.recovery.call.machine` decides: before an attempt it gets a place in the candidate's
bulkhead and a permit of its breaker, and afterwards it tells both how that went.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Any, Final

from mainstay.errors import Category
from mainstay.messages import Hop
from mainstay.recovery.breaker.permits import Breaker, BreakerOpen, Permit
from mainstay.recovery.bulkhead import Busy
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.machine import Walk
from mainstay.recovery.call.model import Ask, CallEvent, GaveUp, Hopped, Lost, Wait, Waiting, Why
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Failure, RecoverySettings

__all__ = ["Call", "Chain", "Place", "Refuse"]

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
    now: Callable[[], float]
    listener: Callable[[CallEvent[Any, Any]], object] | None

    def tell(self, event: CallEvent[Any, Any]) -> None:
        """What a listener raises is its own affair: it must not decide how a call ends."""
        if self.listener is not None:
            try:
                self.listener(event)
            except Exception:  # noqa: BLE001  the border to the caller's code
                _log.exception("the listener of a call failed on %s", type(event).__name__)


class Place:
    """The right to make one attempt; given back however that ends.

    Attributes:
        started: monotonic seconds.
        shown: the sizes of the items so far, together.
        hopped: where the call comes from, unless this is its first attempt.
    """

    __slots__ = ("breaker", "candidate", "hopped", "index", "permit", "shown", "started")

    def __init__(self, index: int, chain: Chain, permit: Permit, hopped: Hopped | None, started: float) -> None:
        self.index = index
        self.candidate = chain.candidates[index]
        self.breaker = chain.breakers[index]
        self.permit = permit
        self.hopped = hopped
        self.started = started
        self.shown = 0

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.permit.ignore()
        if self.candidate.bulkhead is not None:
            self.candidate.bulkhead.leave()


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

    async def next(self) -> Place | Waiting | GaveUp:
        """The next attempt, once it may be made; a wait that is then due; or the end."""
        chain = self._chain
        while True:
            decision = self._walk.next(chain.now())
            if isinstance(decision, Ask):
                place = await self._enter(decision)
                if place is not None:
                    return place
            elif isinstance(decision, Wait):
                assert self._left is not None
                name = chain.candidates[decision.index].name
                waiting = Waiting(candidate=name, seconds=decision.seconds, failure=self._left.failure)
                chain.tell(waiting)
                return waiting
            else:
                chain.tell(decision)
                return decision

    def won(self, place: Place) -> None:
        """The attempt is complete."""
        place.permit.succeed()
        if place.candidate.retries is not None:
            place.candidate.retries.succeeded()

    def lost(self, place: Place, error: Exception) -> Lost:
        """The attempt failed."""
        self.error = error
        failure, now = classify(error, rules=self._chain.settings.rules), self._chain.now()
        place.permit.fail(failure)
        self._walk.lost(place.index, failure, now)
        name, elapsed_s = place.candidate.name, now - place.started
        self._left = _Left(name, failure, place.shown, elapsed_s)
        lost = Lost(candidate=name, failure=failure, error=error, shown=place.shown, elapsed_s=elapsed_s)
        self._chain.tell(lost)
        return lost

    async def _enter(self, ask: Ask) -> Place | None:
        """A place for the attempt; None if there is none, and then the walk knows why."""
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
        if bulkhead is not None:
            try:
                await bulkhead.enter(min(chain.settings.longest_wait, self.deadline - chain.now()))
            except Busy as busy:
                failure = Failure(category=Category.OVERLOADED, message=str(busy))
                self._refused(index, failure, "busy")
                return None
        try:
            permit = chain.breakers[index].permit(last_resort=ask.last_resort)
        except BreakerOpen as refused:
            if bulkhead is not None:
                bulkhead.leave()
            self._refused(index, refused.failure or _SLOW, "left_alone", refused.wait_s)
            return None
        hopped = None
        if self._left is not None:
            hopped = Hopped(self._left.hop(candidate.name))
            chain.tell(hopped)
        return Place(index, chain, permit, hopped, chain.now())

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
