"""How is one attempt watched, and which of its limits ended it?

The limits run only while we wait for the other side, not while the reader of a stream is busy.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from mainstay.errors import Category
from mainstay.recovery.call.machine import attempt_ends, limit_at
from mainstay.recovery.call.model import Done, Item, Limits, Piece
from mainstay.recovery.model import AttemptError, TimedOut

__all__ = ["in_time", "limited", "streamed"]

R = TypeVar("R")
S = TypeVar("S")

_END: Final = object()
_FOREVER: Final = float("inf")


async def in_time(
    wanted: Awaitable[R],
    limits: Limits,
    *,
    started: float,
    last: float | None,
    deadline: float,
    now: Callable[[], float],
) -> R:
    """What is waited for, if it is there in time; the arguments are those of `attempt_ends`.

    Raises:
        TimedOut: when a limit has run out; a TimeoutError of the other side's own passes as it is.
    """
    end = attempt_ends(limits, started=started, last=last, deadline=deadline)
    timer = asyncio.timeout(end - now() if end < _FOREVER else None)
    try:
        async with timer:
            return await wanted
    except TimeoutError:
        if not timer.expired():
            raise
        limit, allowed_s = limit_at(limits, started=started, last=last, deadline=deadline, end=end)
        raise TimedOut(limit, allowed_s) from None


async def limited(
    pieces: AsyncGenerator[Piece[S, R], None], limits: Limits, *, deadline: float, now: Callable[[], float]
) -> AsyncGenerator[Piece[S, R], None]:
    """The same pieces up to the `Done`, as long as they keep within the limits.

    Raises:
        TimedOut: when a limit has run out.
        AttemptError: when the stream ended before it was complete.
    """
    started = now()
    last: float | None = None
    async with aclosing(pieces):
        while True:
            waiting: Awaitable[Any] = anext(pieces, _END)
            piece = await in_time(waiting, limits, started=started, last=last, deadline=deadline, now=now)
            if piece is _END:
                raise AttemptError(Category.MALFORMED, "the stream ended in the middle of the answer")
            last = now()
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
