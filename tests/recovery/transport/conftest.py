"""A server that sends exactly what it is told to, and clients of both libraries, with and without tasks."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.transport.guard import GuardTransport
from mainstay.recovery.transport.model import CallSeen, TransportLimits
from mainstay.testing.clock import ManualClock


def limited(*, header_s: float = 60, first_byte_s: float = 60, idle_s: float = 60) -> TransportLimits:
    """These limits; what is not named is long enough for a machine that is busy with other tests."""
    return TransportLimits(header_s=header_s, first_byte_s=first_byte_s, idle_s=idle_s)


PATIENT = limited()
NO_HEADERS = limited(header_s=0.3)
NO_BODY = limited(first_byte_s=0.3, idle_s=0.3)


@dataclass
class Peer:
    """The client's side of one request, as its server sees it."""

    target: str
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self, status: int = 200, kind: str = "text/event-stream", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "transfer-encoding: chunked"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self._write("\r\n".join([*lines, "", ""]).encode())

    async def piece(self, data: bytes) -> None:
        """One chunk, which is one piece for the client."""
        await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end(self) -> None:
        await self._write(b"0\r\n\r\n")

    async def json(self, value: object, status: int = 200, **headers: str) -> None:
        await self.head(status, "application/json", **headers)
        await self.piece(json.dumps(value).encode())
        await self.end()

    async def left(self) -> None:
        """Return when the client has closed the connection."""
        while await self.reader.read(1024):
            pass

    def reset(self) -> None:
        self.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.writer.transport.abort()

    async def _write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


Answer = Callable[[Peer], Awaitable[None]]


@dataclass
class Wire:
    """The server; ``targets`` are the paths that were asked for, with their queries."""

    port: int
    answers: Mapping[str, Answer]
    targets: list[str] = field(default_factory=list)
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            while line := await reader.readline():
                target = line.split()[1].decode()
                length = 0
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    if header.lower().startswith(b"content-length:"):
                        length = int(header.partition(b":")[2])
                self.targets.append(target)
                answer = self.answers[target.partition("?")[0]]
                await answer(Peer(target, await reader.readexactly(length), reader, writer))
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client has left, or the server ends
        finally:
            writer.transport.abort()
            self.connections.discard(task)


@asynccontextmanager
async def wire(answers: Mapping[str, Answer]) -> AsyncIterator[Wire]:
    """Serve these answers, by path."""
    made = Wire(0, answers)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        tasks = list(made.connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass
class Client:
    """A client with one connection and no timeouts of its own, behind a guard; the same for tasks and threads."""

    library: ModuleType
    blocking: bool
    inner: httpx2.AsyncBaseTransport
    guard: GuardTransport
    http: Any
    seen: list[CallSeen]

    async def get(self, url: str, **options: object) -> httpx2.Response:
        """The response, with its body."""
        return await self.request("GET", url, **options)

    async def request(self, method: str, url: str, **options: object) -> httpx2.Response:
        if self.blocking:
            return await asyncio.to_thread(self.http.request, method, url, **options)
        response: httpx2.Response = await self.http.request(method, url, **options)
        return response

    async def read(self, url: str, until: bytes | None) -> bytes:
        """The body of a streamed response up to these bytes, or none of it; then it is closed."""
        if self.blocking:
            return await asyncio.to_thread(self._read, url, until)
        got = b""
        async with self.http.stream("GET", url) as response:
            if until is not None:
                async for piece in response.aiter_raw():
                    got += piece
                    if until in got:
                        break
        return got

    def _read(self, url: str, until: bytes | None) -> bytes:
        got = b""
        with self.http.stream("GET", url) as response:
            if until is not None:
                for piece in response.iter_raw():
                    got += piece
                    if until in got:
                        break
        return got

    async def aclose(self) -> None:
        if self.blocking:
            self.http.close()
        else:
            await self.http.aclose()


@dataclass
class Maker:
    """Makes clients of one kind."""

    library: ModuleType
    blocking: bool
    made: list[Client] = field(default_factory=list)

    def __call__(
        self, *, breaker: Breaker | None = None, limits: TransportLimits = PATIENT, connections: int = 1
    ) -> Client:
        transport = self.library.HTTPTransport if self.blocking else self.library.AsyncHTTPTransport
        return self.around(
            transport(limits=self.library.Limits(max_connections=connections)), breaker=breaker, limits=limits
        )

    def around(
        self, inner: httpx2.AsyncBaseTransport, *, breaker: Breaker | None = None, limits: TransportLimits = PATIENT
    ) -> Client:
        seen: list[CallSeen] = []
        guard = GuardTransport(inner, breaker=breaker, limits=limits, on_call=seen.append)
        http = (self.library.Client if self.blocking else self.library.AsyncClient)(transport=guard, timeout=None)
        self.made.append(Client(self.library, self.blocking, inner, guard, http, seen))
        return self.made[-1]


KINDS = [
    pytest.param((library, blocking), id=f"{library.__name__}-{'blocking' if blocking else 'async'}")
    for library in (httpx2, httpx)
    for blocking in (False, True)
]


@pytest.fixture(params=KINDS)
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Maker]:
    """A maker of guarded clients, of each kind."""
    maker = Maker(*request.param)
    yield maker
    for each in maker.made:
        await each.aclose()


@pytest.fixture(params=[httpx2, httpx], ids=lambda library: library.__name__)
async def task_client(request: pytest.FixtureRequest) -> AsyncIterator[Maker]:
    """The same for what only tasks have, such as cancellation."""
    maker = Maker(request.param, blocking=False)
    yield maker
    for each in maker.made:
        await each.aclose()


@pytest.fixture
def clock() -> ManualClock:
    """Moves the breaker of `half_open`."""
    return ManualClock()


@pytest.fixture
def half_open(clock: ManualClock) -> Callable[[], Breaker]:
    """Makes a breaker whose pause has just ended."""

    def made() -> Breaker:
        breaker = Breaker("target", clock=clock)
        breaker.open_for(5)
        clock.advance(5)
        return breaker

    return made
