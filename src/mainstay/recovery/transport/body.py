"""How does a response's body reach the caller, under its limits?

One class for tasks and one for threads; each is made a stream of the library's own with
`mainstay.recovery.transport.library.as_its_own`. They are iterators, not generators: a reader that starts anew, as
an SDK does to drain a connection, goes on where the last one stopped.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Self

from mainstay.recovery.deadline import left_s
from mainstay.recovery.transport.exchange import Exchange
from mainstay.recovery.transport.library import Library
from mainstay.recovery.transport.model import TransportLimits
from mainstay.recovery.transport.waits import Wait, wait_for

if TYPE_CHECKING:
    import httpx2

__all__ = ["AsyncBody", "SyncBody"]


class AsyncBody:
    """The body for an asynchronous client."""

    def __init__(
        self,
        response: "httpx2.Response",
        request: "httpx2.Request",
        exchange: Exchange,
        limits: TransportLimits,
        library: Library,
    ) -> None:
        self._stream: httpx2.AsyncByteStream = response.stream  # type: ignore[assignment]
        self._pieces: AsyncIterator[bytes] | None = None
        self._request = request
        self._exchange = exchange
        self._limits = limits
        self._library = library

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next piece, as soon as it is there; only this wait is timed, not what the caller does in between."""
        if self._pieces is None:
            self._pieces = aiter(self._stream)
        wait, missing = self._next_wait()
        timer = asyncio.timeout(wait.seconds)
        try:
            async with timer:
                piece = await anext(self._pieces)
        except StopAsyncIteration:
            self._exchange.ended()
            raise
        except BaseException as error:
            if isinstance(error, TimeoutError) and timer.expired():
                late = self._library.ReadTimeout(wait.over(missing), request=self._request)
                self._exchange.failed(late)
                raise late from None
            self._exchange.failed(error)
            raise
        self._exchange.received(piece)
        return piece

    def _next_wait(self) -> tuple[Wait, str]:
        """How long to wait for the next piece, and what is missing if it does not come."""
        if self._exchange.begun:
            return wait_for("idle", self._limits.idle_s), "no further byte of the body came"
        return wait_for("first byte", self._limits.first_byte_s), "no first byte of the body came"

    async def aclose(self) -> None:
        """Close the socket, or give it back."""
        try:
            await self._stream.aclose()
        finally:
            self._exchange.closed()


class SyncBody:
    """The body for a client that blocks its thread.

    Waits are bounded by the library's own read timeout, which one body has one of: the longer of the limits for the
    first byte and between two pieces, or what was left before the deadline when the headers came.
    """

    def __init__(
        self, response: "httpx2.Response", request: "httpx2.Request", exchange: Exchange, library: Library
    ) -> None:
        self._stream: httpx2.SyncByteStream = response.stream  # type: ignore[assignment]
        self._pieces: Iterator[bytes] | None = None
        self._request = request
        self._exchange = exchange
        self._library = library

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """The next piece; none after the deadline."""
        if self._pieces is None:
            self._pieces = iter(self._stream)
        try:
            self._check_deadline()
            piece = next(self._pieces)
        except StopIteration:
            self._exchange.ended()
            raise
        except BaseException as error:
            self._exchange.failed(error)
            raise
        self._exchange.received(piece)
        return piece

    def _check_deadline(self) -> None:
        left = left_s()
        if left is not None and left <= 0:
            message = "the deadline for this work has passed before the body was complete"
            raise self._library.ReadTimeout(message, request=self._request)

    def close(self) -> None:
        """Close the socket, or give it back."""
        try:
            self._stream.close()
        finally:
            self._exchange.closed()
