"""What people do besides asking: they quote, edit, take back, send images, come in, and say too much at once."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.channels.feishu.conftest import eventually
from tests.channels.feishu.house import Home, at_home

from mainstay.events import MessageRefused, TurnFinished
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, TextAppended, Turn
from mainstay.sandbox.model import SandboxAddress

pytestmark = pytest.mark.anyio


def nobody() -> str:
    return f"ou_{uuid4().hex}"


def a_group() -> str:
    return f"oc_{uuid4().hex}"


@pytest.fixture
async def home(tmp_path: Path, sandbox_process: SandboxAddress, served) -> AsyncIterator[Home]:
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, welcome="Hello, I am here.") as home:
        yield home


class Held:
    """A script that answers when it is told to."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        self.begun.set()
        yield TextAppended("well")
        await self.released.wait()
        yield Finished(outcome=Outcome.ANSWERED, text=f"re: {message.text}", agent="manager")


async def test_an_image_alone_is_answered_kindly_in_one_call_and_without_an_agent(home):
    worker = await home.worker()
    before = len(await home.platform.calls())
    said = await home.platform.say("", sender=nobody(), msg_type="image", content={"image_key": "img_1"})
    snapshot = await home.snapshot(said.message_id)
    [reply] = snapshot.replies
    assert (reply.kind, worker.asked) == ("text", [])
    assert "图片" in reply.text
    assert "images" in reply.text
    calls = (await home.platform.calls())[before:]
    assert [call["path"].rpartition("/")[2] for call in calls] == ["reply"]
    await home.platform.deliver_again(said.message_id, new_event_id=True)
    assert (await home.verdict(said.message_id)).outcomes == 1


async def test_what_was_told_without_an_agent_counts_for_none_and_is_known_to_the_next(home):
    worker, sender = await home.worker(), nobody()
    said = await home.platform.say("", sender=sender, msg_type="file", content={"file_name": "plan.pdf"})
    await home.snapshot(said.message_id)
    histories = []

    async def look(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        histories.append([(each.user_text, each.answer_text) for each in turn.history])
        yield Finished(outcome=Outcome.ANSWERED, text="yes", agent="manager")

    assert [event.agent for event in worker.events if isinstance(event, TurnFinished)] == [""]
    await worker.kill()
    await home.worker(look)
    said = await home.platform.say("did you get it?", sender=sender)
    await home.snapshot(said.message_id)
    [[(asked, told)]] = histories
    assert asked == "[file: plan.pdf]"
    assert "files" in told


async def test_killed_before_a_kind_word_was_said_the_next_worker_says_it_once(home):
    worker = await home.worker()
    await home.platform.platform_fault("POST /reply", hold=True)
    said = await home.platform.say("", sender=nobody(), msg_type="sticker", content={"file_key": "f"})

    async def held() -> bool:
        return bool((await home.platform.state())["held"])

    await eventually(held)
    await worker.kill()
    await home.worker()
    assert (await home.snapshot(said.message_id)).replies
    assert (await home.verdict(said.message_id)).outcomes == 1


async def test_a_quoted_message_is_given_to_the_agent_and_not_remembered(home):
    worker, sender = await home.worker(), nobody()
    first = await home.platform.say("the meeting is at nine", sender=sender)
    await home.snapshot(first.message_id)
    quoting = await home.platform.say("when was that?", sender=sender, thread=first.message_id)
    await home.snapshot(quoting.message_id)
    assert worker.asked[-1].context == "[In reply to this message:]\n> the meeting is at nine"
    assert worker.asked[-1].text == "when was that?"
    assert worker.asked[-1].thread_id == "main"
    stored = await home.rows("select user_text from memory_exchanges order by seq")
    assert stored == [("the meeting is at nine",), ("when was that?",)]


async def test_of_a_quoted_answer_of_its_own_the_bot_knows_the_words_without_a_call(home):
    worker, sender = await home.worker(), nobody()
    first = await home.platform.say("tell me", sender=sender)
    [reply] = (await home.snapshot(first.message_id)).replies
    before = len(await home.platform.calls())
    quoting = await home.platform.say("more of that", sender=sender, thread=reply.message_id)
    await home.snapshot(quoting.message_id)
    assert worker.asked[-1].context == "[In reply to this message of yours:]\n> re: tell me"
    assert "GET" not in {call["method"] for call in (await home.platform.calls())[before:]}


async def test_of_a_further_card_of_an_answer_that_is_quoted_the_bot_knows_the_words_without_a_call(home):
    paragraphs = [f"paragraph {number}: " + "word " * 1000 for number in range(12)]

    async def at_length(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield Finished(outcome=Outcome.ANSWERED, text="\n\n".join(paragraphs), agent="manager")

    worker, sender = await home.worker(at_length), nobody()
    first = await home.platform.say("tell me", sender=sender)
    replies = (await home.snapshot(first.message_id)).replies
    before = len(await home.platform.calls())
    quoting = await home.platform.say("what is that?", sender=sender, thread=replies[-1].message_id)
    await home.snapshot(quoting.message_id)
    head, _, said = worker.asked[-1].context.partition("\n> ")
    assert (len(replies), head) == (3, "[In reply to this message of yours:]")
    assert replies[-1].text.startswith(said[:1000])
    assert said.startswith("paragraph 8")
    assert "GET" not in {call["method"] for call in (await home.platform.calls())[before:]}


async def test_of_forwarded_messages_the_agent_is_told_what_they_say(home):
    worker, sender = await home.worker(), nobody()
    said = [await home.platform.say(text, sender=nobody()) for text in ("first", "second")]
    forwarded = await home.platform.say("", sender=sender, forwards=[each.message_id for each in said])
    await home.snapshot(forwarded.message_id)
    [message] = [each for each in worker.asked if each.external_id == forwarded.message_id]
    assert message.context == "[The messages that were forwarded:]\n> first\n> second"


@pytest.mark.parametrize("fault", [{"code": 230110}, {"hold": True}], ids=["refused", "silent"])
async def test_a_quote_that_can_not_be_looked_up_is_said_to_be_missing_and_holds_nothing_up(
    tmp_path, sandbox_process, served, fault
):
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, quote_timeout=0.3) as home:
        worker, sender = await home.worker(), nobody()
        first = await home.platform.say("the meeting is at nine", sender=sender)
        await home.snapshot(first.message_id)
        await home.platform.platform_fault(f"GET /im/v1/messages/{first.message_id}", **fault)
        quoting = await home.platform.say("when was that?", sender=sender, thread=first.message_id)
        await home.snapshot(quoting.message_id)
        assert worker.asked[-1].context == "[In reply to an earlier message, which could not be read.]"


async def test_an_edit_before_the_answer_begins_counts_and_one_after_it_does_not(home):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    first = await home.platform.say("one", sender=sender)
    await held.begun.wait()
    second = await home.platform.say("two", sender=sender)
    await home.platform.edit(first.message_id, "one, but too late")
    await home.platform.edit(second.message_id, "two, corrected")

    async def known() -> bool:
        return len(await home.rows("select message_id from feishu_edits")) == 2

    await eventually(known)
    held.released.set()
    await home.snapshot(second.message_id)
    assert [message.text for message in worker.asked] == ["one", "two, corrected"]
    assert (await home.rows("select user_text from memory_exchanges order by seq"))[1] == ("two, corrected",)


async def test_an_edit_that_is_the_first_to_mention_the_bot_is_answered_once(home):
    worker, group = await home.worker(), a_group()
    said = await home.platform.say("what is a lease?", chat=group, chat_type="group", mention=False)
    other = await home.platform.say("what is a fence?", chat=group, chat_type="group", mention=False)
    await home.platform.edit(other.message_id, "and a fence?", mentions=["ou_tom"])
    await home.platform.edit(said.message_id, "do you know what a lease is?", mentions=["bot"])
    [reply] = (await home.snapshot(said.message_id)).replies
    assert (reply.text, reply.in_thread) == ("re: do you know what a lease is?", True)
    looked_up = len([call for call in await home.platform.calls() if call["path"].endswith(said.message_id)])
    await home.platform.edit(said.message_id, "do you really?", mentions=["bot"])
    await worker.kill()
    worker = await home.worker()
    await home.platform.edit(said.message_id, "well?", mentions=["bot"])
    last = await home.platform.say("thanks", chat=group, chat_type="group")
    await home.snapshot(last.message_id)
    assert [message.text for each in home.workers for message in each.asked] == [reply.text[4:], "thanks"]
    assert [message.sender_id for message in home.workers[0].asked] == ["ou_u1"]
    assert looked_up == len([c for c in await home.platform.calls() if c["path"].endswith(said.message_id)])
    assert (await home.verdict(other.message_id)).outcomes == 0


@pytest.mark.parametrize(("code", "status"), [(5000, 500), (99991403, 400)])
async def test_an_edit_that_can_not_be_looked_up_now_is_told_again_and_answered_then(home, code: int, status: int):
    worker = await home.worker()
    said = await home.platform.say("one", chat=a_group(), chat_type="group", mention=False)
    await home.platform.platform_fault(f"GET /im/v1/messages/{said.message_id}", code=code, status=status)
    await home.platform.edit(said.message_id, "two", mentions=["bot"])

    async def refused() -> bool:
        return any(isinstance(event, MessageRefused) for event in worker.events)

    await eventually(refused)
    await home.platform.advance(16)
    await home.snapshot(said.message_id)
    assert [message.text for message in worker.asked] == ["two"]


@pytest.mark.parametrize(("changes", "lookups"), [({"edit_calls": 2}, 2), ({"edit_calls": 0}, 0), ({}, 1)])
async def test_edits_in_groups_cost_no_more_calls_than_is_set_and_none_once_they_are_forbidden(
    tmp_path, sandbox_process, served, changes, lookups
):
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, **changes) as home:
        worker = await home.worker()
        if not changes:
            await home.platform.platform_fault("GET /im/v1/messages/", code=99991672, times=9)
        before = len(await home.platform.calls())

        async def all_taken() -> bool:
            return all(each.state == "acknowledged" for each in await home.platform.deliveries())

        for _ in range(3):
            said = await home.platform.say("one", chat=a_group(), chat_type="group", mention=False)
            await home.platform.edit(said.message_id, "one", mentions=["bot"] if lookups == 1 else ["ou_tom"])
            await eventually(all_taken)
        asked = [call for call in (await home.platform.calls())[before:] if call["method"] == "GET"]
        assert (len(asked), worker.asked) == (lookups, [])


async def test_what_was_taken_back_is_not_answered_by_the_next_worker_either(home):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    first = await home.platform.say("one", sender=sender)
    await held.begun.wait()
    second = await home.platform.say("two", sender=sender)
    await home.platform.recall(second.message_id)

    async def known() -> bool:
        return bool(await home.rows("select turn_id from turn_recalls"))

    await eventually(known)
    await worker.kill()
    successor = await home.worker()
    third = await home.platform.say("three", sender=sender)
    await home.snapshot(third.message_id)
    await home.snapshot(first.message_id)
    assert [message.text for message in successor.asked] == ["one", "three"]
    assert (await home.verdict(second.message_id)).outcomes == 0


async def test_a_recall_that_another_worker_hears_of_is_honoured_by_the_one_that_answers(home):
    held = Held()
    first = await home.worker(held)
    said = await home.platform.say("one", sender=nobody())
    await held.begun.wait()
    second = await home.worker(held, beside=True)  # the platform tells this one from now on
    await home.platform.recall(said.message_id)

    async def known() -> bool:
        return bool(await home.rows("select turn_id from turn_recalls"))

    await eventually(known)
    held.released.set()

    async def over() -> bool:
        return bool(await home.rows("select seq from inbox where closed_at is not null"))

    await eventually(over)
    assert (len(first.asked), second.asked) == (1, [])
    assert await home.rows("select outcome from inbox") == [("cancelled",)]
    assert await home.rows("select seq from memory_exchanges") == []


async def test_who_comes_in_is_welcomed_once_a_day_and_a_group_too(home):
    worker, sender, group = await home.worker(), nobody(), a_group()
    await home.platform.enter(sender)
    await home.platform.enter(sender)
    await home.platform.add_bot(group)
    await worker.kill()
    worker = await home.worker()
    await home.platform.enter(sender)
    said = await home.platform.say("hi", sender=sender)
    await home.snapshot(said.message_id)

    async def all_told() -> bool:
        return len(await home.rows("select seq from feishu_outbox where state = 'delivered'")) == 3

    await eventually(all_told)
    welcomes = [each for each in (await home.platform.record()).unprompted if each.text == "Hello, I am here."]
    assert len(welcomes) == 2
    assert [message.text for message in worker.asked] == ["hi"]
    assert len(await home.rows("select seq from memory_exchanges")) == 1


async def test_nobody_is_welcomed_where_there_is_nothing_to_say(tmp_path, sandbox_process, served):
    async with at_home(tmp_path, {"feishu": sandbox_process}, served) as home:
        worker = await home.worker()
        event_id = await home.platform.enter(nobody())

        async def taken() -> bool:
            return any(
                each.event_id == event_id and each.state == "acknowledged"
                for each in await home.platform.deliveries()
            )

        await eventually(taken)
        assert await home.rows("select seq from inbox") == []
        assert worker.house.channels["feishu"]._intake.dropped.total() == 1


async def test_of_messages_that_are_answered_together_one_that_was_taken_back_is_not_read(home):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    said = [await home.platform.say(f"question {number}", sender=sender) for number in range(9)]

    async def all_in() -> bool:
        return len(await home.rows("select seq from inbox where lane like '%main'")) == 9

    await eventually(all_in)
    for number in (5, 7):  # the one that is replied to, and one of those that are only named
        await home.platform.recall(said[number].message_id)

    async def known() -> bool:
        return len(await home.rows("select turn_id from turn_recalls")) == 2

    await eventually(known)
    held.released.set()
    for number in (6, 8):
        await home.snapshot(said[number].message_id)
    assert worker.asked[-1].text == "question 6\n\nquestion 8"
    outcomes = {number: (await home.verdict(said[number].message_id)).outcomes for number in (5, 6, 7, 8)}
    assert outcomes == {5: 0, 6: 1, 7: 0, 8: 1}


async def test_where_the_first_of_several_is_taken_back_before_the_answer_is_shown_the_next_one_is_replied_to(home):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    said = [await home.platform.say(f"question {number}", sender=sender) for number in range(8)]

    async def all_in() -> bool:
        return len(await home.rows("select seq from inbox where lane like '%main'")) == 8

    await eventually(all_in)
    await home.platform.platform_fault("POST /reply", status=503, times=1000)
    held.released.set()
    await eventually(lambda: has_outcome(home, "question 5"))
    for number in (5, 7):
        await home.platform.recall(said[number].message_id)
    await home.platform.clear()
    shown = await home.snapshot(said[6].message_id)
    assert "question 6" in shown.text
    assert worker.asked[-1].text == "question 5\n\nquestion 6\n\nquestion 7"
    outcomes = {number: (await home.verdict(said[number].message_id)).outcomes for number in (5, 6, 7)}
    assert outcomes == {5: 0, 6: 1, 7: 1}


async def has_outcome(home, text: str) -> bool:
    found = await home.rows(f"select seq from feishu_outbox where message like '%{text}%'")
    return bool(found)


GROUP_EVENTS = [
    ("the bot", {"mention": True}, True),
    ("another", {"mention": False, "mentions": ["ou_tom"]}, False),
    ("both", {"mention": True, "mentions": ["ou_tom"]}, True),
    ("everybody", {"mention": False, "mentions": ["all"]}, False),
    ("nobody", {"mention": False}, False),
]


@pytest.fixture(params=["webhook", "subscription"])
async def either_way(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox_process: SandboxAddress, served
) -> AsyncIterator[Home]:
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, mode=request.param) as home:
        yield home


async def test_who_is_answered_and_whose_memory_it_is(either_way):
    home = either_way
    worker, sender, group = await home.worker(), nobody(), a_group()
    private = await home.platform.say("private", sender=sender)
    said = {
        name: await home.platform.say(name, sender=sender, chat=group, chat_type="group", **how)
        for name, how, _ in GROUP_EVENTS
    }
    foreign = await home.platform.say(
        "in a thread of others", sender=sender, thread=said["nobody"].message_id, mention=False
    )
    post = {"content": [[{"tag": "at", "user_id": "@_user_1"}, {"tag": "text", "text": "a post"}]]}
    posted = await home.platform.say("", sender=sender, chat=group, msg_type="post", content=post)
    expected = {said[name].message_id for name, _, answered in GROUP_EVENTS if answered}
    expected |= {private.message_id, posted.message_id}
    for message_id in expected:
        await home.snapshot(message_id)
    assert {message.external_id for message in worker.asked} == expected
    assert {message.person for message in worker.asked} == {worker.asked[0].person}
    assert worker.asked[0].sender_id == sender
    assert {message.text for message in worker.asked} == {"private", "the bot", "@Tom both", "a post"}
    assert (await home.verdict(foreign.message_id)).outcomes == 0


async def test_what_bots_say_is_not_answered_not_even_to_the_bot_and_its_own_words_least_of_all(either_way):
    home = either_way
    worker, group = await home.worker(), a_group()
    own_id = (await worker.house.channels["feishu"].resolve_bot()).open_id
    said = [
        await home.platform.say(who, sender=who, by_app=by_app, **where)
        for who, by_app in [(own_id, True), (own_id, False), (nobody(), True)]
        for where in ({}, {"chat": group, "chat_type": "group"})
    ]

    async def all_taken() -> bool:
        return all(each.state == "acknowledged" for each in await home.platform.deliveries())

    await eventually(all_taken)
    last = await home.platform.say("hello", chat=group, chat_type="group")
    await home.snapshot(last.message_id)
    assert [message.text for message in worker.asked] == ["hello"]
    assert worker.house.channels["feishu"]._intake.dropped["from_an_app"] == len(said)
    assert {(await home.verdict(each.message_id)).outcomes for each in said} == {0}


@pytest.mark.parametrize("mode", ["webhook", "subscription"])
async def test_everybody_is_answered_where_that_is_switched_on(tmp_path, sandbox_process, served, mode):
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, mode=mode, answer_all=True) as home:
        worker = await home.worker()
        said = await home.platform.say("lunch?", chat=a_group(), chat_type="group", mention=False, mentions=["all"])
        await home.snapshot(said.message_id)
        assert [message.text for message in worker.asked] == ["@all lunch?"]


@pytest.mark.parametrize(
    ("answer_threads", "mode"), [(True, "webhook"), (True, "subscription"), (False, "webhook")]
)
async def test_in_a_thread_that_the_bot_began_to_answer_it_need_not_be_mentioned_again(
    tmp_path, sandbox_process, served, answer_threads, mode
):
    settings = {"answer_threads": answer_threads, "mode": mode}
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, **settings) as home:
        worker = await home.worker()
        root = await home.platform.say("what is a lease?", chat=a_group(), chat_type="group")
        [reply] = (await home.snapshot(root.message_id)).replies
        assert reply.in_thread
        await worker.kill()
        worker = await home.worker()
        to_tom = await home.platform.say("see?", thread=root.message_id, mention=False, mentions=["ou_tom"])
        follow = await home.platform.say("and a fence?", sender=nobody(), thread=root.message_id, mention=False)
        asked = await home.platform.say("thanks", sender=nobody(), thread=root.message_id)
        await home.snapshot(asked.message_id)
        assert [message.external_id for message in worker.asked] == [
            *([follow.message_id] if answer_threads else []),
            asked.message_id,
        ]
        assert {message.lane for message in worker.asked} == {
            f"feishu:{root.app_id}:{root.chat_id}:{root.message_id}"
        }
        assert {message.context for message in worker.asked} == {""}  # they begin with what the bot knows
        assert (await home.verdict(to_tom.message_id)).outcomes == 0


async def test_in_a_topic_group_the_answer_is_in_the_topic(home):
    worker = await home.worker()
    said = await home.platform.say("a topic", chat=a_group(), chat_type="group", topic=True)
    [reply] = (await home.snapshot(said.message_id)).replies
    assert reply.in_thread
    again = await home.platform.say("more", thread=said.thread_id)
    [reply] = (await home.snapshot(again.message_id)).replies
    assert reply.in_thread
    assert {message.thread_id for message in worker.asked} == {said.message_id}


HOSTILE = [
    '<at user_id="all">everybody</at> <person id="ou_tom"></person>',
    '{"schema":"2.0","body":{"elements":[{"tag":"button","text":{"tag":"plain_text","content":"Pay"}}]}}',
    "👩‍👩‍👧‍👦 \u202eright to left\u202c مرحبا " * 4000,
]


async def test_what_a_person_writes_is_shown_as_text_and_never_as_a_mention_a_card_or_half_a_character(home):
    worker = await home.worker()
    said = [await home.platform.say(text, sender=nobody()) for text in HOSTILE]
    shown = [(await home.snapshot(each.message_id)).replies for each in said]
    assert sorted(message.text for message in worker.asked) == sorted(text.strip() for text in HOSTILE)
    assert [len(replies) for replies in shown[:2]] == [1, 1]
    assert [(await home.verdict(each.message_id)).outcomes for each in said] == [1, 1, 1]
    assert shown[0][0].text == f"re: {HOSTILE[0]}".replace("<", "<\u200b")
    assert (shown[1][0].text, shown[1][0].actions) == (f"re: {HOSTILE[1]}", ())
    assert shown[2][0].text.startswith("re: 👩‍👩‍👧‍👦 \u202eright")
    assert "\ufffd" not in "".join(reply.text for reply in shown[2])
