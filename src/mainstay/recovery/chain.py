"""How is one call carried through, over timeouts and from model to model?

From the outside in: the turn's deadline, the chain of models, one attempt each, and the attempt's own limits. What
to do is decided in `mainstay.recovery.machine`; here it is done. An attempt is any function that opens a stream of
pieces for a model's name: this room knows no SDK.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TypeVar

from mainstay.clock import Clock
from mainstay.errors import Category
from mainstay.messages import Hop
from mainstay.recovery import machine
from mainstay.recovery.classify import classify
from mainstay.recovery.model import (
    Alive,
    AttemptError,
    Candidate,
    ChainEvent,
    Done,
    GaveUp,
    Hopped,
    Lost,
    Piece,
    Text,
    TimedOut,
)

__all__ = ["Attempt", "call"]

T = TypeVar("T")
Attempt = Callable[[str], AsyncGenerator[Piece[T], None]]


async def call(
    attempt: Attempt[T], candidates: Sequence[Candidate], *, deadline: float, clock: Clock
) -> AsyncGenerator[ChainEvent[T], None]:
    """Ask the models in order until one answers; ends with exactly one `Done` or `GaveUp`.

    Closing the generator closes the attempt's stream, and with it the provider's socket.

    Args:
        attempt: opens the stream for the model of this configured name.
        candidates: the chain.
        deadline: monotonic seconds of ``clock``.
        clock: for limits and durations.
    """
    state, decision = machine.begin(machine.Call(waiting=tuple(candidates), deadline=deadline), clock.monotonic())
    while not isinstance(decision, GaveUp):
        candidate, started, shown = decision, clock.monotonic(), 0
        try:
            async with aclosing(_timed(attempt(candidate.name), candidate, deadline, clock)) as pieces:
                async for piece in pieces:
                    match piece:
                        case Text(text):
                            shown += len(text)
                            yield piece
                        case Done(value):
                            yield Done(value, candidate.name)
                            return
                        case Alive():
                            pass
            error: Exception = AttemptError(Category.MALFORMED, "the stream ended in the middle of the answer")
        except Exception as raised:  # noqa: BLE001  the provider's border: whatever it raised is a failed attempt
            error = raised
        failure, elapsed_s = classify(error), clock.monotonic() - started
        state, decision = machine.after_failure(state, failure, clock.monotonic())
        yield Lost(model=candidate.name, failure=failure, error=error, shown_chars=shown, elapsed_s=elapsed_s)
        if isinstance(decision, Candidate):
            hop = Hop(
                from_model=candidate.name,
                to_model=decision.name,
                category=failure.category,
                shown_chars=shown,
                elapsed_s=elapsed_s,
            )
            yield Hopped(hop)
    yield decision


async def _timed(
    stream: AsyncGenerator[Piece[T], None], candidate: Candidate, deadline: float, clock: Clock
) -> AsyncGenerator[Piece[T], None]:
    """The same stream under the candidate's limits; timers run only while we wait, not while the reader is busy."""
    started = clock.monotonic()
    last: float | None = None
    async with aclosing(stream):
        while True:
            wait = machine.wait(
                candidate.limits, started=started, last=last, deadline=deadline, now=clock.monotonic()
            )
            timer = asyncio.timeout(wait.seconds)
            try:
                async with timer:
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if timer.expired():
                    raise TimedOut(wait.limit, wait.allowed_s) from None
                raise
            last = clock.monotonic()
            yield piece
