"""An answer in several cards, and a card in the place of another, are one outcome."""

import pytest

from mainstay.events import CardCreated, CardSent, CardUpdated, OutcomeDelivered
from mainstay.messages import Finished, Outcome, Status, TextAppended

pytestmark = pytest.mark.anyio

LONG = "很长的回答。" * 3000 + "结束"


async def judged(world, message):
    """The one outcome of a message."""
    verdict = await world.until_final(message)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    return verdict.texts[0]


async def test_a_long_answer_goes_on_in_further_cards_of_the_same_thread(world):
    process = await world.process()
    message = await world.ask(chat_type="group")
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended(LONG))
    await process.until(CardUpdated)
    [reply] = await world.replies(message)
    assert LONG.startswith(reply.text.removesuffix("…"))
    await world.finish(replier, LONG, notice="a notice")
    assert await judged(world, message) == f"{LONG}\na notice"
    replies = await world.replies(message)
    assert [(reply.kind, reply.in_thread, reply.continued) for reply in replies] == [
        ("card", True, True),
        ("card", True, True),
        ("card", True, False),
    ]
    assert [event.via for event in process.seen(OutcomeDelivered)] == ["card"]


@pytest.mark.parametrize("held", ["PUT /cardkit/v1/cards/", "POST /cardkit/v1/cards", "POST /reply"])
@pytest.mark.parametrize("later_s", [0.0, 4000.0])
async def test_killed_between_two_cards_of_an_answer_each_is_shown_once(world, held, later_s):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault(held, hold=True)
    await world.post(replier, Finished(outcome=Outcome.ANSWERED, text=LONG))
    delivering = world.start(replier.deliver())
    await world.until_held()
    await process.kill()
    delivering.cancel()
    await world.platform.advance(later_s)
    process = await world.process(later_s=later_s)
    await process.until(OutcomeDelivered)
    assert await judged(world, message) == LONG
    assert len(await world.replies(message)) == 3


async def test_when_a_further_card_is_refused_the_answer_is_one_text_and_no_card_is_left(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("POST /cardkit/v1/cards", code=300305)
    await world.finish(replier, LONG)
    assert await judged(world, message) == LONG
    assert [reply.kind for reply in await world.replies(message)] == ["text"]


@pytest.mark.parametrize("code", [200740, 200750, 300311])
async def test_a_card_that_can_not_be_written_any_more_gives_way_to_another(world, code):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half"))
    await process.until(CardUpdated)
    [first] = await world.replies(message)
    await world.platform.platform_fault("PUT /elements/", code=code)
    replier.show(TextAppended(" of it"))

    async def is_another():
        replies = await world.replies(message)
        return [reply.card_id for reply in replies] not in ([], [first.card_id])

    await world.eventually(is_another)
    [second] = await world.replies(message)
    assert (second.text, second.streaming) == ("half of it", True)  # from the beginning: text never disappears
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=code)
    await world.finish(replier, "the answer")
    assert await judged(world, message) == "the answer"
    [third] = await world.replies(message)
    assert len({first.card_id, second.card_id, third.card_id}) == 3


async def test_a_card_that_was_sent_without_our_knowing_is_taken_back_when_it_gives_way(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.platform_fault("POST /cardkit/v1/cards", code=230099)  # none before the outcome
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.until_no_card_is_followed(message)
    await world.platform.platform_fault("POST /reply", drop=True)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=200750)
    await world.finish(replier, "the answer")
    assert await judged(world, message) == "the answer"
    assert len(process.seen(CardCreated)) == 2


async def test_the_card_before_is_taken_back_however_often_that_is_refused(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("DELETE /messages/", code=99991400, status=429, times=3)
    await world.platform.platform_fault("DELETE /messages/", drop=True)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=200740)
    await world.finish(replier, "the answer")
    assert await judged(world, message) == "the answer"
    assert len(await world.replies(message)) == 1


async def test_a_card_is_opened_anew_before_the_platform_closes_it(world):
    process = await world.process(reopen_after=0.2)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("ten "))

    async def opened_twice():
        return await world.calls("PATCH", "/settings") >= 2

    await world.eventually(opened_twice)
    replier.show(TextAppended("minutes"))
    await process.until(CardUpdated, 2)
    assert world.calls_before < len(await world.platform.calls())
    assert not {200850, 300309} & await world.codes()
    await world.finish(replier, "ten minutes")
    assert await judged(world, message) == "ten minutes"


async def test_a_card_that_can_not_be_opened_anew_just_now_is_so_a_moment_later(world):
    process = await world.process(reopen_after=1.0)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("ten "))
    await process.until(CardUpdated)
    await world.platform.platform_fault("PATCH /settings", code=99991400, status=429)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=99991400, status=429)

    async def opened():
        return await world.calls("PATCH", "/settings") >= 2

    await world.eventually(opened)
    replier.show(TextAppended("minutes"))
    await process.until(CardUpdated, 2)
    await world.finish(replier, "ten minutes")
    assert await judged(world, message) == "ten minutes"


async def test_a_card_that_is_not_opened_anew_is_written_as_a_whole(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("ten "))
    await process.until(CardUpdated)
    await world.platform.platform_fault("PATCH /settings", code=300309)
    await world.platform.advance(700)
    replier.show(TextAppended("minutes"))

    async def goes_on():
        [reply] = await world.replies(message)
        return (reply.text, reply.streaming) == ("ten minutes", True)

    await world.eventually(goes_on)
    replier.show(TextAppended(" and more"))
    await process.until(CardUpdated, 2)
    await world.finish(replier, "ten minutes later")
    assert await judged(world, message) == "ten minutes later"


async def test_an_answer_whose_sequence_was_behind_goes_on(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("one"))
    await process.until(CardUpdated)
    await world.platform.platform_fault("PUT /elements/", code=300317)
    replier.show(TextAppended(" two"))
    await process.until(CardUpdated, 2)
    [reply] = await world.replies(message)
    assert reply.text == "one two"
    await world.finish(replier, "one two three")
    assert await judged(world, message) == "one two three"


async def test_what_looks_the_same_for_long_says_for_how_long(world):
    process = await world.process(status_every=0.6)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(Status("Searching…"))

    async def shows(status):
        replies = await world.replies(message)
        return bool(replies) and replies[0].status.startswith(f"{status} · ") and replies[0].status.endswith(" s")

    await world.eventually(lambda: shows("Searching…"))
    replier.show(Status("Reading…"))
    await world.eventually(lambda: shows("Reading…"))
    await world.finish(replier, "the answer")
    assert await judged(world, message) == "the answer"


async def test_a_finished_card_says_who_answered_where_that_is_wanted(world):
    process = await world.process(footer=True)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, "the answer", agent="okr", model="large")
    assert await judged(world, message) == "the answer"
    [reply] = await world.replies(message)
    assert reply.status.startswith("okr · large · ")
    assert reply.status.endswith(" s")
