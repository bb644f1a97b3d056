"""How does the application meet the network?

The listening socket is bound first, by `listen`: connections queue up while the service is still being put
together. `serving` then runs uvicorn on it, inside of the caller's scope, and on leaving it drains.
"""

import asyncio
import socket
from asyncio import TimerHandle
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from errno import EADDRINUSE

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from mainstay.asgi import HANG_UP, ASGIApp
from mainstay.errors import MainstayError
from mainstay.web.ports import holder

__all__ = ["Server", "listen", "serving"]

_BACKLOG = 1024
_HEAD_BYTES = 64 * 1024
_HEAD_TIMEOUT_S = 10.0
_KEEP_ALIVE_S = 5
_CUT_OFF_S = 1.0  # for cancelled requests to unwind
_FIRST_REQUEST_S = 0.5
_LOOK_S = 0.02


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one.

    Raises:
        MainstayError: the port is taken (the message names by whom), or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise MainstayError(f"can not listen on {host}: {error.strerror}: set service.host to an address") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise MainstayError(_why_not(host, str(address[0]), port, error)) from None
    listener.settimeout(0)
    return listener


def _why_not(host: str, address: str, port: int, error: OSError) -> str:
    if error.errno == EADDRINUSE:
        by = holder(address, port) or "another process"
        return f"port {port} on {host} is taken by {by}: stop it, or set another service.port"
    return f"can not listen on {host}, port {port}: {error.strerror}: set another service.host or service.port"


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but it neither waits for ever for the end of the headers nor keeps as many as come."""

    _due: TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_due()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES and not self.transport.is_closing():
                self.send_400_response("Request headers too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: self.transport.abort}  # type: ignore[dict-item]
        self._await_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._cancel_due()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        self._cancel_due()
        self._due = self.loop.call_later(_HEAD_TIMEOUT_S, self.transport.close)

    def _cancel_due(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None


class Server(uvicorn.Server):
    """uvicorn without its signal handlers, and with an end: nothing of it is left when `run` returns."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener
        self.ready = asyncio.Event()

    async def run_until_stopped(self) -> None:
        """Serve until `stop`, then let running requests finish within the drain time and cut off the rest."""
        try:
            await self.serve(sockets=[self._listener])
        finally:
            for server in getattr(self, "servers", ()):
                server.close()
            for task in self.server_state.tasks:
                task.cancel()
            for connection in list(self.server_state.connections):
                connection.transport.close()
            if self.server_state.tasks:
                await asyncio.wait(self.server_state.tasks, timeout=_CUT_OFF_S)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; from here on requests are answered."""
        await super().startup(sockets)
        self.ready.set()

    def leave(self) -> None:
        """Accept no more connections; what is connected is served. For one whose listener others have as well."""
        for server in getattr(self, "servers", ()):
            server.close()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn, which would hang up on whoever has only just connected: that request is on its way."""
        self.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_REQUEST_S):
                while any(_is_new(each) for each in self.server_state.connections):  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        await super().shutdown(sockets)

    def stop(self) -> None:
        """Accept no more connections, and end when the running requests have."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the service."""
        yield


def _is_new(connection: object) -> bool:
    return isinstance(connection, _Protocol) and connection.cycle is None


async def _run(server: Server, failed: Callable[[Exception], None] | None) -> None:
    try:
        await server.run_until_stopped()
    except Exception as error:
        if failed is None or not server.ready.is_set():
            raise
        failed(error)
    else:
        if failed is not None and not server.should_exit:
            failed(RuntimeError("it came to its end by itself"))


@asynccontextmanager
async def serving(
    app: ASGIApp,
    listener: socket.socket,
    *,
    drain_s: float,
    failed: Callable[[Exception], None] | None = None,
) -> AsyncIterator[Server]:
    """Serve ``app`` while the block runs.

    On leaving it no more connections are accepted, and running requests get ``drain_s`` seconds to finish. When the
    block is cancelled, they get none.

    ``failed`` is told when the server ends before the block does, so that the block can come to a good end. Without
    it the block is cancelled, and what the server raised is raised.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=drain_s,  # type: ignore[arg-type]
    )
    server = Server(config, listener)
    failure: BaseException | None = None
    async with asyncio.TaskGroup() as group:
        running = group.create_task(_run(server, failed))
        await server.ready.wait()
        try:
            yield server
        except BaseException as error:  # noqa: BLE001  raised below, as itself: a TaskGroup would wrap it
            failure = error
            if isinstance(error, asyncio.CancelledError):
                running.cancel()
        finally:
            server.stop()
    if failure is not None:
        raise failure
