"""Against the real platform of the sandbox, over HTTP: from a question to one visible outcome."""

import pytest

from mainstay.events import CardCreated, CardSent, CardUpdated, OutcomeDelivered
from mainstay.messages import Outcome, TextAppended

pytestmark = pytest.mark.anyio


async def test_an_answer_streams_into_one_card_and_ends_there(world):
    process = await world.process()
    message = await world.ask("what is it?")
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    text = ""
    for count, word in enumerate(["It ", "is ", "**this**", " 好的 🙂"], start=1):
        text += word
        replier.show(TextAppended(word))
        await process.until(CardUpdated, count)
    await world.finish(replier, text)

    [reply] = await world.replies(message)
    assert (reply.kind, reply.text, reply.status, reply.final) == ("card", text, "", True)
    assert reply.summary == text
    assert [shown.text for shown in reply.history] == [
        "…",
        "It ",
        "It is ",
        "It is **this**",
        "It is **this** 好的 🙂",
    ]
    assert [event.name for event in process.events if not isinstance(event, CardUpdated)] == [
        CardCreated.name,
        CardSent.name,
        OutcomeDelivered.name,
    ]
    assert await world.calls("GET", "/messages") == 0


async def test_an_outcome_that_comes_before_any_card_is_shown_by_two_calls(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, "at once")
    verdict = await world.verdict(message)
    assert (verdict.outcomes, verdict.unfinished, verdict.texts) == (1, 0, ("at once",))


@pytest.mark.parametrize(
    ("outcome", "text", "notice", "shown"),
    [
        (Outcome.FAILED, "", "The model is away.", "The model is away."),
        (Outcome.FAILED, "half", "The model is away.", "half\nThe model is away."),
        (Outcome.ANSWERED, "whole", "Cut by length.", "whole\nCut by length."),
        (Outcome.CANCELLED, "", "", "Stopped, as you asked."),
        (Outcome.FAILED, "", "", "Sorry, this could not be answered."),
    ],
)
async def test_every_outcome_says_something(world, outcome, text, notice, shown):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, text, outcome, notice=notice)
    assert (await world.verdict(message)).texts == (shown,)


async def test_a_group_is_answered_in_a_thread(world):
    process = await world.process()
    message = await world.ask("hello", chat_type="group")
    assert message.text == "hello"
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, "in a thread")
    [reply] = await world.replies(message)
    assert reply.in_thread

    again = await world.ask("and then?", thread=message.external_id)
    assert again.lane == message.lane
