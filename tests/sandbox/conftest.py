"""A real sandbox, in a process of its own, and a webhook to be called by it."""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SandboxAddress, SandboxSettings
from mainstay.sandbox.process import stop
from mainstay.testing.project import forked_sandbox

FAST = SandboxSettings(time_scale=0.01, tokens_per_second=0, start_timeout=30, owner_grace=0.2)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[SandboxAddress]:
    address = await forked_sandbox(tmp_path, FAST, owner=os.getpid())
    yield address
    await stop(address)


@pytest.fixture
async def client(address: SandboxAddress) -> AsyncIterator[SandboxClient]:
    async with SandboxClient(address) as client:
        yield client


@dataclass
class Webhook:
    """A bot's webhook that answers what `answer` says, and keeps what it got."""

    url: str = ""
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[dict[str, str], bytes], tuple[int, Any]] = lambda headers, body: (200, {})
    delay_s: float = 0.0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def count(self, wanted: int) -> None:
        async with asyncio.timeout(20):
            while len(self.got) < wanted:
                self.arrived.clear()
                await self.arrived.wait()

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.got.append((headers, body))
        self.arrived.set()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        status, value = self.answer(headers, body)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def until(condition: Callable[[], bool]) -> None:
    """Return when it holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    hook = Webhook()
    async with served(hook.app) as origin:
        hook.url = f"{origin}/webhook/event"
        yield hook


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The application on a free port; gives its origin."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    server = _Server(
        uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
