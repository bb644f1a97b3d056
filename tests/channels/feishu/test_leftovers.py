"""A card that nobody will finish says so, once; one that somebody may finish is left alone."""

import asyncio

import pytest
from sqlalchemy import insert, update

from mainstay.channels.feishu.tables import cards, outbox
from mainstay.clock import SystemClock
from mainstay.events import CardClosed, CardCreated, CardSent, CardUpdated, DeadLettered
from mainstay.messages import Finished, Outcome, TextAppended

pytestmark = pytest.mark.anyio

LONG = "很长的回答。" * 3000 + "结束"


async def left_behind(world, text="half of the"):
    """A message whose card was being written when the process died."""
    process = await world.process()
    message = await world.ask()
    process.channel.replier(message, message.turn_id, 1).show(TextAppended(text))
    await process.until(CardUpdated)
    await process.kill()
    return message


async def says_so(world, message):
    verdict = await world.until_final(message)
    [reply] = await world.replies(message)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert "Please ask again" in reply.text
    assert "请重新提问" in reply.text
    assert not reply.streaming


async def card_rows(world):
    return await world.storage.read(lambda tx: [row.turn_id for row in tx.execute(cards.select())])


async def test_a_card_whose_turn_ended_without_an_outcome_says_so_once(world):
    message = await left_behind(world)
    world.ended.add(message.turn_id)
    process = await world.process()
    await process.until(CardClosed)
    await says_so(world, message)
    await process.kill()
    await world.process()

    async def forgotten():
        return await card_rows(world) == []

    await world.eventually(forgotten)
    assert await world.calls("PUT", "/cardkit/v1/cards/") == 2  # one of them was an update


async def test_a_row_without_a_card_is_forgotten_and_in_nobody_s_way(world):
    message = await left_behind(world)
    world.ended |= {message.turn_id, "made-by-hand"}
    row = {"turn_id": "made-by-hand", "channel": "feishu", "card_id": "7355372766134157313", "message_id": "om_x"}
    await world.storage.write(lambda tx: tx.execute(insert(cards).values(**row, created_at=SystemClock().now())))
    process = await world.process()
    await process.until(CardClosed)
    await says_so(world, message)

    async def forgotten():
        return await card_rows(world) == []

    await world.eventually(forgotten)
    assert len(process.seen(CardClosed)) == 1


async def test_a_card_whose_turn_goes_on_is_the_next_attempt_s_also_after_days(world):
    message = await left_behind(world)
    process = await world.process(later_s=2 * 86400.0)
    other = await world.ask()
    await world.finish(process.channel.replier(other, other.turn_id, 1), "meanwhile")
    replier = process.channel.replier(message, message.turn_id, 2)
    await world.finish(replier, "the answer")
    verdict = await world.until_final(message)
    assert (verdict.outcomes, verdict.texts) == (1, ("the answer",))
    assert len(process.seen(CardCreated)) == 1, "that of the other message"
    assert process.seen(CardClosed) == []


async def test_where_every_form_of_an_outcome_is_refused_its_card_does_not_promise_one(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardCreated)
    world.ended.add(message.turn_id)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=230099)
    await world.platform.platform_fault("POST /reply", code=230001, times=2)
    await world.finish(replier, "the answer")
    await process.until(CardClosed)
    assert len(process.seen(DeadLettered)) == 1
    await says_so(world, message)


@pytest.mark.parametrize("sent", [1, 2])
async def test_of_an_answer_in_several_cards_what_was_shown_stays_and_the_last_of_them_says_so(world, sent):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    world.ended.add(message.turn_id)
    for _ in range(sent - 1):
        await world.platform.platform_fault("POST /reply", delay_s=0.01)  # those that it takes
    await world.platform.platform_fault("POST /reply", code=230002)
    await world.finish(replier, LONG)
    await process.until(CardClosed, sent + 1)
    verdict = await world.until_final(message)
    replies = await world.replies(message)
    assert (verdict.outcomes, verdict.unfinished, len(replies)) == (1, 0, sent)
    shown, line = verdict.texts[0].rsplit("\n", 2)[0], replies[-1].parts["notice"]
    assert LONG.startswith(shown)
    assert len(shown) > 5000 * sent
    assert "请重新提问" in line
    assert "Please ask again" in line


async def test_half_of_an_answer_that_could_not_be_shown_stays_and_is_made_whole(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half of the"))
    await process.until(CardUpdated)
    world.ended.add(message.turn_id)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=230002)
    await world.finish(replier, "half of the answer")
    await process.until(CardClosed)
    await says_so(world, message)
    [reply] = await world.replies(message)
    assert reply.text.startswith("half of the answer\n")


@pytest.mark.parametrize("code", [230099, 230028])
async def test_where_the_platform_does_not_take_what_there_is_of_an_answer_only_the_line_stays(world, code):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half of the"))
    await process.until(CardUpdated)
    world.ended.add(message.turn_id)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=230002)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=code)
    await world.finish(replier, "half of the answer")
    await process.until(CardClosed)
    await says_so(world, message)
    assert "half" not in (await world.replies(message))[0].text


async def test_the_card_of_an_outcome_that_can_not_be_read_says_so(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half of the"))
    await process.until(CardUpdated)
    await world.post(replier, Finished(outcome=Outcome.ANSWERED, text="the answer"))
    await process.kill()
    await world.storage.write(lambda tx: tx.execute(update(outbox).values(message="{")).rowcount)
    world.ended.add(message.turn_id)
    process = await world.process()
    await process.until(CardClosed)
    await says_so(world, message)


async def test_what_the_platform_does_not_take_now_is_closed_when_it_is_tried_again(world):
    message = await left_behind(world)
    world.ended.add(message.turn_id)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=1500)
    process = await world.process()
    await world.until_refused(1500)
    while process.seen(CardClosed) == []:
        process.bus.emit(DeadLettered(turn_id="another", reason="something else"))
        await asyncio.sleep(0.02)
    await says_so(world, message)


async def test_a_worker_that_has_lost_its_turn_writes_no_more_on_a_closed_card(world):
    late = await world.process()
    message = await world.ask()
    replier = late.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half of the"))
    await late.until(CardUpdated)
    world.ended.add(message.turn_id)
    process = await world.process()
    await process.until(CardClosed)
    replier.show(TextAppended(" answer"))
    await world.until_no_card_is_followed(message)
    assert 300317 in await world.codes()
    await says_so(world, message)
