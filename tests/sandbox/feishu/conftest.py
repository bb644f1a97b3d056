"""A platform whose time the test moves by hand, and a webhook to be called."""

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.sandbox.feishu.model import ApiReply, ApiRequest, App, Moment, Options
from mainstay.sandbox.feishu.platform import Platform
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.testing.clock import ManualClock

APP = App(
    app_id="cli_a000000000000001",
    app_secret="secret",
    encrypt_key="sandbox-encrypt-key-001",
    verification_token="vtok_0123456789abcdefABCDEF",
)


class World:
    """The platform, asked without HTTP; `now` moves only when the test says so."""

    def __init__(self) -> None:
        rng = random.Random(7)
        self.tenant = Tenant(APP, Options(), rng)
        self.platform = Platform(self.tenant, rng)
        self._clock = ManualClock()
        self._token = ""

    @property
    def now(self) -> Moment:
        return Moment(self._clock.monotonic(), self._clock.monotonic(), self._clock.now())

    def wait(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def token(self) -> str:
        body = {"app_id": APP.app_id, "app_secret": APP.app_secret}
        path = "/open-apis/auth/v3/tenant_access_token/internal"
        reply = self.platform.call(ApiRequest(method="POST", path=path, body=dict(body)), self.now)
        return str(reply.body["tenant_access_token"])

    def call(self, method: str, path: str, body: object = None, **query: str) -> ApiReply:
        self._token = self.token()
        request = ApiRequest(
            method=method,
            path=f"/open-apis{path}",
            query=query,
            bearer=self._token,
            body=body if isinstance(body, dict) else {},
        )
        return self.platform.call(request, self.now)

    def code(self, method: str, path: str, body: object = None, **query: str) -> int:
        return self.call(method, path, body, **query).code

    def said(self, text: str = "hello", *, chat_type: Literal["p2p", "group"] = "p2p") -> str:
        return self.tenant.say(text, self.now, chat_type=chat_type).message_id

    def reply(self, message_id: str, text: str = "hi", **more: object) -> ApiReply:
        body = {"msg_type": "text", "content": json.dumps({"text": text}), **more}
        return self.call("POST", f"/im/v1/messages/{message_id}/reply", body)

    def card(self, content: object = None) -> str:
        data = self.call("POST", "/cardkit/v1/cards", card_body(content or streaming_card())).body["data"]
        assert isinstance(data, dict)
        return str(data["card_id"])

    def show(self, message_id: str, card_id: str) -> ApiReply:
        body = {"msg_type": "interactive", "content": entity(card_id)}
        return self.call("POST", f"/im/v1/messages/{message_id}/reply", body)

    def stream(self, card_id: str, text: str, sequence: object, element: str = "answer", **more: object) -> int:
        path = f"/cardkit/v1/cards/{card_id}/elements/{element}/content"
        return self.code("PUT", path, {"content": text, "sequence": sequence, **more})

    def streaming(self, card_id: str, sequence: int, *, on: bool) -> int:
        settings = json.dumps({"config": {"streaming_mode": on}})
        return self.code(
            "PATCH", f"/cardkit/v1/cards/{card_id}/settings", {"settings": settings, "sequence": sequence}
        )


def entity(card_id: str) -> str:
    return json.dumps({"type": "card", "data": {"card_id": card_id}})


def card_body(content: object) -> dict[str, Any]:
    return {"type": "card_json", "data": json.dumps(content)}


def streaming_card(text: str = "Thinking…", *, streaming: bool = True) -> dict[str, Any]:
    elements = [
        {"tag": "markdown", "element_id": "answer", "content": text},
        {"tag": "markdown", "element_id": "status", "content": "Routing"},
        {"tag": "button", "element_id": "more", "text": {"tag": "plain_text", "content": "More"}},
    ]
    return {"schema": "2.0", "config": {"streaming_mode": streaming}, "body": {"elements": elements}}


@pytest.fixture
def world() -> World:
    return World()


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
    listening = socket.create_server(("127.0.0.1", 0))
    server = _Server(
        uvicorn.Config(app, interface="asgi3", lifespan="off", log_config=None, timeout_graceful_shutdown=1)
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
