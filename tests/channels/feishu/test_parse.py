"""Who is answered, in which conversation, and what was said: over events as the platform sends them."""

import copy
import json
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.channels.feishu.envelope import MalformedEvent, open_envelope
from mainstay.channels.feishu.model import Bot
from mainstay.channels.feishu.parse import Ignored, parse_legacy, parse_message
from mainstay.messages import Message

BOT = Bot(open_id="ou_bot", name="Mainstay")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def mention(key, open_id, name):
    return {"key": key, "id": {"open_id": open_id, "union_id": "on_x", "user_id": ""}, "name": name}


TO_BOT = mention("@_user_1", "ou_bot", "Mainstay")
TO_TOM = mention("@_user_2", "ou_tom", "Tom")


def event(text="hello", *, content=None, kind="text", sender_type="user", sender="ou_ann", **message):
    said = {
        "message_id": "om_1",
        "create_time": "1609073151345",
        "chat_id": "oc_1",
        "chat_type": "p2p",
        "message_type": kind,
        "content": json.dumps({"text": text} if content is None else content),
    }
    return {
        "sender": {"sender_id": {"open_id": sender, "union_id": "on_ann"}, "sender_type": sender_type},
        "message": said | message,
    }


def parse(data, *, bot=BOT, answer_all=False):
    return parse_message(data, channel="feishu", app_id="cli_1", bot=bot, answer_all=answer_all, now=NOW)


def group(text="hello", **more):
    return event(text, **{"chat_type": "group"} | more)


def test_a_private_message_is_read():
    assert parse(event("hello")) == Message(
        channel="feishu",
        bot_id="cli_1",
        external_id="om_1",
        chat_id="oc_1",
        sender_id="ou_ann",
        text="hello",
        sent_at=datetime.fromtimestamp(1609073151.345, UTC),
        thread_id="main",
        chat_type="p2p",
        reply_in_thread=False,
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (group("@_user_1 hello", mentions=[TO_BOT]), "hello"),
        (group("hello @_user_1", mentions=[TO_BOT]), "hello"),
        (group("@_user_1 ask @_user_2 too", mentions=[TO_BOT, TO_TOM]), "ask @Tom too"),
        (group("@_user_1", mentions=[TO_BOT]), "[no text]"),
        (
            group("@_user_1 @_user_11 @_user_12", mentions=[TO_BOT, mention("@_user_11", "ou_x", "Xu")]),
            "@Xu @_user_12",
        ),
        (event("@_user_2 hi", mentions=[TO_TOM]), "@Tom hi"),
        (event("email me@_user.com"), "email me@_user.com"),
    ],
)
def test_mentions_of_the_bot_vanish_and_others_become_names(data, text):
    parsed = parse(data)
    assert isinstance(parsed, Message)
    assert (parsed.text, parsed.sender_id) == (text, "ou_ann")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (group(), "not_mentioned"),
        (group("@_user_2 hi", mentions=[TO_TOM]), "not_mentioned"),
        (group("@_all hi", mentions=[mention("@_all", "", "Everyone")]), "not_mentioned"),
        (group("Mainstay, hi"), "not_mentioned"),
        (group("@_user_1", mentions=[mention("@_user_1", "cli_1", "Mainstay")]), "not_mentioned"),
        (group("in a thread of others", root_id="om_0", thread_id="omt_0", parent_id="om_0"), "not_mentioned"),
        (event(sender_type="app"), "from_an_app"),
        (event(sender="ou_bot"), "from_an_app"),
        (group("@_user_1", mentions=[TO_BOT], sender_type="app"), "from_an_app"),
    ],
)
def test_who_does_not_speak_to_the_bot_is_not_answered(data, reason):
    parsed = parse(data)
    assert parsed == Ignored(reason)
    assert not parsed.later


def test_everybody_means_the_bot_only_where_that_is_switched_on():
    data = group("@_all lunch?", mentions=[mention("@_all", "", "Everyone")])
    parsed = parse(data, answer_all=True)
    assert isinstance(parsed, Message)
    assert parsed.text == "@all lunch?"
    assert parse(group(), answer_all=True) == Ignored("not_mentioned")


def test_before_the_bot_knows_itself_a_mention_is_asked_for_again_and_nothing_else_is():
    parsed = parse(group("@_user_2", mentions=[TO_TOM]), bot=None)
    assert parsed == Ignored("bot_unknown")
    assert parsed.later
    assert parse(group(), bot=None) == Ignored("not_mentioned")
    assert isinstance(parse(event(), bot=None), Message)


def test_the_root_of_a_thread_and_its_replies_share_a_lane():
    root = parse(group("@_user_1", mentions=[TO_BOT]))
    reply = parse(
        group("@_user_1", mentions=[TO_BOT], message_id="om_2", root_id="om_1", parent_id="om_9", thread_id="omt_1")
    )
    quote = parse(group("@_user_1", mentions=[TO_BOT], message_id="om_3", root_id="om_1", parent_id="om_1"))
    other = parse(group("@_user_1", mentions=[TO_BOT], message_id="om_4"))
    assert root.lane == reply.lane == quote.lane != other.lane
    assert root.reply_in_thread
    assert reply.reply_in_thread


def test_a_private_chat_is_one_conversation_but_for_its_threads():
    plain = parse(event())
    quoting = parse(event(message_id="om_2", root_id="om_1", parent_id="om_1"))
    threaded = parse(event(message_id="om_3", root_id="om_1", thread_id="omt_1"))
    assert plain.thread_id == quoting.thread_id == "main"
    assert (threaded.thread_id, threaded.reply_in_thread) == ("om_1", True)
    assert not quoting.reply_in_thread


POST = {
    "title": "Report",
    "content": [
        [
            {"tag": "at", "user_id": "@_user_1", "user_name": "Mainstay"},
            {"tag": "text", "text": " see ", "style": ["bold"]},
            {"tag": "a", "text": "the site", "href": "https://example.com"},
            {"tag": "at", "user_id": "@_user_2", "user_name": "Tom"},
        ],
        [{"tag": "img", "image_key": "img_1"}, {"tag": "emotion", "emoji_type": "SMILE"}],
        [{"tag": "code_block", "language": "PYTHON", "text": "print(1)\n"}],
        [{"tag": "md", "text": "**bold** @_user_2"}, {"tag": "hr"}],
    ],
}


@pytest.mark.parametrize("content", [POST, {"zh_cn": POST}])
def test_rich_text_is_read_as_markdown(content):
    parsed = parse(group(kind="post", content=content, mentions=[TO_BOT, TO_TOM]))
    assert parsed.text == (
        "Report\n see [the site](https://example.com)@Tom\n[img][SMILE]\n"
        "\n```python\nprint(1)\n```\n**bold** @Tom\n---"
    )


def test_everybody_can_be_mentioned_in_rich_text():
    content = {"content": [[{"tag": "at", "user_id": "all"}, {"tag": "text", "text": " hi"}]]}
    assert parse(group(kind="post", content=content), answer_all=True).text == "@all hi"


@pytest.mark.parametrize(
    ("kind", "content", "text"),
    [
        ("image", {"image_key": "img_1"}, "[image]"),
        ("file", {"file_key": "f", "file_name": "plan.pdf"}, "[file: plan.pdf]"),
        ("audio", {"file_key": "f", "duration": 2000}, "[audio]"),
        ("interactive", {"title": "x"}, "[interactive]"),
        ("something_new", [], "[something_new]"),
        ("text", {"text": "   "}, "[no text]"),
    ],
)
def test_what_can_not_be_read_is_named_so_that_it_is_answered(kind, content, text):
    assert parse(event(kind=kind, content=content)).text == text


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("message.message_id", None),
        ("message.message_id", 7),
        ("message.chat_id", ""),
        ("message.content", "{"),
        ("sender.sender_id", {}),
        ("message", None),
    ],
)
def test_an_event_without_what_every_event_has_is_malformed(path, value):
    data = event()
    node, _, key = path.rpartition(".")
    (data[node] if node else data)[key] = value
    with pytest.raises(MalformedEvent):
        parse(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_no_shape_of_event_breaks_the_reader(data):
    known = group(kind="post", content=POST, mentions=[TO_BOT, TO_TOM], root_id="om_0", thread_id="omt_0")
    shape = copy.deepcopy(known)
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from([shape, shape.get("message"), shape.get("sender")]))
        if isinstance(node, dict) and node:
            node[data.draw(st.sampled_from(sorted(node)))] = data.draw(json_values)
    if data.draw(st.booleans()) and isinstance(shape.get("message"), dict):
        shape["message"]["content"] = json.dumps(data.draw(json_values))
    with suppress(MalformedEvent):
        assert isinstance(parse(shape), Message | Ignored)


LEGACY = {
    "type": "message",
    "app_id": "cli_1",
    "open_chat_id": "oc_1",
    "chat_type": "group",
    "msg_type": "text",
    "open_id": "ou_ann",
    "open_message_id": "om_1",
    "is_mention": True,
    "text": '<at open_id="ou_bot">@Mainstay</at> ask <at open_id="ou_tom">@Tom</at>',
    "text_without_at_bot": ' ask <at open_id="ou_tom">@Tom</at>',
}


def test_schema_1_messages_are_answered_by_the_same_rules():
    read = {"channel": "feishu", "app_id": "cli_1", "answer_all": False, "sent_at": NOW}
    parsed = parse_legacy(LEGACY, **read)
    assert (parsed.text, parsed.thread_id, parsed.chat_type) == ("ask @Tom", "om_1", "group")
    assert parse_legacy(LEGACY | {"is_mention": False}, **read) == Ignored("not_mentioned")
    private = parse_legacy(LEGACY | {"is_mention": False, "chat_type": "private"}, **read)
    assert (private.thread_id, private.reply_in_thread) == ("main", False)
    with pytest.raises(MalformedEvent):
        parse_legacy(LEGACY | {"open_id": ""}, **read)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1608725989.5", 1608725989.5), ("1608725989000", 1608725989.0), ("1608725989000000", 1608725989.0)],
)
def test_times_are_read_in_the_three_units_that_the_platform_writes(written, seconds):
    data = {"schema": "2.0", "header": {"event_type": "x", "create_time": written}, "event": {}}
    assert open_envelope(data).created_s == seconds


@pytest.mark.parametrize("written", ["", "soon", "nan", "-1", "1e300", None, 5])
def test_a_time_that_is_none_is_none(written):
    data = {"schema": "2.0", "header": {"event_type": "x", "create_time": written}, "event": {}}
    assert open_envelope(data).created_s is None
