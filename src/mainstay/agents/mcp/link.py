"""What carries the messages between us and one MCP server?"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Protocol, Self

import anyio
from mcp.client import Transport
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse

__all__ = ["LONGEST_MESSAGE_BYTES", "Link", "answering"]

LONGEST_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of one message of a server; a longer one is not taken in."""

_MOST_ASKED: Final = 16
"""So many requests of a server may wait for our answers; before one of them was sent no more is read from it."""


class Link(Protocol):
    """One connection, opened once.

    Attributes:
        ended: set when it has ended by itself, as far as its kind can know.
    """

    ended: asyncio.Event

    def open(self) -> Transport:
        """What the SDK's client takes; whatever is started for it has ended when it is left."""

    def why(self) -> str:
        """What is known about why it ended by itself, or could not begin; empty if nothing is."""


@asynccontextmanager
async def answering(transport: Transport) -> AsyncGenerator[Any, None]:  # the SDK does not export the streams' type
    """The same, but a server that asks and asks, and takes no answer, is not listened to any more.

    The SDK begins a task for each request of a server, and each waits until its answer was sent.
    """
    room = asyncio.Semaphore(_MOST_ASKED)
    async with transport as (heard, said):
        yield _Heard(heard, room), _Said(said, room)


class _Stream:
    def __init__(self, stream: Any, room: asyncio.Semaphore) -> None:  # noqa: ANN401
        self._stream = stream
        self._room = room

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stream.__aexit__(kind, error, trace)


class _Heard(_Stream):
    async def receive(self) -> SessionMessage | Exception:
        item: SessionMessage | Exception = await self._stream.receive()
        if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCRequest):
            await self._room.acquire()
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


class _Said(_Stream):
    async def send(self, item: SessionMessage) -> None:
        await self._stream.send(item)
        if isinstance(item.message, JSONRPCResponse | JSONRPCError):
            self._room.release()
