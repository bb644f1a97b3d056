"""How is one of the sandbox's addresses served?"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

__all__ = ["Listener", "bind"]


class Listener(uvicorn.Server):
    """A server that leaves signals to the process, and says when it is listening."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                interface="asgi3",
                lifespan="off",
                proxy_headers=False,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=60,
                timeout_graceful_shutdown=1,
            )
        )
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Several servers share this process: none of them owns its signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn does it; then say so."""
        await super().startup(sockets)
        self.listening.set()


def bind(port: int, port_before: int) -> socket.socket:
    """A socket on the port asked for; if any will do, on the one before, if that is still free."""
    # With the protocol named, asyncio switches Nagle's algorithm off; else small answers wait 40 ms for an ACK.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port or port_before))
    except OSError:
        if port:
            raise
        bound.bind(("127.0.0.1", 0))
    return bound
