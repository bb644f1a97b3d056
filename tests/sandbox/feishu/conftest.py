"""A platform whose time the test moves by hand, and a webhook to be called."""

import asyncio
import hashlib
import json
import random
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal

import httpx2
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from tests.sandbox.conftest import Webhook, until

from mainstay.clock import SystemClock
from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.delivery import Pusher
from mainstay.sandbox.feishu.model import ApiReply, ApiRequest, App, Json, Moment, Options
from mainstay.sandbox.feishu.platform import Platform
from mainstay.sandbox.feishu.tenant import P2P, Tenant
from mainstay.sandbox.feishu.websocket import Gateway
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
    ]
    return {"schema": "2.0", "config": {"streaming_mode": streaming}, "body": {"elements": elements}}


def button(label: str = "More", **more: object) -> dict[str, Any]:
    behavior = {"type": "callback", "value": {"do": label}}
    text = {"tag": "plain_text", "content": label}
    return {"tag": "button", "element_id": "more", "text": text, "behaviors": [behavior]} | more


def card_with(*elements: dict[str, Any], text: str = "The answer") -> dict[str, Any]:
    """A card that does not stream, with more elements."""
    card = streaming_card(text, streaming=False)
    card["body"]["elements"] += elements
    return card


@pytest.fixture
def world() -> World:
    return World()


def opened(body: bytes) -> dict[str, Any]:
    """What the bot reads, by the documentation's recipe."""
    given: dict[str, Any] = json.loads(body)
    if "encrypt" not in given:
        return given
    raw = b64decode(given["encrypt"])
    key = hashlib.sha256(APP.encrypt_key.encode()).digest()
    decryptor = Cipher(algorithms.AES(key), modes.CBC(raw[:16])).decryptor()
    plain = decryptor.update(raw[16:]) + decryptor.finalize()
    found: dict[str, Any] = json.loads(plain[: -plain[-1]])
    return found


def honest(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
    given = opened(body)
    return 200, {"challenge": given["challenge"]} if "challenge" in given else {}


@dataclass
class Pushing:
    pusher: Pusher
    tenant: Tenant
    clock: PlatformClock

    def say(self, text: str, chat: str = P2P, write: Callable[..., Json] = events.received) -> str:
        now = self.clock.moment()
        message = self.tenant.say(text, now, chat=chat)
        body = write(APP, self.tenant.messages.chats[chat], message, message.message_id[3:], now)
        self.pusher.push(body, message_id=message.message_id, chat_id=chat)
        return message.message_id

    async def attempts(self, count: int) -> None:
        """Wait until the first event was tried so often."""
        await until(lambda: len(self.pusher.deliveries()[0].attempts) >= count)

    async def state(self, message_id: str, wanted: str) -> list[str]:
        """Wait for the state; returns the answers of the attempts."""
        async with asyncio.timeout(20):
            while True:
                found = next(each for each in self.pusher.deliveries() if each.message_id == message_id)
                if found.state == wanted:
                    return [each.answer for each in found.attempts]
                await asyncio.sleep(0.005)


@pytest.fixture
async def pushing(webhook: Webhook) -> AsyncIterator[Pushing]:
    webhook.answer = honest
    rng = random.Random(3)
    tenant, clock = Tenant(APP, Options(), rng), PlatformClock(SystemClock(), 0.0001)
    async with httpx2.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as group:
        pusher = Pusher(tenant, clock, http, rng, Gateway(tenant, clock, rng))
        running = group.create_task(pusher.run())
        await asyncio.sleep(0)
        assert await pusher.subscribe(webhook.url) == ""
        webhook.got.clear()
        yield Pushing(pusher, tenant, clock)
        running.cancel()
