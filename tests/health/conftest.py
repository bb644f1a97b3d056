"""Real HTTP for this room's tests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest

from mainstay.asgi import ASGIApp
from mainstay.web.server import listen, serving

Visit = Callable[[ASGIApp], AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def visit() -> Visit:
    """Serve an application on a free port for the length of a block, and be its client."""

    @asynccontextmanager
    async def visiting(app: ASGIApp) -> AsyncIterator[httpx2.AsyncClient]:
        listener = listen("127.0.0.1", 0)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with (
            serving(app, listener, drain_s=1.0),
            httpx2.AsyncClient(base_url=base_url, trust_env=False, timeout=10) as client,
        ):
            yield client

    return visiting
