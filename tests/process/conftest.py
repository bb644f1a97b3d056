"""What the tests from outside share: waiting, reading what the service left behind, and posing as the platform."""

import asyncio
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2

from mainstay.messages import turn_id_of
from mainstay.sandbox.feishu.crypto import encrypt, sign
from mainstay.sandbox.model import Delivery, SaidMessage, Snapshot, Verdict
from mainstay.testing.project import Project

DEADLINE_S = 60.0
BOT = "ou_bot"
BY_WEBHOOK = "FEISHU_SUBSCRIPTION_MODE=false\n"
"""The ``.env`` of a service to which events are posted; one that lives in the sandbox connects by itself."""
_MORE = "\n# of one test\n"


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds; fails after a deadline that only a broken program reaches."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110  the service is another process
            await asyncio.sleep(0.02)


async def half_open(made: Project) -> None:
    """The service finds it out by its pings, and connects anew; then the platform has noticed as well."""
    before = {each.id for each in await made.sandbox.connections() if each.open}
    await made.sandbox.half_open()

    async def is_replaced() -> bool:
        return any(each.open and each.id not in before for each in await made.sandbox.connections())

    await eventually(is_replaced)
    for connection in before:
        await made.sandbox.kick(1006, connection=connection)


@asynccontextmanager
async def visiting(made: Project) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=made.url, trust_env=False, timeout=DEADLINE_S) as http:
        yield http


async def end_of(made: Project, message_id: str) -> Snapshot:
    """What the message has led to, once that is an outcome."""
    async with asyncio.timeout(DEADLINE_S):
        async for snapshot in made.sandbox.watch(message_id):
            if snapshot.final:
                return snapshot
    raise AssertionError("the watch ended without an outcome")


async def begun(made: Project, message_id: str) -> Snapshot:
    """What the message has led to, as soon as a part of the answer can be read."""
    async with asyncio.timeout(DEADLINE_S):
        async for snapshot in made.sandbox.watch(message_id):
            if snapshot.streaming and any(reply.parts.get("answer", "").strip("…") for reply in snapshot.replies):
                return snapshot
    raise AssertionError("the answer was there before it was seen to begin")


async def shown_now(made: Project, message_id: str) -> Snapshot:
    return next(each for each in (await made.sandbox.record()).messages if each.message_id == message_id)


def nobody() -> str:
    """Somebody who has not spoken yet: a private chat and a conversation of their own."""
    return f"ou_{uuid4().hex}"


async def answered(made: Project, text: str, **how: Any) -> Snapshot:  # noqa: ANN401  see `SandboxClient.say`
    """Say something, by default as somebody new, and wait for the outcome."""
    said = await made.sandbox.say(text, **{"sender": nobody()} | how)
    return await end_of(made, said.message_id)


async def verdict_on(made: Project, message_id: str) -> Verdict:
    return next(each for each in await made.sandbox.outcomes() if each.message_id == message_id)


async def delivery_of(made: Project, event_id: str) -> Delivery:
    """What became of an event, once its delivery has ended."""
    found: list[Delivery] = []

    async def over() -> bool:
        found[:] = [each for each in await made.sandbox.deliveries() if each.event_id == event_id]
        return found[0].state != "pending"

    await eventually(over)
    return found[0]


def logged(made: Project, event: str) -> list[dict[str, Any]]:
    """The events of that name in the service's log, oldest first; a line that is just being written is none yet."""
    lines = [json.loads(line) for line in made.log().split("\n")[:-1] if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


def inbox(made: Project) -> dict[str, str]:
    """The lane of every message that the database holds, by its turn_id, oldest first."""
    with closing(sqlite3.connect(made.directory / ".mainstay" / "mainstay.db")) as database:
        return dict(database.execute("select turn_id, lane from inbox order by seq").fetchall())


def turn_of(made: Project, message_id: str) -> str:
    return turn_id_of("feishu", made.sandbox.address.app_id, "message", message_id)


async def run_with(made: Project, more: str) -> None:
    """Let the running service have these lines after the project's own; restarts it only if it has others."""
    file = made.directory / "mainstay.toml"
    now = file.read_text()
    wanted = f"{now.partition(_MORE)[0]}{_MORE}{more}" if more else now.partition(_MORE)[0]
    if wanted != now:
        file.write_text(wanted)
        assert await made.end() == 0
        await made.start()


def now_ms() -> str:
    return str(int(datetime.now(UTC).timestamp() * 1000))


def event(made: Project, said: Mapping[str, object], **header: str) -> dict[str, Any]:
    """A message of somebody as the platform writes it; ``said`` is put over its fields, ``header`` over its own."""
    address = made.sandbox.address
    message = {
        "message_id": f"om_{uuid4().hex}",
        "chat_id": f"oc_{uuid4().hex}",
        "chat_type": "p2p",
        "message_type": "text",
        "content": json.dumps({"text": "hello"}),
        "create_time": now_ms(),
    }
    head = {
        "event_id": uuid4().hex,
        "event_type": "im.message.receive_v1",
        "create_time": now_ms(),
        "token": address.verification_token,
        "app_id": address.app_id,
        "tenant_key": "tk1",
    }
    sender = {"sender_id": {"open_id": nobody()}, "sender_type": "user"}
    return {"schema": "2.0", "header": head | header, "event": {"sender": sender, "message": message | dict(said)}}


def sealed(made: Project, plain: bytes, *, key: str = "") -> bytes:
    return json.dumps({"encrypt": encrypt(key or made.sandbox.address.encrypt_key, plain, os.urandom(16))}).encode()


def signed(made: Project, body: bytes, *, age_s: float = 0.0, key: str = "") -> dict[str, str]:
    timestamp, nonce = str(int(datetime.now(UTC).timestamp() - age_s)), uuid4().hex
    return {
        "Content-Type": "application/json",
        "X-Lark-Request-Timestamp": timestamp,
        "X-Lark-Request-Nonce": nonce,
        "X-Lark-Signature": sign(timestamp, nonce, key or made.sandbox.address.encrypt_key, body),
    }


async def send_event(made: Project, content: object) -> httpx2.Response:
    """Hand the service an event as the platform does."""
    body = sealed(made, json.dumps(content).encode())
    async with visiting(made) as http:
        return await http.post("/webhook/event", content=body, headers=signed(made, body))


async def seen_but_not_meant(made: Project, text: str = "hello", *, thread: str = "") -> SaidMessage:
    """Something in the group that is not for the bot: it can be answered once somebody says that it is."""
    said = await made.sandbox.say(text, chat_type="group", mention=False, sender=nobody(), thread=thread)
    assert (await delivery_of(made, said.event_id)).state == "acknowledged"
    return said
