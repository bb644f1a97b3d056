"""Events arrive signed, in order, and again until they are acknowledged."""

import asyncio
import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from starlette.types import Receive, Scope, Send
from tests.sandbox.conftest import Webhook, served
from tests.sandbox.feishu.conftest import APP, Pushing, honest, opened

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.crypto import sign
from mainstay.sandbox.feishu.tenant import GROUP

pytestmark = pytest.mark.anyio


def answering(status: int, value: object) -> Callable[[dict[str, str], bytes], tuple[int, object]]:
    return lambda headers, body: (status, value)


async def test_a_webhook_must_answer_with_the_challenge(pushing: Pushing, webhook: Webhook) -> None:
    wrong: list[tuple[int, object]] = [(200, {"challenge": "other"}), (500, {}), (200, [])]
    for status, value in wrong:
        webhook.answer = answering(status, value)
        assert await pushing.pusher.subscribe(webhook.url + "/new") != ""
    assert "can not be reached" in await pushing.pusher.subscribe("http://127.0.0.1:1/")
    assert "can not be reached" in await pushing.pusher.subscribe("nonsense")
    assert pushing.pusher.webhook.url == webhook.url


async def test_the_challenge_is_sealed_but_not_signed_and_carries_the_token(
    pushing: Pushing, webhook: Webhook
) -> None:
    await pushing.pusher.subscribe(webhook.url)
    headers, body = webhook.got[-1]
    assert opened(body)["type"] == "url_verification"
    assert opened(body)["token"] == APP.verification_token
    assert "x-lark-signature" not in headers
    pushing.tenant.options = replace(pushing.tenant.options, encrypt=False)
    assert await pushing.pusher.subscribe(webhook.url) == ""
    assert json.loads(webhook.got[-1][1])["type"] == "url_verification"


async def test_a_slow_challenge_is_a_failed_one(pushing: Pushing, webhook: Webhook) -> None:
    webhook.delay_s = 1.5
    assert "within 1 s" in await pushing.pusher.subscribe(webhook.url)


async def test_an_event_is_sealed_signed_and_complete(pushing: Pushing, webhook: Webhook) -> None:
    message_id = pushing.say("hello", GROUP)
    await pushing.state(message_id, "acknowledged")
    headers, body = webhook.got[0]
    stamp, nonce = headers["x-lark-request-timestamp"], headers["x-lark-request-nonce"]
    assert headers["x-lark-signature"] == sign(stamp, nonce, APP.encrypt_key, body)
    event = opened(body)
    assert event["schema"] == "2.0"
    assert event["header"]["event_type"] == "im.message.receive_v1"
    assert (event["header"]["token"], event["header"]["app_id"]) == (APP.verification_token, APP.app_id)
    said = event["event"]["message"]
    assert (said["message_id"], said["chat_id"], said["chat_type"]) == (message_id, GROUP, "group")
    assert json.loads(said["content"])["text"] == "@_user_1 hello"
    assert said["mentions"][0]["id"]["open_id"] == "ou_bot"
    assert "root_id" not in said


async def test_in_the_clear_there_is_no_signature(pushing: Pushing, webhook: Webhook) -> None:
    pushing.tenant.options = replace(pushing.tenant.options, encrypt=False)
    await pushing.state(pushing.say("hello"), "acknowledged")
    headers, body = webhook.got[0]
    assert "x-lark-signature" not in headers
    assert json.loads(body)["header"]["token"] == APP.verification_token


async def test_the_older_schema_says_the_same(pushing: Pushing, webhook: Webhook) -> None:
    message_id = pushing.say("hello", GROUP, events.received_v1)
    await pushing.state(message_id, "acknowledged")
    event = opened(webhook.got[0][1])
    assert (event["type"], event["token"]) == ("event_callback", APP.verification_token)
    assert event["event"]["open_message_id"] == message_id
    assert event["event"]["text_without_at_bot"] == "hello"


async def test_an_event_is_tried_five_times_over_the_documented_seven_hours(
    pushing: Pushing, webhook: Webhook
) -> None:
    webhook.answer = lambda headers, body: (500, {})
    message_id = pushing.say("hello")
    for made, delay_s in enumerate((15, 300, 3600, 21600), 1):
        await pushing.attempts(made)
        pushing.clock.advance(delay_s)
    assert await pushing.state(message_id, "given_up") == ["500"] * 5
    ages = pushing.pusher.deliveries()[0].attempts
    gaps = [later.at_s - earlier.at_s for earlier, later in itertools.pairwise(ages)]
    assert all(gap >= due for gap, due in zip(gaps, (15, 300, 3600, 21600), strict=True))


async def test_a_repeat_is_byte_for_byte_the_first_one(pushing: Pushing, webhook: Webhook) -> None:
    webhook.answer = lambda headers, body: (503, {})
    message_id = pushing.say("hello")
    await webhook.count(1)
    webhook.answer = honest
    pushing.clock.advance(15)
    assert await pushing.state(message_id, "acknowledged") == ["503", "200"]
    assert webhook.got[0] == webhook.got[1]


async def test_a_repeat_is_signed_anew_when_the_option_says_so(pushing: Pushing, webhook: Webhook) -> None:
    pushing.tenant.options = replace(pushing.tenant.options, resign_retries=True)
    webhook.answer = lambda headers, body: (503, {})
    message_id = pushing.say("hello")
    await webhook.count(1)
    webhook.answer = honest
    pushing.clock.advance(15)
    await pushing.state(message_id, "acknowledged")
    (first, one), (second, two) = webhook.got
    assert first["x-lark-request-nonce"] != second["x-lark-request-nonce"]
    assert opened(one) == opened(two)


async def test_no_answer_in_the_window_is_a_failure_and_the_late_event_comes_again(
    pushing: Pushing, webhook: Webhook
) -> None:
    webhook.delay_s = 1.0
    message_id = pushing.say("hello")
    await webhook.count(1)
    await webhook.count(2)
    webhook.delay_s = 0.0
    answers = await pushing.state(message_id, "acknowledged")
    assert answers[0] == "timeout"
    assert answers[-1] == "200"


async def test_first_attempts_of_one_chat_keep_the_order_of_saying(pushing: Pushing, webhook: Webhook) -> None:
    said = [pushing.say(f"number {number}") for number in range(30)]
    await pushing.state(said[-1], "acknowledged")
    assert [opened(body)["event"]["message"]["message_id"] for _, body in webhook.got] == said


async def test_an_event_that_failed_is_overtaken_by_those_after_it(pushing: Pushing, webhook: Webhook) -> None:
    failed = pushing.say("one")
    webhook.answer = lambda headers, body: (500 if body == webhook.got[0][1] else 200, {})
    later = [pushing.say("two"), pushing.say("three")]
    for each in later:
        assert await pushing.state(each, "acknowledged") == ["200"]
    webhook.answer = honest
    assert (await pushing.state(failed, "acknowledged"))[0] == "500"


async def test_a_chat_that_hangs_does_not_hold_up_another(pushing: Pushing, webhook: Webhook) -> None:
    free = asyncio.Event()
    inner = webhook.app

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not free.is_set():
            free.set()
            await asyncio.Event().wait()
        await inner(scope, receive, send)

    async with served(app) as origin:
        pushing.pusher.webhook.url = f"{origin}/webhook/event"
        slow = pushing.say("slow")
        await free.wait()
        quick = pushing.say("quick", GROUP)
        assert await pushing.state(quick, "acknowledged") == ["200"]
        assert (await pushing.state(slow, "acknowledged"))[0] == "timeout"


async def test_a_message_is_delivered_again_on_demand(pushing: Pushing, webhook: Webhook) -> None:
    message_id = pushing.say("hello")
    await pushing.state(message_id, "acknowledged")
    assert pushing.pusher.again(message_id) == message_id[3:]
    await webhook.count(2)
    assert webhook.got[0] == webhook.got[1]
    assert pushing.pusher.again("om_none") == ""


async def test_a_press_on_a_card_is_tried_once(pushing: Pushing, webhook: Webhook) -> None:
    webhook.answer = lambda headers, body: (200, {"toast": {"type": "info", "content": "ok"}})
    message = pushing.tenant.messages.messages[pushing.say("hello")]
    now = pushing.clock.moment()
    body = events.clicked(APP, message, {"value": {"a": 1}, "tag": "button"}, "ou_u1", "e1", now)
    assert await pushing.pusher.callback(body) == (200, {"toast": {"type": "info", "content": "ok"}})
    pushing.pusher.webhook.card_url = "http://127.0.0.1:1/"
    assert (await pushing.pusher.callback(body))[0] == 0
