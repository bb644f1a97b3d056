"""How does code, of any thread or task, call through a circuit breaker?

::

    weather = Breaker("weather")

    with weather.permit():                 # raises BreakerOpen while it is to be left alone
        answer = httpx.get("https://weather.example/now").raise_for_status()

    @weather                               # or every call of a function, be it async or not
    async def forecast(city: str) -> str: ...

Nothing is awaited in here, so one class serves threads and tasks alike; the lock is held for the state only, never
over a call.
"""

import functools
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, cast

from mainstay.clock import Clock, SystemClock
from mainstay.errors import LeftAlone
from mainstay.recovery.breaker.machine import BreakerMachine
from mainstay.recovery.breaker.model import BreakerSettings, Cause, Change, Refusal, Snapshot, State
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Failure
from mainstay.units import format_duration

__all__ = ["Breaker", "BreakerOpen", "Permit"]

P = ParamSpec("P")
R = TypeVar("R")


@functools.cache
def _system_random() -> Callable[[], float]:
    from secrets import SystemRandom  # not above: it takes longer to import than all of this room's machine

    return SystemRandom().random


def _chance() -> float:
    return _system_random()()


class BreakerOpen(LeftAlone):
    """A breaker refused the call.

    Attributes:
        name: the breaker's.
        failure: the real failure that is why; None if slowness was, or if nobody said.
    """

    def __init__(self, name: str, refusal: Refusal) -> None:
        why = f" after {refusal.failure.category}: {refusal.failure.message}" if refusal.failure else ""
        when = f"for {format_duration(refusal.wait_s)} more" if refusal.wait_s else "while one call tries"
        super().__init__(f"{name} is left alone {when}{why}", wait_s=refusal.wait_s)
        self.name = name
        self.failure = refusal.failure


class Breaker:
    """A circuit breaker. Thread-safe, and safe in any number of tasks and event loops.

    It opens when of the last ``calls`` outcomes within ``window`` at least ``min_calls`` are known and
    ``failure_rate`` of them failed (or ``slow_rate`` had a slow first token), and at once when the other side asks
    to be left alone (a rate limit, a used-up quota, a Retry-After). After the pause exactly one call is let
    through, and how it goes decides. A wall clock that jumps changes nothing.

    Which failures count is decided by `mainstay.recovery.classify.classify`: a request that was wrong in itself,
    and whatever was cancelled, says nothing about the other side.

    Args:
        name: for messages, reports and events.
        settings: see `BreakerSettings` for units and defaults.
        slow_after_s: a first token that took this many seconds or more is slow; None: none is.
        heeds_delays: whether it opens at once when the other side asks to be left alone.
        clock: where monotonic seconds come from.
        on_change: told of each `Change`, from whichever thread caused it and after the lock is free, so that of two
            at once the later may be heard first: the snapshot knows which one holds. What it raises is dropped.
        chance: gives numbers from 0 to 1, for the jitter of the pauses.
    """

    __slots__ = ("_lock", "_machine", "_now", "_on_change", "name", "slow_after_s")

    def __init__(
        self,
        name: str,
        settings: BreakerSettings | None = None,
        *,
        slow_after_s: float | None = None,
        heeds_delays: bool = True,
        clock: Clock | None = None,
        on_change: "Callable[[Breaker, Change], object] | None" = None,
        chance: Callable[[], float] = _chance,
    ) -> None:
        self.name = name
        self.slow_after_s = slow_after_s
        self._now = (clock or SystemClock()).monotonic
        self._on_change = on_change
        # reentrant: a signal handler, or a generator that the collector closes, may end its call inside of this one
        self._lock = threading.RLock()
        self._machine = BreakerMachine(
            settings or BreakerSettings(), chance, self._now(), heeds_delays=heeds_delays
        )

    @property
    def state(self) -> State:
        """Closed, open or half-open, as of now."""
        return self.snapshot().state

    def snapshot(self) -> Snapshot:
        """State, counts and the last failure, as of now."""
        with self._lock:
            return self._machine.snapshot(self._now())

    @property
    def pause_s(self) -> float:
        """For how many seconds more nobody is let through; 0.0 when a call may be made, or tried."""
        return self.snapshot().open_s

    def permit(self, *, last_resort: bool = False) -> "Permit":
        """Ask to make one call; use the permit as a context manager, ``with`` or ``async with``.

        Args:
            last_resort: whether the caller has nowhere else to go; see `mainstay.recovery.breaker.machine`.

        Raises:
            BreakerOpen: if the call must not be made now.
        """
        ticket = self._machine.pass_closed()
        if ticket is None:
            with self._lock:
                answer = self._machine.acquire(self._now(), last_resort=last_resort)
                change = None if isinstance(answer, Refusal) else self._machine.begun_by(answer)
            if isinstance(answer, Refusal):
                raise BreakerOpen(self.name, answer)
            self._announce(change)
            ticket = answer
        return Permit(self, ticket)

    def open_for(self, seconds: float, failure: Failure | None = None, *, cause: Cause = "asked") -> None:
        """Let nobody through for so long, as the other side asked; a pause that ends later stays as it is."""
        with self._lock:
            change = self._machine.hold(seconds, failure, self._now(), cause)
        self._announce(change)

    def reset(self) -> None:
        """Close it by hand, and forget all trouble: what fails now is judged as if it were the first time."""
        with self._lock:
            change = self._machine.reset(self._now())
        self._announce(change)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Make every call of ``function`` through the breaker; of an async one until it has returned.

        Raises:
            TypeError: if it is a stream, here; if it only hands on another function's coroutine, when it is called.
        """
        looks = (function, type(function).__call__)  # also an object may be called, and be async or a stream
        if any(inspect.isasyncgenfunction(look) or inspect.isgeneratorfunction(look) for look in looks):
            raise TypeError("a stream is a success only when it was read to its end: use `permit` around that")
        if any(inspect.iscoroutinefunction(look) for look in looks):
            asynchronous = cast("Callable[..., Any]", function)

            async def guarded(*args: object, **kwargs: object) -> object:
                with self.permit():
                    return await asynchronous(*args, **kwargs)

            return cast("Callable[P, R]", functools.wraps(function)(guarded))

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.permit():
                value = function(*args, **kwargs)
                if inspect.iscoroutine(value):
                    value.close()
                    raise TypeError("what it returned has not run yet: decorate the async function itself")
                return value

        return call

    def _announce(self, change: Change | None) -> None:
        """Outside of the lock: the listener may look at the breaker. What it raises must not undo an outcome."""
        if change is not None and self._on_change is not None:
            with suppress(Exception):
                self._on_change(self, change)


class Permit:
    """The right to make one call, and the duty to say how it went. The first outcome counts.

    Leaving the ``with`` block normally is a success, an `Exception` is classified, and anything else that ends it
    (a cancellation, a closed generator, the end of the process) says nothing about the other side; nor does a
    `BreakerOpen` of another breaker within.
    """

    __slots__ = ("_breaker", "_ticket", "first_token_s")

    def __init__(self, breaker: Breaker, ticket: int) -> None:
        self._breaker = breaker
        self._ticket: int | None = ticket
        self.first_token_s: float | None = None
        """Seconds until the first content, to be set by who measures it."""

    def succeed(self) -> None:
        """It went well."""
        breaker = self._breaker
        first_s, slow_s = self.first_token_s, breaker.slow_after_s
        slow = first_s is not None and slow_s is not None and first_s >= slow_s
        with breaker._lock:
            ticket, self._ticket = self._ticket, None
            if ticket is None:
                return
            change = breaker._machine.succeed(ticket, breaker._now(), slow=slow)
        breaker._announce(change)

    def fail(self, failure: Failure) -> None:
        """It failed; the failure's traits say whether that counts."""
        breaker = self._breaker
        with breaker._lock:
            ticket, self._ticket = self._ticket, None
            if ticket is None:
                return
            change = breaker._machine.fail(ticket, failure, breaker._now())
        breaker._announce(change)

    def ignore(self) -> None:
        """It says nothing about the other side."""
        if self._ticket is None:
            return
        breaker = self._breaker
        with breaker._lock:
            ticket, self._ticket = self._ticket, None
            if ticket is not None:
                breaker._machine.ignore(ticket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.succeed()
        elif isinstance(error, Exception):
            self.fail(classify(error))
        else:
            self.ignore()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)
