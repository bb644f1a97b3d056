"""Real sockets for this room's tests."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest

from mainstay.asgi import ASGIApp
from mainstay.settings import Secret
from mainstay.web.access import Access, Tokens
from mainstay.web.server import listen, serving

Visit = Callable[[ASGIApp], AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def access() -> Access:
    tokens = Tokens(viewer=Secret("v" * 40), operator=Secret("o" * 40))
    return Access(tokens, hosts=["bot.example"])


@pytest.fixture
def listener() -> socket.socket:
    return listen("127.0.0.1", 0)


@pytest.fixture
def visit(listener: socket.socket) -> Visit:
    """Serve an application on a free port for the length of a block, and be its client."""

    @asynccontextmanager
    async def visiting(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            serving(app, listener, drain_s=1.0),
            httpx2.AsyncClient(base_url=base_url, trust_env=False, timeout=10) as client,
        ):
            yield client

    return visiting
