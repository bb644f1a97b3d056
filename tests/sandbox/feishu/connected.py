"""A platform whose bot is subscribed by connection, and a bot's end of such a connection."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
from tests.sandbox.conftest import served, until
from tests.sandbox.feishu.conftest import APP
from websockets.asyncio.client import ClientConnection, connect

from mainstay.clock import SystemClock
from mainstay.sandbox.feishu import events, frames
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.delivery import Pusher
from mainstay.sandbox.feishu.faults import PlatformFaults
from mainstay.sandbox.feishu.frames import Frame
from mainstay.sandbox.feishu.http import platform_app
from mainstay.sandbox.feishu.model import Options
from mainstay.sandbox.feishu.platform import Platform
from mainstay.sandbox.feishu.tenant import USER, Tenant
from mainstay.sandbox.feishu.websocket import Gateway
from mainstay.sandbox.listener import bind
from mainstay.sandbox.model import ConnectionSeen, Delivery


@dataclass
class Line:
    """A bot's end of a connection."""

    socket: ClientConnection
    config: dict[str, int]
    service: int

    async def read(self) -> Frame:
        async with asyncio.timeout(20):
            message = await self.socket.recv()
        assert isinstance(message, bytes)
        return frames.decode(message)

    async def answer(self, frame: Frame, code: int = 200, **more: object) -> None:
        headers = (*frame.headers, ("biz_rt", "1"))
        payload = json.dumps({"code": code, **more}).encode()
        await self.socket.send(frames.encode(replace(frame, headers=headers, payload=payload)))

    async def send_ping(self) -> None:
        ping = Frame(service=self.service, method=frames.CONTROL, headers=(("type", "ping"),))
        await self.socket.send(frames.encode(ping))

    async def ping(self) -> Any:  # noqa: ANN401
        await self.send_ping()
        pong = await self.read()
        assert (pong.method, pong.header("type"), pong.service) == (frames.CONTROL, "pong", self.service)
        return json.loads(pong.payload or b"")


@dataclass
class Connected:
    """A platform whose bot is subscribed by connection."""

    origin: str
    tenant: Tenant
    pusher: Pusher
    gateway: Gateway
    clock: PlatformClock
    faults: PlatformFaults
    http: httpx2.AsyncClient

    def options(self, **changes: Any) -> None:  # noqa: ANN401
        self.tenant.options = replace(self.tenant.options, **changes)

    async def endpoint(self, **changes: str) -> dict[str, Any]:
        body = {"AppID": APP.app_id, "AppSecret": APP.app_secret, **changes}
        answer = await self.http.post(f"{self.origin}/callback/ws/endpoint", json=body)
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        found = (await self.endpoint())["data"]
        query = dict(parse_qsl(urlsplit(found["URL"]).query))
        async with connect(found["URL"], proxy=None, ping_interval=None, close_timeout=1) as socket:
            await until(lambda: query["device_id"] in {each.id for each in self.ready()})
            yield Line(socket, found["ClientConfig"], int(query["service_id"]))

    def ready(self) -> list[ConnectionSeen]:
        return [each for each in self.tenant.connections.seen() if each.open and each.ready]

    @property
    def seen(self) -> list[ConnectionSeen]:
        return self.tenant.connections.seen()

    def say(self, text: str, *, sender: str = USER) -> str:
        message = self.tenant.say(text, self.clock.moment(), sender=sender)
        self.deliver(message.message_id, message.message_id[3:])
        return message.message_id

    def deliver(self, message_id: str, event_id: str) -> None:
        message, now = self.tenant.messages.messages[message_id], self.clock.moment()
        body = events.received(APP, self.tenant.messages.chats[message.chat_id], message, event_id, now)
        self.pusher.push(body, message_id=message_id, chat_id=message.chat_id)

    def said_to(self, message_id: str) -> list[str]:
        """What the bot has replied."""
        snapshot = self.tenant.record.snapshot(message_id, self.clock.moment())
        return [each.text for each in snapshot.replies]

    def delivery(self, message_id: str) -> Delivery:
        return next(each for each in self.pusher.deliveries() if each.message_id == message_id)

    async def answers(self, message_id: str, count: int = 1) -> list[str]:
        await until(lambda: len(self.delivery(message_id).attempts) >= count)
        return [each.answer for each in self.delivery(message_id).attempts]


@asynccontextmanager
async def platform(time_scale: float = 1.0) -> AsyncIterator[Connected]:
    rng = random.Random(5)
    tenant, clock, faults = Tenant(APP, Options(), rng), PlatformClock(SystemClock(), time_scale), PlatformFaults()
    gateway = Gateway(tenant, clock, rng)
    app = platform_app(Platform(tenant, rng), faults, clock, lambda: None)
    async with httpx2.AsyncClient(trust_env=False) as http, served(app) as origin, asyncio.TaskGroup() as group:
        pusher = Pusher(tenant, clock, http, rng, gateway)
        background = [group.create_task(pusher.run()), group.create_task(gateway.run(bind(0, 0)))]
        await gateway.listening.wait()
        pusher.subscribe_by_connection()
        try:
            yield Connected(origin, tenant, pusher, gateway, clock, faults, http)
        finally:
            for task in background:
                task.cancel()
