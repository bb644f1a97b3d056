"""How is one call carried through, over failures, waits and limits, from candidate to candidate?

::

    answer = Fallback([Candidate("primary", ask_primary), Candidate("fallback", ask_fallback)])

    text = await answer("what is a lease?")              # the candidates are async functions
    async for event in answer.stream("and a fence?"):    # or they give async iterators
        match event:
            case Item(piece):
                show(piece)
            case Hopped():
                ...  # what follows takes the place of what was shown

From the outside in: the deadline; the chain (`mainstay.recovery.call.machine`); the retry budget; a place in the
candidate's bulkhead; the permit of its breaker; the limits of one attempt. This is the one place that retries: turn
the retries of an SDK below it off, or each of its tries is multiplied by those here.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from mainstay.clock import Clock, SystemClock
from mainstay.errors import MainstayError
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.call.attempt import Attempt, streamed, watched
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.model import Began, CallEvent, Done, GaveUp, Item, Lost, Piece, Waiting
from mainstay.recovery.call.progress import Call, Chain, Refuse
from mainstay.recovery.deadline import left_s
from mainstay.recovery.model import RecoverySettings

__all__ = ["Fallback", "NobodyAnswered"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_FOREVER: Final = float("inf")


class NobodyAnswered(MainstayError):
    """Every candidate failed, or none could be asked. Its cause is the last real error, if there was one.

    Attributes:
        gave_up: why, in words that are safe to show, and when it may be worth trying again.
    """

    def __init__(self, gave_up: GaveUp) -> None:
        super().__init__(f"no candidate answered: {gave_up.failure.category}: {gave_up.failure.message}")
        self.gave_up = gave_up


class Fallback(Generic[P, T]):
    """A chain of candidates that behaves like one function, or like one stream.

    Reusable, and safe in any number of tasks of one event loop. Cancelling a call, or closing its stream, reaches
    the attempt under way at once, and counts as nobody's failure.

    Args:
        candidates: in the order in which they are asked.
        settings: see `RecoverySettings` for units and defaults.
        timeout_s: for a whole call, all attempts and waits together; None: no limit but those of the attempts, and
            the deadline that holds around the call (`mainstay.recovery.deadline`).
        complete: whether a stream is complete with this piece. One that ends without such a piece was cut off, and
            is a failure; None: its end is its end.
        on_event: told of each attempt that failed, hop, wait and giving up; what it raises is logged and dropped.
        clock: where monotonic seconds come from; other than the system's only for tests.

    Raises:
        ValueError: if there is no candidate, or if ``timeout_s`` is not more than 0.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate[P, T]],
        *,
        settings: RecoverySettings | None = None,
        timeout_s: float | None = None,
        complete: Callable[[Any], bool] | None = None,
        on_event: Callable[[CallEvent[Any, Any]], object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not candidates:
            raise ValueError("a chain without candidates could ask nobody: give one or more")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s must be more than 0, not {timeout_s!r}")
        clock = clock or SystemClock()
        self._now = clock.monotonic
        self._timeout_s = timeout_s
        self._complete = complete
        self._chain = Chain(
            candidates=candidates,
            breakers=[each.breaker or Breaker(each.name, clock=clock) for each in candidates],
            windows=[each.window for each in candidates],
            settings=settings or RecoverySettings(),
            clock=clock,
            now=self._now,
            listener=on_event,
        )

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the candidates, which are async functions, until one returns.

        Raises:
            NobodyAnswered: when none did; its cause is the last real error.
        """
        call = Call(self._chain, self._deadline(_FOREVER))
        while True:
            step = await call.next()
            if isinstance(step, GaveUp):
                raise NobodyAnswered(step) from call.error
            if isinstance(step, Waiting):
                await asyncio.sleep(step.seconds)
                continue
            with step:
                try:
                    value = await step.wait(cast("Awaitable[T]", step.candidate.call(*args, **kwargs)))
                except Exception as error:  # noqa: BLE001  the other side's border: whatever it raised is a failure
                    call.lost(step, error)
                else:
                    call.won(step)
                    return value

    async def stream(self, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[CallEvent[Any, None], None]:
        """Call the candidates, which give async iterators, until one has been read to its end.

        Yields an `Item` for each piece. After a `Hopped` what follows takes the place of what was shown. Ends with
        exactly one `Done`, whose value is None, or `GaveUp`.
        """

        def begin(candidate: Candidate[..., Any]) -> AsyncGenerator[Piece[Any, None], None]:
            return streamed(partial(candidate.call, *args, **kwargs), self._complete)

        async with aclosing(self.run(begin)) as events:
            async for event in events:
                if not isinstance(event, Began):
                    yield event

    async def run(
        self,
        begin: Callable[[Candidate[..., Any]], AsyncGenerator[Piece[Any, R], None]],
        *,
        deadline: float = _FOREVER,
        refuse: Refuse | None = None,
    ) -> AsyncGenerator[CallEvent[Any, R], None]:
        """The same for streams that say by themselves when they are complete.

        Args:
            begin: opens an attempt, which yields `Piece` and ends with `Done`.
            deadline: monotonic seconds of the clock; the earlier one of it and ``timeout_s`` holds.
            refuse: see `Refuse`.
        """
        call = Call(self._chain, self._deadline(deadline), refuse)
        while True:
            step = await call.next()
            if isinstance(step, GaveUp):
                yield step
                return
            if isinstance(step, Waiting):
                yield step
                await asyncio.sleep(step.seconds)
                continue
            with step:
                if step.hopped is not None:
                    yield step.hopped
                yield Began(step.candidate.name)
                async with aclosing(_events(call, step, begin(step.candidate))) as events:
                    async for event in events:
                        yield event
                        if isinstance(event, Done):
                            return

    def _deadline(self, deadline: float) -> float:
        """The earliest of the one given, our own, and the one that holds around us."""
        for left in (self._timeout_s, left_s()):
            if left is not None:
                deadline = min(deadline, self._now() + left)
        return deadline


async def _events(
    call: Call, attempt: Attempt, pieces: AsyncGenerator[Piece[Any, R], None]
) -> AsyncGenerator[Item[Any] | Done[R] | Lost, None]:
    """Those of one attempt; ends with `Done` or `Lost`."""
    try:
        async with aclosing(watched(pieces, attempt)) as in_time:
            async for piece in in_time:
                if isinstance(piece, Item):
                    attempt.shown += piece.size
                    yield piece
                elif isinstance(piece, Done):
                    call.won(attempt)
                    yield Done(piece.value, attempt.candidate.name)
    except Exception as error:  # noqa: BLE001  the other side's border: whatever it raised is a failed attempt
        yield call.lost(attempt, error)
