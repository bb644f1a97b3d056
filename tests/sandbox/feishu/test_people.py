"""What people do, as the platform writes it down, and as its official SDK reads it."""

import json
import types
from collections.abc import Callable
from typing import Any

import pytest
from tests.sandbox.feishu.conftest import APP, World

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.model import Refusal
from mainstay.sandbox.feishu.tenant import USER


def received(world: World, message_id: str) -> dict[str, Any]:
    message = world.tenant.messages.messages[message_id]
    chat = world.tenant.messages.chats[message.chat_id]
    event: Any = events.received(APP, chat, message, "e1", world.now)["event"]
    return event["message"]


def test_who_is_mentioned_has_a_place_in_the_text_and_everybody_is_not_listed(world: World) -> None:
    said = world.tenant.say("hi", world.now, chat_type="group", mentions=["ou_tom", "all"])
    message = received(world, said.message_id)
    assert json.loads(message["content"]) == {"text": "@_user_1 @_user_2 @_all hi"}
    assert [(each["key"], each["id"]["open_id"], each["name"]) for each in message["mentions"]] == [
        ("@_user_1", "ou_bot", "sandbox"),
        ("@_user_2", "ou_tom", "Tom"),
    ]
    alone = world.tenant.say("hi", world.now, chat_type="group", mention=False)
    assert "mentions" not in received(world, alone.message_id)


def test_a_message_of_another_type_is_written_as_the_platform_writes_it(world: World) -> None:
    said = world.tenant.say("", world.now, msg_type="image", content={"image_key": "img_1"})
    message = received(world, said.message_id)
    assert (message["message_type"], json.loads(message["content"])) == ("image", {"image_key": "img_1"})


def test_in_a_topic_group_a_message_is_the_beginning_of_a_topic_and_a_reply_is_in_it(world: World) -> None:
    root = world.tenant.say("a topic", world.now, chat_type="group", topic=True)
    reply = world.tenant.say("more", world.now, reply_to=root.message_id, topic=True)
    assert root.thread_id.startswith("omt_")
    assert (reply.thread_id, reply.root_id) == (root.thread_id, root.message_id)
    assert "root_id" not in received(world, root.message_id)


def test_an_edit_changes_what_the_platform_says_of_a_message_and_tells_only_which_one(world: World) -> None:
    said = world.tenant.say("hello", world.now, chat_type="group")
    changed = world.tenant.edit(said.message_id, "good bye", world.now)
    [item] = world.call("GET", f"/im/v1/messages/{said.message_id}").body["data"]["items"]
    assert (item["body"]["content"], item["updated"]) == (json.dumps({"text": "@_user_1 good bye"}), True)
    event: Any = events.edited(APP, changed, "e2", world.now)["event"]
    assert event == {"message": {"message_id": said.message_id, "chat_id": said.chat_id}}
    world.tenant.recall(said.message_id, world.now)
    with pytest.raises(Refusal):
        world.tenant.edit(said.message_id, "too late", world.now)


def test_forwarded_messages_are_listed_with_the_one_that_holds_them(world: World) -> None:
    inside = [world.said("one"), world.said("two")]
    outer = world.tenant.say("", world.now, forwards=inside)
    items = world.call("GET", f"/im/v1/messages/{outer.message_id}").body["data"]["items"]
    assert [each["message_id"] for each in items] == [outer.message_id, *inside]
    assert [each.get("upper_message_id") for each in items] == [None, outer.message_id, outer.message_id]


def test_the_bot_shows_each_reaction_once(world: World) -> None:
    said, body = world.said(), {"reaction_type": {"emoji_type": "OnIt"}}
    first, second = (world.call("POST", f"/im/v1/messages/{said}/reactions", body).body["data"] for _ in range(2))
    assert first == second
    assert world.tenant.record.snapshot(said, world.now).reactions == ("OnIt",)


@pytest.mark.parametrize(
    ("write", "register", "read"),
    [
        (
            lambda world: events.entered(APP, world.tenant.enter(USER), USER, "e3", world.now),
            "register_p2_im_chat_access_event_bot_p2p_chat_entered_v1",
            lambda event: (event.chat_id[:3], event.operator_id.open_id),
        ),
        (
            lambda world: events.added(APP, world.tenant.add_bot(""), USER, "e3", world.now),
            "register_p2_im_chat_member_bot_added_v1",
            lambda event: (event.chat_id[:3], event.operator_id.open_id),
        ),
    ],
    ids=["entered", "added"],
)
def test_the_official_sdk_reads_who_came_in(
    lark: types.ModuleType,
    world: World,
    write: Callable[[World], dict[str, Any]],
    register: str,
    read: Callable[[Any], tuple[str, str]],
) -> None:
    seen: list[Any] = []
    builder = getattr(lark.EventDispatcherHandler.builder("", APP.verification_token), register)(seen.append)
    request = lark.core.model.RawRequest()
    request.uri, request.headers, request.body = "/", {}, json.dumps(write(world)).encode()
    assert builder.build().do(request).status_code == 200
    assert read(seen[0].event) == ("oc_", USER)


def test_messages_that_are_answered_together_have_their_outcome_where_they_are_named(world: World) -> None:
    def verdicts() -> list[int]:
        return [world.tenant.record.verdicts(each, world.now)[0].outcomes for each in said]

    said = [world.said(text) for text in ("one", "two", "a long third one", "four")]
    first = world.reply(said[0], "You wrote: “one”, and will you write “two”?")
    assert verdicts() == [1, 0, 0, 0], "an answer may quote anything"
    world.tenant.messages.delete(first.body["data"]["message_id"], world.now)
    world.reply(said[0], "Four of them.\n\nThis also answers: “two” “a long…” “fou”")
    assert verdicts() == [1, 1, 1, 0]
    other = world.tenant.say("two", world.now, sender="ou_else").message_id
    assert world.tenant.record.verdicts(other, world.now)[0].outcomes == 0
    world.reply(said[1], "two")
    assert verdicts() == [1, 1, 1, 0]
    world.tenant.edit(said[2], "something else", world.now)
    assert verdicts() == [1, 1, 1, 0], "it may be named as it was before it was edited"
    first = world.said("five")
    world.reply(world.said("six"), "The later one came first.\n\nThis also answers: “five”")
    assert world.tenant.record.verdicts(first, world.now)[0].outcomes == 1
