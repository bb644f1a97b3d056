"""A person's side of the sandbox, from another process."""

import asyncio
import hashlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from tests.sandbox.conftest import Webhook
from tests.sandbox.feishu.conftest import button, card_with, streaming_card
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from mainstay.sandbox.client import SandboxClient, SandboxError
from mainstay.sandbox.feishu import frames
from mainstay.sandbox.model import SandboxAddress, Snapshot

pytestmark = pytest.mark.anyio


class Bot:
    """The other side: what a channel would do, by hand."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    async def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = await self._http.request(method, f"/open-apis{path}", json=body or {})
        found: dict[str, Any] = answer.json()
        return found

    async def reply(self, message_id: str, text: str) -> dict[str, Any]:
        body = {"msg_type": "text", "content": json.dumps({"text": text})}
        return await self.ask("POST", f"/im/v1/messages/{message_id}/reply", body)


@pytest.fixture
async def bot(address: SandboxAddress) -> AsyncIterator[Bot]:
    async with httpx2.AsyncClient(base_url=address.feishu_url, trust_env=False) as http:
        body = {"app_id": address.app_id, "app_secret": address.app_secret}
        answer = await http.post("/open-apis/auth/v3/tenant_access_token/internal", json=body)
        http.headers["Authorization"] = f"Bearer {answer.json()['tenant_access_token']}"
        yield Bot(http)


def plain(headers: dict[str, str], body: bytes) -> tuple[int, object]:
    given = json.loads(body)
    return 200, {"challenge": given["challenge"]} if "challenge" in given else {}


@pytest.fixture
async def talking(client: SandboxClient, webhook: Webhook) -> SandboxClient:
    webhook.answer = plain
    await client.options(encrypt=False)
    await client.subscribe(webhook.url)
    webhook.got.clear()
    return client


async def test_nothing_can_be_said_before_a_bot_is_subscribed(client: SandboxClient) -> None:
    with pytest.raises(SandboxError, match="start the service first"):
        await client.say("hello")


async def test_a_webhook_that_fails_the_challenge_is_not_subscribed(client: SandboxClient) -> None:
    with pytest.raises(SandboxError, match="can not be reached"):
        await client.subscribe("http://127.0.0.1:1/webhook/event")


async def test_what_is_said_reaches_the_webhook_as_the_platform_numbered_it(
    talking: SandboxClient,
    webhook: Webhook,
) -> None:
    said = await talking.say("hello", chat_type="group", sender="ou_u2")
    await webhook.count(1)
    event = json.loads(webhook.got[0][1])
    assert event["header"]["event_id"] == said.event_id
    assert event["event"]["message"]["message_id"] == said.message_id
    assert event["event"]["sender"]["sender_id"]["open_id"] == "ou_u2"
    assert (said.chat_type, said.app_id) == ("group", talking.address.app_id)


async def test_a_conversation_is_watched_to_its_end(talking: SandboxClient, bot: Bot) -> None:
    said = await talking.say("hello")
    seen: list[Snapshot] = []

    async def watch() -> None:
        seen.extend([snapshot async for snapshot in talking.watch(said.message_id)])

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(watch())
        data = json.dumps(streaming_card())
        card = (await bot.ask("POST", "/cardkit/v1/cards", {"type": "card_json", "data": data}))["data"]["card_id"]
        content = json.dumps({"type": "card", "data": {"card_id": card}})
        shown = {"msg_type": "interactive", "content": content}
        await bot.ask("POST", f"/im/v1/messages/{said.message_id}/reply", shown)
        path = f"/cardkit/v1/cards/{card}"
        await bot.ask("PUT", f"{path}/elements/answer/content", {"content": "An answer", "sequence": 1})
        settings = json.dumps({"config": {"streaming_mode": False}})
        await bot.ask("PATCH", f"{path}/settings", {"settings": settings, "sequence": 2})
    assert [each.final for each in seen] == [False] * (len(seen) - 1) + [True]
    assert (seen[-1].text, seen[-1].streaming) == ("An answer", False)
    outcomes = await talking.outcomes()
    assert [(each.message_id, each.outcomes, each.state) for each in outcomes] == [(said.message_id, 1, "final")]
    history = (await talking.record()).messages[0].replies[0].history
    assert [each.text for each in history] == ["Thinking…", "An answer"]


async def test_who_watches_hears_nothing_until_something_changes(
    talking: SandboxClient, bot: Bot, address: SandboxAddress
) -> None:
    said = await talking.say("hello")
    first = await anext(aiter(talking.watch(said.message_id)))
    headers = {"Authorization": f"Bearer {address.control_token}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=20) as http:
        url = f"{address.control_url}/watch/{said.message_id}"
        still = await http.get(url, params={"after": first.revision, "wait_s": 0.05})
        assert still.json()["revision"] == first.revision
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(http.get(url, params={"after": first.revision, "wait_s": 20}))
            await talking.state()
            await bot.reply(said.message_id, "hi")
    assert waiting.result().json()["revision"] > first.revision


async def test_a_thread_is_continued_by_its_id(talking: SandboxClient, bot: Bot) -> None:
    said = await talking.say("hello", chat_type="group")
    body = {"msg_type": "text", "content": '{"text":"hi"}', "reply_in_thread": True}
    reply = (await bot.ask("POST", f"/im/v1/messages/{said.message_id}/reply", body))["data"]
    more = await talking.say("more", thread=reply["thread_id"])
    assert (more.thread_id, more.chat_id) == (reply["thread_id"], said.chat_id)
    quoted = await talking.say("and", thread=reply["message_id"])
    assert quoted.chat_id == said.chat_id


async def test_ids_can_be_chosen_once(talking: SandboxClient) -> None:
    said = await talking.say("hello", message_id="om_mine", event_id="ev-mine")
    assert (said.message_id, said.event_id) == ("om_mine", "ev-mine")
    with pytest.raises(SandboxError, match="deliver it again"):
        await talking.say("hello", message_id="om_mine")


async def test_a_message_comes_again_with_the_same_event_or_a_new_one(
    talking: SandboxClient,
    webhook: Webhook,
) -> None:
    said = await talking.say("hello")
    await webhook.count(1)
    assert await talking.deliver_again(said.message_id) == said.event_id
    await webhook.count(2)
    assert webhook.got[0][1] == webhook.got[1][1]
    fresh = await talking.deliver_again(said.message_id, new_event_id=True)
    await webhook.count(3)
    event = json.loads(webhook.got[2][1])
    assert event["header"]["event_id"] == fresh != said.event_id
    assert event["event"]["message"]["message_id"] == said.message_id


async def test_a_message_taken_back_is_announced_and_can_not_be_answered(
    talking: SandboxClient,
    webhook: Webhook,
    bot: Bot,
) -> None:
    said = await talking.say("hello")
    await talking.recall(said.message_id)
    await webhook.count(2)
    event = json.loads(webhook.got[1][1])
    assert event["header"]["event_type"] == "im.message.recalled_v1"
    assert event["event"]["message_id"] == said.message_id
    assert (await bot.reply(said.message_id, "late"))["code"] == 230011
    assert (await talking.outcomes())[0].recalled


async def test_a_webhook_that_was_down_gets_its_event_on_the_scaled_clock(
    talking: SandboxClient,
    webhook: Webhook,
) -> None:
    webhook.answer = lambda headers, body: (500, {})
    await talking.say("hello")
    await webhook.count(1)
    webhook.answer = plain
    await webhook.count(2)
    async with asyncio.timeout(20):
        while (await talking.deliveries())[0].state != "acknowledged":
            pass
    attempts = (await talking.deliveries())[0].attempts
    assert [each.answer for each in attempts] == ["500", "200"]
    assert attempts[1].at_s >= 15


async def test_faults_of_the_platform_come_and_are_cleared(talking: SandboxClient, bot: Bot) -> None:
    said = await talking.say("hello")
    await talking.platform_fault("POST /reply", code=230020, times=2)
    assert (await bot.reply(said.message_id, "x"))["code"] == 230020
    await talking.clear()
    assert (await bot.reply(said.message_id, "x"))["code"] == 0
    assert [each["code"] for each in await talking.calls() if "/reply" in each["path"]] == [230020, 0]


async def test_faults_of_a_model_strike_that_model(client: SandboxClient) -> None:
    await client.fault("rate-limit", model="primary", times=1)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": f"Bearer {client.address.model_token}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False) as http:
        statuses = [
            (await http.post(f"{client.address.models[name]}/chat/completions", json=body)).status_code
            for name in ("fallback", "primary", "primary")
        ]
    assert statuses == [200, 429, 200]
    models = await client.models()
    assert (models["primary"]["total"], models["fallback"]["total"]) == (2, 1)


@pytest.mark.parametrize(
    ("verb", "reason"),
    [
        ({"name": "nonsense"}, "unknown fault"),
        ({"name": "hang", "model": "nobody"}, "not found"),
        ({"name": "hang", "times": 0}, "times"),
        ({"name": "hang", "nonsense": 1}, "nonsense"),
    ],
)
async def test_a_wrong_fault_is_refused_with_the_reason(
    client: SandboxClient, verb: dict[str, Any], reason: str
) -> None:
    with pytest.raises(SandboxError, match=reason):
        await client.fault(**verb)


async def test_wrong_uses_are_refused_with_the_reason(talking: SandboxClient) -> None:
    with pytest.raises(SandboxError, match="not found"):
        await talking.deliver_again("om_none")
    with pytest.raises(SandboxError, match="not existed"):
        await talking.recall("om_none")
    with pytest.raises(SandboxError, match="chat_type"):
        await talking.say("x", chat_type="crowd")  # type: ignore[arg-type]
    with pytest.raises(SandboxError, match="nonsense"):
        await talking.options(nonsense=1)
    with pytest.raises(SandboxError, match="not found"):
        await anext(aiter(talking.watch("om_none")))


async def test_tokens_can_be_taken_away(client: SandboxClient, bot: Bot) -> None:
    assert (await bot.ask("GET", "/bot/v3/info"))["code"] == 0
    await client.expire_tokens()
    assert (await bot.ask("GET", "/bot/v3/info"))["code"] == 99991663


async def test_moving_time_on_makes_a_token_old(client: SandboxClient, bot: Bot) -> None:
    await client.advance(7200)
    assert (await bot.ask("GET", "/bot/v3/info"))["code"] == 99991663


async def test_a_press_is_answered_by_the_bot(
    talking: SandboxClient,
    webhook: Webhook,
    bot: Bot,
) -> None:
    said = await talking.say("hello")
    reply = (await bot.reply(said.message_id, "hi"))["data"]["message_id"]
    await webhook.count(1)
    webhook.answer = lambda headers, body: (200, {"toast": {"content": json.loads(body)["event"]["action"]["tag"]}})
    assert await talking.click(reply, {"tag": "button"}) == (200, {"toast": {"content": "button"}})


async def with_a_button(bot: Bot, message_id: str) -> str:
    """A reply whose card has a button; returns the message that shows it."""
    data = json.dumps(card_with(button("Again")))
    card = (await bot.ask("POST", "/cardkit/v1/cards", {"type": "card_json", "data": data}))["data"]["card_id"]
    content = json.dumps({"type": "card", "data": {"card_id": card}})
    shown = {"msg_type": "interactive", "content": content}
    return str((await bot.ask("POST", f"/im/v1/messages/{message_id}/reply", shown))["data"]["message_id"])


async def test_by_the_token_of_a_press_the_bot_changes_the_card_after_its_answer(
    talking: SandboxClient, webhook: Webhook, bot: Bot
) -> None:
    said = await talking.say("hello")
    reply = await with_a_button(bot, said.message_id)
    tokens = []

    def pressed(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        tokens.append(json.loads(body)["event"]["token"])
        return 200, {}

    webhook.answer = pressed
    await talking.click(reply, {"tag": "button", "value": {}})
    changed = {"token": tokens[0], "card": card_with({"tag": "markdown", "content": "done"})}
    assert (await bot.ask("POST", "/interactive/v1/card/update", changed))["code"] == 0
    [shown] = next(each for each in (await talking.record()).messages if each.message_id == said.message_id).replies
    assert "done" in shown.text


async def test_a_person_presses_the_button_that_the_card_has(
    talking: SandboxClient, webhook: Webhook, bot: Bot
) -> None:
    said = await talking.say("hello")
    reply = await with_a_button(bot, said.message_id)
    await webhook.count(1)
    webhook.answer = lambda headers, body: (200, {"toast": {"type": "info", "content": "Trying"}})
    with pytest.raises(SandboxError, match="there is no button 'Never' on that card; buttons: Again"):
        await talking.press(reply, "Never")
    assert (await talking.press(reply, "Again", user="ou_u2"))[0] == 200
    await webhook.count(2)
    event = json.loads(webhook.got[1][1])["event"]
    assert (event["action"]["value"], event["operator"]["open_id"]) == ({"do": "Again"}, "ou_u2")
    assert [(each.kind, each.said) for each in await talking.outcomes()] == [
        ("message", "hello"),
        ("press", "Again"),
    ]
    await bot.reply(said.message_id, "The answer")
    assert [each.state for each in await talking.outcomes()] == ["final", "final"]
    pressed = {"card": {"type": "raw", "data": card_with(text="Pressed")}}
    webhook.answer = lambda headers, body: (200, pressed)
    await talking.press(reply, "Again")
    assert (await talking.record()).messages[0].replies[0].text == "Pressed"


async def test_a_press_has_an_older_form_with_a_signature_of_its_own(
    talking: SandboxClient, webhook: Webhook, bot: Bot
) -> None:
    said = await talking.say("hello")
    reply = await with_a_button(bot, said.message_id)
    await webhook.count(1)
    await talking.press(reply, "Again", schema="1.0")
    await webhook.count(2)
    headers, body = webhook.got[1]
    stamp, nonce = headers["x-lark-request-timestamp"], headers["x-lark-request-nonce"]
    signed = f"{stamp}{nonce}{talking.address.verification_token}".encode() + body
    assert headers["x-lark-signature"] == hashlib.sha1(signed).hexdigest()
    event = json.loads(body)
    assert (event["open_message_id"], event["action"]["value"]) == (reply, {"do": "Again"})
    assert "schema" not in event


async def test_a_sandbox_that_is_gone_is_an_error_that_says_so(address: SandboxAddress) -> None:
    async with SandboxClient(replace(address, control_url="http://127.0.0.1:1/sandbox")) as client:
        with pytest.raises(SandboxError, match="is the service running"):
            await client.state()
    async with SandboxClient(replace(address, control_token="wrong")) as client:
        with pytest.raises(SandboxError, match="control token"):
            await client.state()


async def test_who_watches_a_sandbox_that_is_stopped_is_told_so(
    talking: SandboxClient, address: SandboxAddress
) -> None:
    said = await talking.say("hello")
    snapshots = talking.watch(said.message_id)
    assert not (await anext(snapshots)).final
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(_refusal(snapshots))
        os.kill(address.pid, signal.SIGTERM)
    # the second, if the request did not get there in time
    assert re.search("stopped before there was an outcome|can not be reached", waiting.result())


async def _refusal(snapshots: AsyncIterator[Snapshot]) -> str:
    with pytest.raises(SandboxError) as refused:
        await anext(snapshots)
    return str(refused.value)


async def test_a_bot_is_subscribed_by_connection_in_place_of_its_webhook(
    client: SandboxClient, webhook: Webhook
) -> None:
    webhook.answer = plain
    await client.options(encrypt=False)
    await client.subscribe(webhook.url)
    await client.subscribe_by_connection()
    state = await client.state()
    assert (state["by_connection"], state["url"]) == (True, "")
    async with connection(client.address) as socket:
        said = await client.say("hello")
        frame = frames.decode(bytes(await socket.recv(decode=False)))
        await socket.send(frames.encode(replace(frame, payload=b'{"code":200}')))
        while (await client.deliveries())[0].state != "acknowledged":
            pass
        seen = (await client.connections())[0]
        assert [each.event_id for each in seen.events] == [said.event_id]
        assert seen.open
        assert len(webhook.got) == 1  # the challenge
    await client.subscribe(webhook.url)
    assert not (await client.state())["by_connection"]


async def test_the_connections_misbehave_on_command(client: SandboxClient) -> None:
    await client.subscribe_by_connection()
    await client.refuse_endpoint(1000040343, "internal", times=1)
    async with httpx2.AsyncClient(trust_env=False) as http:
        body = {"AppID": client.address.app_id, "AppSecret": client.address.app_secret}
        answer = await http.post(f"{client.address.feishu_url}/callback/ws/endpoint", json=body)
    assert (answer.status_code, answer.json()["code"]) == (200, 1000040343)
    await client.refuse_handshakes(times=1, status=403, message="no")
    with pytest.raises(InvalidStatus):
        async with connection(client.address):
            pass
    async with connection(client.address) as socket:
        refused, seen = await client.connections()
        assert (refused.refused, seen.refused) == ("403 no", "")
        for fall_ill, illness in (
            (client.half_open, "half-open"),
            (client.quiet, "quiet"),
            (client.without_pongs, "no-pongs"),
            (client.well, "none"),
        ):
            assert await fall_ill() == 1
            assert (await client.connections())[1].illness == illness
        await client.quiet(seen.id)
        await client.clear()
        assert (await client.connections())[1].illness == "none"
        assert await client.send_bytes(b"\xff\x00") == 1
        assert await socket.recv() == b"\xff\x00"
        await client.spoil_events("text", times=2)
        await client.hold_events()
        said = await client.say("hello")
        assert await client.release_events("shuffled") == 1
        event = json.loads(await socket.recv())
        assert event["header"]["event_id"] == said.event_id
        with pytest.raises(SandboxError, match="did you mean truncated"):
            await client.spoil_events("truncate")
        with pytest.raises(SandboxError, match="times must be"):
            await client.spoil_events("text", times=0)
        with pytest.raises(SandboxError, match="not found"):
            await client.half_open("nobody")
        async with asyncio.TaskGroup() as group:
            group.create_task(client.kick(4000))
            with pytest.raises(ConnectionClosedError):
                await socket.recv()
    assert (await client.connections())[1].close_code == 4000


@asynccontextmanager
async def connection(address: SandboxAddress) -> AsyncIterator[ClientConnection]:
    """The bot's end of a long connection."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        body = {"AppID": address.app_id, "AppSecret": address.app_secret}
        answer = await http.post(f"{address.feishu_url}/callback/ws/endpoint", json=body)
    async with connect(answer.json()["data"]["URL"], proxy=None) as socket:
        yield socket
