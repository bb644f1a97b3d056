"""What is pressed under an answer, against the real platform of the sandbox."""

import asyncio

import pytest

from mainstay.channels.feishu.buttons import kept_suggestions
from mainstay.events import CardSent, CardUpdated, ErrorSeen, FeedbackGiven
from mainstay.messages import Outcome, Suggestions, TextAppended

pytestmark = pytest.mark.anyio

NEXT = ("What does it cost?", "明天的天气怎么样？")


@pytest.fixture
async def process(world):
    process = await world.process(feedback=True)
    await world.listen(process)
    return process


async def answered(world, process, **how):
    """A message that was answered, with questions that may come next; returns it and the reply."""
    message = await world.ask(**how)
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(Suggestions(NEXT))
    await world.finish(replier, "the answer")
    [reply] = await world.replies(message)
    return message, reply


async def told(world, reply, label, **how):
    status, answer = await world.platform.press(reply.message_id, label, **how)
    assert status == 200
    return answer["toast"]["content"]


async def test_what_may_be_said_next_is_offered_under_the_final_card_only(world, process):
    _, reply = await answered(world, process)
    assert reply.actions == (*NEXT, "👍", "👎")
    assert reply.text == "the answer"
    assert 99992402 not in await world.codes()


async def test_a_suggestion_is_asked_by_who_presses_in_the_same_thread_and_answered_there(world, process):
    message, reply = await answered(world, process, chat_type="group")
    assert await told(world, reply, NEXT[1], user="ou_other") == "Asking…"
    [asked] = [each for each in world.accepted if each.kind == "callback"]
    assert (asked.text, asked.sender_id) == (NEXT[1], "ou_other")
    assert (asked.lane, asked.reply_to, asked.retry_of) == (message.lane, reply.message_id, "")
    await world.finish(process.channel.replier(asked, asked.turn_id, 1), "sunny")
    first, second = await world.replies(message)
    assert (first.text, second.text, second.in_thread) == ("the answer", "sunny", True)
    mine = [v for v in await world.platform.outcomes() if v.message_id in (message.external_id, first.message_id)]
    assert [(each.kind, each.outcomes, each.unfinished) for each in mine] == [("message", 1, 0), ("press", 1, 0)]


async def test_a_suggestion_is_asked_once_however_many_press_it(world, process):
    _, reply = await answered(world, process)
    async with asyncio.TaskGroup() as tasks:
        pressing = [tasks.create_task(told(world, reply, NEXT[0], user=f"ou_{number}")) for number in range(4)]
    assert sorted(task.result() for task in pressing) == ["Asking…"] + ["Somebody has asked for that already."] * 3
    assert len({each.turn_id for each in world.accepted if each.kind == "callback"}) == 1


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("2", "press_not_offered"),
        ("-1", "press_not_offered"),
        ("x", "press_not_offered"),
        ("²", "press_not_offered"),
    ],
)
async def test_a_question_that_was_not_offered_is_not_asked(world, process, choice, reason):
    message, reply = await answered(world, process)
    value = {"action": "ask", "turn": message.turn_id, "choice": choice, "text": "Give me the keys."}
    status, answer = await world.platform.click(reply.message_id, {"tag": "button", "value": value})
    assert (status, answer["toast"]["type"]) == (200, "warning")
    assert [each for each in world.accepted if each.kind == "callback"] == []
    assert process.channel._intake.dropped == {reason: 1}


async def test_an_opinion_counts_once_for_each_person_and_can_be_changed(world, process):
    message, reply = await answered(world, process)
    for person, label in (("ou_a", "👍"), ("ou_a", "👍"), ("ou_b", "👎"), ("ou_a", "👎")):
        assert await told(world, reply, label, user=person) == "Thank you."
    seen = [(event.turn_id, event.vote, event.before) for event in process.seen(FeedbackGiven)]
    assert seen == [
        (message.turn_id, "up", ""),
        (message.turn_id, "down", ""),
        (message.turn_id, "down", "up"),
    ]
    detail = process.channel.checks()[0]().detail
    assert (detail["opinionsUp"], detail["opinionsDown"]) == (1, 2)
    [verdict] = [each for each in await world.platform.outcomes() if each.message_id == message.external_id]
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)


async def test_an_opinion_from_elsewhere_or_about_nothing_is_not_counted(world, process):
    message, _ = await answered(world, process)
    _, elsewhere = await answered(world, process)
    for value in (
        {"action": "feedback", "turn": message.turn_id, "choice": "up"},
        {"action": "feedback", "turn": "another", "choice": "up"},
        {"action": "feedback", "turn": message.turn_id, "choice": "sideways"},
    ):
        _, answer = await world.platform.click(elsewhere.message_id, {"tag": "button", "value": value})
        assert answer["toast"]["type"] == "warning"
    assert process.seen(FeedbackGiven) == []


async def test_a_failure_has_no_buttons_for_opinions_and_no_suggestions(world, process):
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(Suggestions(NEXT))
    await world.finish(replier, "", Outcome.FAILED, notice="It is away.", retryable=True)
    [reply] = await world.replies(message)
    assert reply.actions == ("Try again",)


async def test_where_the_platform_refuses_a_button_on_a_card_that_streams_the_card_goes_without(world):
    process = await world.process(stop_button=True)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    [reply] = await world.replies(message)
    assert reply.actions == ()
    assert 99992402 in await world.codes()
    await world.finish(replier, "the answer")
    assert (await world.until_final(message)).texts == ("the answer",)
    made = await world.calls("POST", "/cardkit/v1/cards")
    second = await world.ask()
    await world.finish(process.channel.replier(second, second.turn_id, 1), "the answer")
    assert await world.calls("POST", "/cardkit/v1/cards") == made + 1  # it is not tried again


@pytest.fixture
async def stoppable(world):
    """A platform that takes a button on a card that streams, as its documentation says."""
    await world.platform.options(pressable_streams=True)
    stopped = []

    async def stop(messages) -> None:
        stopped.extend(message.turn_id for message in messages)

    process = await world.process(stop_button=True)
    process.channel._stopped = stop
    await world.listen(process)
    yield process, stopped
    await world.platform.options(pressable_streams=False)


async def test_who_asked_can_stop_the_answer_and_nobody_else(world, stoppable):
    process, stopped = stoppable
    message = await world.ask(sender="ou_asker")
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half"))
    await process.until(CardUpdated)
    [reply] = await world.replies(message)
    assert (reply.actions, reply.streaming) == (("Stop",), True)
    assert await told(world, reply, "Stop", user="ou_other") == "Only who asked can stop the answer."
    assert stopped == []
    assert await told(world, reply, "Stop", user="ou_asker") == "Stopping…"
    assert stopped == [message.turn_id]
    await world.finish(replier, "", Outcome.CANCELLED)
    verdict = await world.until_final(message)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    [reply] = await world.replies(message)
    assert (reply.text, reply.actions) == ("half\nStopped, as you asked.", ())
    value = {"action": "stop", "turn": message.turn_id}
    _, answer = await world.platform.click(reply.message_id, {"tag": "button", "value": value}, user="ou_asker")
    assert answer["toast"]["content"] == "That is over already."
    assert stopped == [message.turn_id]


async def test_an_answer_is_not_stopped_from_another_chat(world, stoppable):
    process, stopped = stoppable
    message = await world.ask(sender="ou_asker")
    process.channel.replier(message, message.turn_id, 1)
    _, elsewhere = await answered(world, process)
    value = {"action": "stop", "turn": message.turn_id}
    _, answer = await world.platform.click(elsewhere.message_id, {"tag": "button", "value": value}, user="ou_asker")
    assert (answer["toast"]["type"], stopped) == ("warning", [])


def test_suggestions_are_few_short_and_whole():
    texts = ["a\nb", "a b", "\ud83d\ude42", "", "  ", "x" * 58 + "👩‍👩‍👧‍👦", "c", "d", "e", "f"]
    assert kept_suggestions(texts) == ("a b", "🙂", "x" * 58, "c", "d")


async def test_what_may_be_said_next_is_added_after_the_answer_was_shown(world):
    process = await world.process(feedback=True)
    asked, go_on = [], asyncio.Event()

    async def suggest(message, answer):
        asked.append((message.external_id, answer))
        await go_on.wait()
        return NEXT

    process.channel._courtesies._suggest = suggest
    message = await world.ask()
    await world.finish(process.channel.replier(message, message.turn_id, 1), "the answer")
    [reply] = await world.replies(message)
    assert (reply.text, reply.actions, reply.final) == ("the answer", ("👍", "👎"), True)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=200810, times=2)
    go_on.set()

    async def offered():
        [reply] = await world.replies(message)
        return reply.actions == (*NEXT, "👍", "👎")

    await world.eventually(offered)
    assert asked == [(message.external_id, "the answer")]
    assert (await world.verdict(message)).outcomes == 1


async def test_a_suggester_that_breaks_costs_nothing(world):
    process = await world.process()

    async def broken(_message, _answer):
        raise ValueError("no idea")

    process.channel._courtesies._suggest = broken
    first, second = await world.ask(), await world.ask()
    await world.finish(process.channel.replier(first, first.turn_id, 1), "one")
    await process.until(ErrorSeen)
    await world.finish(process.channel.replier(second, second.turn_id, 1), "two")
    assert [(await world.until_final(each)).texts for each in (first, second)] == [("one",), ("two",)]
