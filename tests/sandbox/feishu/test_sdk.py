"""The platform's official SDK takes this for the platform."""

import asyncio
import json
import types
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import pytest
from tests.sandbox.conftest import Webhook, served
from tests.sandbox.feishu.conftest import APP, Pushing, World, entity, streaming_card

from mainstay.clock import SystemClock
from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.faults import PlatformFaults
from mainstay.sandbox.feishu.http import platform_app
from mainstay.sandbox.feishu.tenant import GROUP, P2P

pytestmark = pytest.mark.anyio


@dataclass
class Sdk:
    lark: types.ModuleType
    client: Any
    world: World
    clock: PlatformClock

    @property
    def im(self) -> types.ModuleType:
        return import_module("lark_oapi.api.im.v1")

    @property
    def cardkit(self) -> types.ModuleType:
        return import_module("lark_oapi.api.cardkit.v1")

    async def ask(self, call: Callable[[Any], Any], request: object) -> Any:  # noqa: ANN401  the SDK is untyped
        return await asyncio.to_thread(call, request)

    async def reply(self, message_id: str, msg_type: str, content: str, uuid: str = "") -> Any:  # noqa: ANN401
        body = self.im.ReplyMessageRequestBody.builder().msg_type(msg_type).content(content)
        if uuid:
            body = body.uuid(uuid)
        request = self.im.ReplyMessageRequest.builder().message_id(message_id).request_body(body.build()).build()
        return await self.ask(self.client.im.v1.message.reply, request)

    async def stream(self, card_id: str, text: str, sequence: int) -> int:
        kit = self.cardkit
        body = kit.ContentCardElementRequestBody.builder().content(text).sequence(sequence).build()
        request = kit.ContentCardElementRequest.builder().card_id(card_id).element_id("answer").request_body(body)
        answer = await self.ask(self.client.cardkit.v1.card_element.content, request.build())
        return int(answer.code)


@pytest.fixture
async def sdk(lark: types.ModuleType, world: World) -> AsyncIterator[Sdk]:
    clock = PlatformClock(SystemClock())
    async with served(platform_app(world.platform, PlatformFaults(), clock, lambda: None)) as origin:
        client = lark.Client.builder().app_id(APP.app_id).app_secret(APP.app_secret).domain(origin).build()
        lark.core.token.TokenManager.cache.set(f"self_tenant_token:{APP.app_id}", "", 0)
        yield Sdk(lark, client, world, clock)


async def test_it_gets_a_token_sends_replies_edits_and_lists(sdk: Sdk) -> None:
    said = sdk.world.tenant.say("hello", sdk.clock.moment()).message_id
    im = sdk.im
    body = im.CreateMessageRequestBody.builder().receive_id(P2P).msg_type("text").content('{"text":"news"}').build()
    request = im.CreateMessageRequest.builder().receive_id_type("chat_id").request_body(body).build()
    sent = await sdk.ask(sdk.client.im.v1.message.create, request)
    assert (sent.code, sent.data.chat_id, sent.data.sender.id) == (0, P2P, APP.app_id)

    first = await sdk.reply(said, "text", '{"text":"hi"}', uuid="u1")
    again = await sdk.reply(said, "text", '{"text":"hi"}', uuid="u1")
    assert first.code == again.code == 0
    assert first.data.message_id == again.data.message_id
    assert (first.data.root_id, first.data.parent_id) == (said, said)

    edit = im.UpdateMessageRequestBody.builder().msg_type("text").content('{"text":"hi there"}').build()
    updating = im.UpdateMessageRequest.builder().message_id(first.data.message_id).request_body(edit).build()
    assert (await sdk.ask(sdk.client.im.v1.message.update, updating)).code == 0

    listing = im.ListMessageRequest.builder().container_id_type("chat").container_id(P2P).page_size(2).build()
    page = await sdk.ask(sdk.client.im.v1.message.list, listing)
    assert (page.code, page.data.has_more, len(page.data.items)) == (0, True, 2)


async def test_it_patches_a_card_and_reads_it_back(sdk: Sdk) -> None:
    said = sdk.world.tenant.say("hello", sdk.clock.moment(), chat=GROUP, chat_type="group").message_id
    card = {"config": {"update_multi": True}, "elements": [{"tag": "markdown", "content": "one"}]}
    sent = await sdk.reply(said, "interactive", json.dumps(card))
    card["elements"] = [{"tag": "markdown", "content": "two"}]
    body = sdk.im.PatchMessageRequestBody.builder().content(json.dumps(card)).build()
    request = sdk.im.PatchMessageRequest.builder().message_id(sent.data.message_id).request_body(body).build()
    assert (await sdk.ask(sdk.client.im.v1.message.patch, request)).code == 0
    asked = sdk.im.GetMessageRequest.builder().message_id(sent.data.message_id).build()
    found = await sdk.ask(sdk.client.im.v1.message.get, asked)
    assert json.loads(found.data.items[0].body.content) == card
    assert sdk.world.tenant.record.snapshot(said, sdk.clock.moment()).text == "two"


async def test_it_streams_a_card_from_creation_to_its_end(sdk: Sdk) -> None:
    said = sdk.world.tenant.say("hello", sdk.clock.moment()).message_id
    kit, cards = sdk.cardkit, sdk.client.cardkit.v1.card
    making = kit.CreateCardRequestBody.builder().type("card_json").data(json.dumps(streaming_card())).build()
    made = await sdk.ask(cards.create, kit.CreateCardRequest.builder().request_body(making).build())
    card_id = made.data.card_id
    assert made.code == 0
    assert 0 < len(card_id) <= 20

    assert (await sdk.reply(said, "interactive", entity(card_id))).code == 0
    assert (await sdk.reply(said, "interactive", entity(card_id))).code == 230099
    assert await sdk.stream(card_id, "An", 1) == 0
    assert await sdk.stream(card_id, "An answer", 2) == 0
    assert await sdk.stream(card_id, "An answer", 2) == 300317

    closing = kit.SettingsCardRequestBody.builder().settings('{"config":{"streaming_mode":false}}').sequence(3)
    request = kit.SettingsCardRequest.builder().card_id(card_id).request_body(closing.build()).build()
    assert (await sdk.ask(cards.settings, request)).code == 0
    assert await sdk.stream(card_id, "more", 4) == 300309

    last = kit.Card.builder().type("card_json").data(json.dumps(streaming_card("The end", streaming=False))).build()
    replacing = kit.UpdateCardRequestBody.builder().card(last).sequence(5).build()
    request = kit.UpdateCardRequest.builder().card_id(card_id).request_body(replacing).build()
    assert (await sdk.ask(cards.update, request)).code == 0
    verdict = sdk.world.tenant.record.verdicts(said, sdk.clock.moment())[0]
    assert (verdict.outcomes, verdict.texts) == (1, ("The end",))


async def test_it_changes_parts_of_a_card(sdk: Sdk) -> None:
    kit, v1 = sdk.cardkit, sdk.client.cardkit.v1
    card_id = sdk.world.card(streaming_card("The answer", streaming=False))
    note = json.dumps([{"tag": "markdown", "element_id": "note", "content": "a note"}])
    adding = kit.CreateCardElementRequestBody.builder().type("append").elements(note).sequence(1).build()
    request = kit.CreateCardElementRequest.builder().card_id(card_id).request_body(adding).build()
    assert (await sdk.ask(v1.card_element.create, request)).code == 0
    patching = kit.PatchCardElementRequestBody.builder().partial_element('{"content":"more"}').sequence(2).build()
    to_note = kit.PatchCardElementRequest.builder().card_id(card_id).element_id("note")
    assert (await sdk.ask(v1.card_element.patch, to_note.request_body(patching).build())).code == 0
    actions = json.dumps([{"action": "delete_elements", "params": {"element_ids": ["status"]}}])
    batching = kit.BatchUpdateCardRequestBody.builder().actions(actions).sequence(3).build()
    request = kit.BatchUpdateCardRequest.builder().card_id(card_id).request_body(batching).build()
    assert (await sdk.ask(v1.card.batch_update, request)).code == 0
    elements = sdk.world.tenant.cards.cards[card_id].content["body"]["elements"]
    assert [(each["element_id"], each["content"]) for each in elements] == [
        ("answer", "The answer"),
        ("note", "more"),
    ]


async def test_it_sees_codes_log_ids_and_the_seconds_to_wait(sdk: Sdk) -> None:
    missing = await sdk.reply("om_none", "text", '{"text":"x"}')
    assert missing.code == 99992354
    assert missing.raw.headers["x-tt-logid"] == missing.error["log_id"]
    sdk.world.tenant.options = replace(sdk.world.tenant.options, api_per_min=1)
    refused = await sdk.reply("om_none", "text", '{"text":"x"}')
    assert (refused.code, refused.raw.status_code) == (99991400, 429)
    assert 0 < int(refused.raw.headers["x-ogw-ratelimit-reset"]) <= 60


async def test_it_reacts_and_takes_it_back(sdk: Sdk) -> None:
    said = sdk.world.tenant.say("hello", sdk.clock.moment()).message_id
    im = sdk.im
    emoji = im.Emoji.builder().emoji_type("OnIt").build()
    body = im.CreateMessageReactionRequestBody.builder().reaction_type(emoji).build()
    request = im.CreateMessageReactionRequest.builder().message_id(said).request_body(body).build()
    made = await sdk.ask(sdk.client.im.v1.message_reaction.create, request)
    assert made.code == 0
    request = im.DeleteMessageReactionRequest.builder().message_id(said).reaction_id(made.data.reaction_id).build()
    assert (await sdk.ask(sdk.client.im.v1.message_reaction.delete, request)).code == 0


def dispatched(lark: types.ModuleType, headers: dict[str, str], body: bytes, seen: list[Any]) -> Any:  # noqa: ANN401
    """What the SDK's own webhook makes of the request; it looks headers up by their documented case."""
    builder = lark.EventDispatcherHandler.builder(APP.encrypt_key, APP.verification_token)
    handler = builder.register_p2_im_message_receive_v1(seen.append).build()
    request = lark.core.model.RawRequest()
    request.uri, request.body = "/webhook/event", body
    request.headers = {"-".join(part.title() for part in name.split("-")): value for name, value in headers.items()}
    return handler.do(request)


async def test_its_dispatcher_takes_our_seal_and_signature(
    lark: types.ModuleType, pushing: Pushing, webhook: Webhook
) -> None:
    message_id = pushing.say("你好 hello", GROUP)
    await pushing.state(message_id, "acknowledged")
    headers, body = webhook.got[0]
    seen: list[Any] = []
    assert dispatched(lark, headers, body, seen).status_code == 200
    message = seen[0].event.message
    assert (message.message_id, message.chat_type) == (message_id, "group")
    assert json.loads(message.content)["text"] == "@_user_1 你好 hello"
    assert message.mentions[0].id.open_id == "ou_bot"
    assert seen[0].event.sender.sender_id.open_id == "ou_u1"


async def test_its_dispatcher_refuses_what_was_changed_on_the_way(
    lark: types.ModuleType, pushing: Pushing, webhook: Webhook
) -> None:
    await pushing.state(pushing.say("hello"), "acknowledged")
    headers, body = webhook.got[0]
    seen: list[Any] = []
    forged = {**headers, "x-lark-signature": "0" * 64}
    assert dispatched(lark, forged, body, seen).status_code == 500
    assert seen == []


async def test_its_dispatcher_answers_our_challenge(
    lark: types.ModuleType, pushing: Pushing, webhook: Webhook
) -> None:
    def answer(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        given = dispatched(lark, headers, body, [])
        return given.status_code, json.loads(given.content)

    webhook.answer = answer
    assert await pushing.pusher.subscribe(webhook.url) == ""


async def test_its_older_card_handler_takes_our_older_press(
    lark: types.ModuleType, pushing: Pushing, webhook: Webhook
) -> None:
    pressed: list[Any] = []

    def answer(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        builder = lark.CardActionHandler.builder(APP.encrypt_key, APP.verification_token)
        request = lark.core.model.RawRequest()
        request.uri, request.body = "/webhook/card", body
        request.headers = {"-".join(p.title() for p in name.split("-")): value for name, value in headers.items()}
        given = builder.register(pressed.append).build().do(request)
        return given.status_code, json.loads(given.content)

    message = pushing.tenant.messages.messages[pushing.say("hello")]
    await pushing.state(message.message_id, "acknowledged")
    webhook.answer = answer
    action = {"value": {"a": "1"}, "tag": "button"}
    body = events.clicked_v1(APP, message, dict(action), "ou_u1", "e1")
    assert await pushing.pusher.callback(body) == (200, {"msg": "success"})
    assert (pressed[0].open_message_id, pressed[0].action.value) == (message.message_id, {"a": "1"})


async def test_its_card_callback_takes_our_press(
    lark: types.ModuleType, pushing: Pushing, webhook: Webhook
) -> None:
    from lark_oapi.event.callback.model.p2_card_action_trigger import P2CardActionTriggerResponse

    pressed: list[Any] = []

    def act(data: object) -> P2CardActionTriggerResponse:
        pressed.append(data)
        return P2CardActionTriggerResponse({"toast": {"content": "ok"}})

    def answer(headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        builder = lark.EventDispatcherHandler.builder(APP.encrypt_key, APP.verification_token)
        handler = builder.register_p2_card_action_trigger(act).build()
        request = lark.core.model.RawRequest()
        request.uri, request.body = "/webhook/card", body
        request.headers = {"-".join(p.title() for p in name.split("-")): value for name, value in headers.items()}
        given = handler.do(request)
        return given.status_code, json.loads(given.content)

    message = pushing.tenant.messages.messages[pushing.say("hello")]
    await pushing.state(message.message_id, "acknowledged")
    webhook.answer = answer
    action = {"value": {"a": "1"}, "tag": "button"}
    body = events.clicked(APP, message, dict(action), "ou_u1", "e1", pushing.clock.moment())
    status, given = await pushing.pusher.callback(body)
    assert (status, given) == (200, {"toast": {"content": "ok"}})
    assert pressed[0].event.action.value == {"a": "1"}
    assert pressed[0].event.context.open_message_id == message.message_id
