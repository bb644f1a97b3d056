"""How is one attempt watched, and which of its limits ended it?

The limits run only while we wait for the other side, not while the reader of a stream is busy.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final, TypeVar

from mainstay.errors import Category
from mainstay.recovery.breaker.permits import Breaker, Permit
from mainstay.recovery.breaker.recording import RECORDED
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.machine import attempt_ends, limit_at
from mainstay.recovery.call.model import Done, Hopped, Item, Piece
from mainstay.recovery.deadline import DEADLINE
from mainstay.recovery.model import AttemptError, TimedOut

__all__ = ["Attempt", "is_cancelled", "streamed", "watched"]

R = TypeVar("R")
S = TypeVar("S")

_END: Final = object()
_FOREVER: Final = float("inf")


class Attempt:
    """The right to ask a candidate once, and the watch over its limits; given back however it ends.

    Attributes:
        index: of the candidate in its chain.
        started: monotonic seconds.
        shown: the sizes of the items so far, together.
        hopped: where the call comes from, unless this is its first attempt.
    """

    __slots__ = (
        "_breaker",
        "_deadline",
        "_last",
        "_now",
        "candidate",
        "hopped",
        "index",
        "permit",
        "shown",
        "started",
    )

    def __init__(
        self,
        index: int,
        candidate: Candidate[..., Any],
        breaker: Breaker,
        permit: Permit,
        deadline: float,
        now: Callable[[], float],
    ) -> None:
        self.index = index
        self.candidate = candidate
        self.permit = permit
        self.hopped: Hopped | None = None
        self.shown = 0
        self.started = now()
        self._breaker = breaker
        self._deadline = deadline
        self._now = now
        self._last: float | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self.permit.ignore()
        if self.candidate.bulkhead is not None:
            self.candidate.bulkhead.leave()

    async def wait(self, wanted: Awaitable[R]) -> R:
        """What is waited for, if it is there in time.

        What runs meanwhile knows by when it has to be done (`mainstay.recovery.deadline`), and that the breaker
        will be told by us (`mainstay.recovery.breaker.recording`).

        Raises:
            TimedOut: when a limit has run out; a TimeoutError of the other side's own passes as it is.
            AttemptError: when something else that this waits for was cancelled, such as a future that others share.
        """
        limits, started, last, deadline = self.candidate.limits, self.started, self._last, self._deadline
        end = attempt_ends(limits, started, last, deadline)
        timer = asyncio.timeout(end - self._now() if end < _FOREVER else None)
        try:
            with _Inside(self._breaker, end):
                async with timer:
                    found = await wanted
        except TimeoutError:
            if not timer.expired():
                raise
            raise TimedOut(*limit_at(limits, started, last, deadline, end)) from None
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            raise AttemptError(Category.CONNECTION, "what was waited for was cancelled, but not by us") from None
        self._last = now = self._now()
        if last is None:
            self.permit.first_token_s = now - started
        return found


def is_cancelled() -> bool:
    """Whether it is this task that was cancelled; else it only heard of the cancellation of what it waits for."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class _Inside:
    """`until` and `recording` in one: made by contextlib they would be a tenth of the cost of a guarded call."""

    __slots__ = ("_breaker", "_deadline", "_deadline_token", "_recorded_token")

    def __init__(self, breaker: Breaker, deadline: float) -> None:
        self._breaker = breaker
        self._deadline = deadline

    def __enter__(self) -> None:
        earlier, deadline = DEADLINE.get(), self._deadline
        self._deadline_token = DEADLINE.set(deadline if earlier is None or deadline < earlier else earlier)
        self._recorded_token = RECORDED.set((*RECORDED.get(), self._breaker))

    def __exit__(self, *_: object) -> None:
        RECORDED.reset(self._recorded_token)
        DEADLINE.reset(self._deadline_token)


async def watched(pieces: AsyncGenerator[Piece[S, R], None], attempt: Attempt) -> AsyncGenerator[Piece[S, R], None]:
    """The same pieces up to the `Done`, as long as they keep within the limits.

    Raises:
        TimedOut: when a limit has run out.
        AttemptError: when the stream ended before it was complete.
    """
    async with aclosing(pieces):
        while True:
            following: Awaitable[Any] = anext(pieces, _END)
            piece = await attempt.wait(following)
            if piece is _END:
                raise AttemptError(Category.MALFORMED, "the stream ended in the middle of the answer")
            yield piece
            if isinstance(piece, Done):
                return


async def streamed(
    begin: Callable[[], AsyncIterator[S] | Awaitable[AsyncIterator[S]]], complete: Callable[[S], bool] | None
) -> AsyncGenerator[Piece[S, None], None]:
    """What an iterator yields, as pieces; without ``complete`` its end is the end of the stream.

    It is begun in here, so that what fails then is a failure of the attempt, and within its limits.
    """
    begun = begin()
    items = begun if isinstance(begun, AsyncIterable) else await begun
    finished = complete is None
    try:
        async for item in items:
            yield Item(item, len(item) if isinstance(item, str) else 1)
            finished = finished or (complete is not None and complete(item))
    finally:
        close = getattr(items, "aclose", None)  # generators have it, and the streams of SDKs
        if close is not None:
            await close()
    if finished:
        yield Done(None)
