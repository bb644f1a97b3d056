"""How is one attempt watched, and which of its limits ended it?

The limits run only while we wait for the other side, not while the reader of a stream is busy.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from mainstay.errors import Category
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.recording import recording
from mainstay.recovery.call.machine import attempt_ends, limit_at
from mainstay.recovery.call.model import Done, Item, Limits, Piece
from mainstay.recovery.deadline import until
from mainstay.recovery.model import AttemptError, TimedOut

__all__ = ["Watch", "streamed", "watched"]

R = TypeVar("R")
S = TypeVar("S")

_END: Final = object()
_FOREVER: Final = float("inf")


class Watch:
    """The limits of one attempt, which begins now, at the breaker that lets it be made."""

    __slots__ = ("_breaker", "_deadline", "_last", "_limits", "_now", "_started")

    def __init__(self, limits: Limits, breaker: Breaker, deadline: float, now: Callable[[], float]) -> None:
        self._limits = limits
        self._breaker = breaker
        self._deadline = deadline
        self._now = now
        self._started = now()
        self._last: float | None = None

    async def wait(self, wanted: Awaitable[R]) -> R:
        """What is waited for, if it is there in time.

        What runs meanwhile knows by when it has to be done (`mainstay.recovery.deadline`), and that the breaker
        will be told by us (`mainstay.recovery.breaker.recording`).

        Raises:
            TimedOut: when a limit has run out; a TimeoutError of the other side's own passes as it is.
        """
        end = attempt_ends(self._limits, started=self._started, last=self._last, deadline=self._deadline)
        timer = asyncio.timeout(end - self._now() if end < _FOREVER else None)
        try:
            with recording(self._breaker), until(end):
                async with timer:
                    found = await wanted
        except TimeoutError:
            if not timer.expired():
                raise
            raise self._timed_out(end) from None
        self._last = self._now()
        return found

    def _timed_out(self, end: float) -> TimedOut:
        started, last, deadline = self._started, self._last, self._deadline
        return TimedOut(*limit_at(self._limits, started=started, last=last, deadline=deadline, end=end))


async def watched(pieces: AsyncGenerator[Piece[S, R], None], watch: Watch) -> AsyncGenerator[Piece[S, R], None]:
    """The same pieces up to the `Done`, as long as they keep within the limits.

    Raises:
        TimedOut: when a limit has run out.
        AttemptError: when the stream ended before it was complete.
    """
    async with aclosing(pieces):
        while True:
            following: Awaitable[Any] = anext(pieces, _END)
            piece = await watch.wait(following)
            if piece is _END:
                raise AttemptError(Category.MALFORMED, "the stream ended in the middle of the answer")
            yield piece
            if isinstance(piece, Done):
                return


async def streamed(
    items: AsyncIterator[S], complete: Callable[[S], bool] | None
) -> AsyncGenerator[Piece[S, None], None]:
    """What an iterator yields, as pieces; without ``complete`` its end is the end of the stream."""
    finished = complete is None
    try:
        async for item in items:
            yield Item(item, len(item) if isinstance(item, str) else 1)
            finished = finished or (complete is not None and complete(item))
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
    if finished:
        yield Done(None)
