"""A word that stops an answer: whose, which, and what becomes of either."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.channels.feishu.conftest import eventually
from tests.channels.feishu.house import Home, at_home
from tests.channels.feishu.test_parse import event
from tests.channels.feishu.test_people import Held, a_group, nobody

from mainstay.bus import Bus
from mainstay.channels.feishu.envelope import Envelope
from mainstay.channels.feishu.intake import Again, Intake, Taken
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.stopping import asks_to_stop, stopped_by
from mainstay.errors import StorageUnavailable
from mainstay.inbox.model import InboxSettings
from mainstay.messages import Message
from mainstay.sandbox.model import SandboxAddress
from mainstay.testing.clock import ManualClock
from mainstay.testing.inbox import InboxInMemory, Rows

pytestmark = pytest.mark.anyio

SAID_AT = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = FeishuSettings().stop_words


@pytest.fixture
async def home(tmp_path: Path, sandbox_process: SandboxAddress, served):
    async with at_home(tmp_path, {"feishu": sandbox_process}, served) as home:
        yield home


def said(number: int, text: str = "stop", **how: object) -> Message:
    known = {
        "channel": "feishu",
        "bot_id": "cli_1",
        "external_id": f"om_{number}",
        "chat_id": "oc_1",
        "sender_id": "ou_1",
        "text": text,
        "sent_at": SAID_AT + timedelta(seconds=number),
    }
    return Message(**known | how)


@pytest.mark.parametrize("text", ["stop", "Stop!", "STOP …", "停", "停止。", "取消！", "cancel"])
async def test_a_word_alone_asks_to_stop(text):
    assert asks_to_stop(said(1, text), WORDS)


@pytest.mark.parametrize(
    "message",
    [
        said(1, "stop it"),
        said(1, "don't stop"),
        said(1, ""),
        said(1, "..."),
        said(1, "停车"),
        said(1, notice="I can not read images."),
        said(1, context="[What is marked [image] can not be shown to you.]"),
        said(1, kind="callback", external_id="ask:1:0"),
    ],
)
async def test_nothing_else_asks_to_stop(message):
    assert not asks_to_stop(message, WORDS)


STOPPED = [
    ("what was asked before", {}, True),
    ("what somebody else asked", {"sender_id": "ou_2"}, False),
    ("what was asked later", {"sent_at": SAID_AT + timedelta(hours=1)}, False),
    ("what was asked in another conversation", {"thread_id": "om_0"}, False),
    ("a question that was suggested", {"kind": "callback", "sent_at": SAID_AT + timedelta(hours=1)}, True),
    ("what is told without an agent", {"notice": "I can not read images."}, False),
    ("a welcome", {"kind": "event", "notice": "Hello."}, False),
]


@pytest.mark.parametrize(("how", "is_stopped"), [each[1:] for each in STOPPED], ids=[each[0] for each in STOPPED])
async def test_what_is_stopped(how, is_stopped):
    asked = said(1, "a question", **how)
    assert stopped_by(said(9), [asked, said(9)]) == ([asked] if is_stopped else [])


async def test_said_in_a_group_outside_of_threads_it_means_all_that_the_person_asked_there():
    in_thread, elsewhere = said(1, thread_id="om_1"), said(2, thread_id="om_2", chat_id="oc_2")
    assert stopped_by(said(9, thread_id="om_9"), [in_thread, elsewhere]) == [in_thread]
    assert stopped_by(said(9, thread_id="om_3"), [in_thread, elsewhere]) == []


async def until_rows(home: Home, count: int, statement: str) -> None:
    async def there() -> bool:
        return len(await home.rows(statement)) == count

    await eventually(there)


@pytest.mark.parametrize(
    ("word", "told"), [("stop", "Stopped."), ("Stop!", "Stopped."), ("停。", "已停止。"), ("取消", "已停止。")]
)
async def test_a_word_stops_what_the_same_person_asked_before_and_has_an_outcome_of_its_own(home, word, told):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    first = await home.platform.say("one", sender=sender)
    await held.begun.wait()
    waiting = await home.platform.say("two", sender=sender)
    word_said = await home.platform.say(word, sender=sender)
    after = await home.platform.say("three", sender=sender)
    [stopped] = (await home.snapshot(first.message_id)).replies
    [never_begun] = (await home.snapshot(waiting.message_id)).replies
    [reply] = (await home.snapshot(word_said.message_id)).replies
    held.released.set()
    await home.snapshot(after.message_id)
    assert (stopped.text, never_begun.text) == ("well\nStopped, as you asked.", "Stopped, as you asked.")
    assert (reply.kind, reply.text) == ("text", told)
    assert [message.text for message in worker.asked] == ["one", "three"]
    said = [first, waiting, word_said, after]
    assert [(await home.verdict(each.message_id)).outcomes for each in said] == [1] * 4
    assert await home.rows("select user_text from memory_exchanges order by seq") == [(word,), ("three",)]
    await home.platform.deliver_again(word_said.message_id, new_event_id=True)
    assert (await home.verdict(word_said.message_id)).outcomes == 1


async def test_of_a_flood_that_is_stopped_each_message_has_an_outcome_or_is_named_in_one(home):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    said = [await home.platform.say(f"question {number}", sender=sender) for number in range(9)]
    await until_rows(home, 9, "select seq from inbox where lane like '%main'")
    await home.platform.recall(said[7].message_id)
    await until_rows(home, 1, "select turn_id from turn_recalls")
    word = await home.platform.say("stop", sender=sender)
    for each in (*said[:7], said[8], word):
        await home.snapshot(each.message_id)
    held.released.set()
    assert [message.text for message in worker.asked] == ["question 0"]
    outcomes = [(await home.verdict(each.message_id)).outcomes for each in (*said, word)]
    assert outcomes == [1, 1, 1, 1, 1, 1, 1, 0, 1, 1]
    [together] = (await home.snapshot(said[5].message_id)).replies
    assert together.text == "Stopped, as you asked.\nAlso stopped: “question 6” “question 8”"


async def test_where_nothing_of_theirs_is_to_be_stopped_the_word_is_a_question_like_others(home):
    held, group = Held(), a_group()
    worker = await home.worker(held)
    asked = await home.platform.say("one", sender=nobody(), chat=group, chat_type="group")
    await held.begun.wait()
    other = await home.platform.say("stop", sender=nobody(), thread=asked.message_id)
    alone = await home.platform.say("stop", sender=nobody())
    longer = await home.platform.say("stop that", sender=asked.sender_id, thread=asked.message_id)
    held.released.set()
    for each in (asked, other, alone, longer):
        await home.snapshot(each.message_id)
    assert sorted(message.text for message in worker.asked) == ["one", "stop", "stop", "stop that"]


@pytest.mark.parametrize("where", ["in the thread, to nobody", "in the group, to the bot"])
async def test_in_a_group_it_is_enough_to_say_stop_in_the_thread_or_to_the_bot(home, where):
    held, group, sender = Held(), a_group(), nobody()
    worker = await home.worker(held)
    others = await home.platform.say("zero", sender=nobody(), chat=group, chat_type="group")
    asked = await home.platform.say("one", sender=sender, chat=group, chat_type="group")
    await until_rows(home, 2, "select seq from inbox where state = 'running'")
    if where.startswith("in the thread"):
        stop = await home.platform.say("stop", sender=sender, thread=asked.message_id, mention=False)
    else:
        stop = await home.platform.say("stop", sender=sender, chat=group, chat_type="group")
    [stopped] = (await home.snapshot(asked.message_id)).replies
    [reply] = (await home.snapshot(stop.message_id)).replies
    held.released.set()
    await home.snapshot(others.message_id)
    assert (stopped.text, reply.text) == ("well\nStopped, as you asked.", "Stopped.")
    assert reply.in_thread
    assert {message.text for message in worker.asked} <= {"zero", "one"}


async def test_a_stop_that_was_accepted_and_then_could_not_stop_is_told_again_and_stops():
    box = InboxInMemory(Rows(), InboxSettings(), clock=ManualClock(), worker="w")
    failures, recalled = [StorageUnavailable("the disk is full")], []

    async def stop(messages: Sequence[Message]) -> None:
        if failures:
            raise failures.pop()
        recalled.extend(message.turn_id for message in messages)

    async def nothing(_: str) -> None:
        return None

    intake = Intake(
        "feishu",
        FeishuSettings(app_id="cli_1"),
        bus=Bus(),
        clock=ManualClock(),
        accept=box.put,
        recalled=nothing,
        edited=nothing,
        answered_before=nothing,
        pressed=nothing,
        answered=nothing,
        bot=lambda: Bot(open_id="ou_bot", name="Mainstay"),
        unanswered=box.unanswered,
        stop=stop,
    )

    async def take(message_id: str, text: str) -> object:
        said = event(text, message_id=message_id)
        envelope = Envelope(type="im.message.receive_v1", token="", event=said)
        return await intake.take(envelope, asyncio.get_running_loop().time() + 5)

    await take("om_1", "a question")
    assert isinstance(await take("om_2", "stop"), Again)
    assert isinstance(await take("om_2", "stop"), Taken)
    first, second = await box.unanswered("feishu:cli_1:oc_1")
    assert recalled == [first.turn_id]
    assert (first.notice, second.notice) == ("", "Stopped.")


async def test_no_word_stops_anything_where_none_is_set(tmp_path, sandbox_process, served):
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, stop_words=()) as home:
        held, sender = Held(), nobody()
        worker = await home.worker(held)
        await home.platform.say("one", sender=sender)
        await held.begun.wait()
        stop = await home.platform.say("stop", sender=sender)
        held.released.set()
        await home.snapshot(stop.message_id)
        assert [message.text for message in worker.asked] == ["one", "stop"]
