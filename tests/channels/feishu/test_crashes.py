"""Killed between any two steps, the next process goes on: one visible outcome, never two, never none."""

import asyncio

import pytest

from mainstay.events import CardCreated, CardSent, CardUpdated, DeadLettered, OutcomeDelivered
from mainstay.messages import Finished, Outcome, TextAppended

pytestmark = pytest.mark.anyio

DONE = Finished(outcome=Outcome.ANSWERED, text="the answer")


async def next_attempt(world, message, **how):
    process = await world.process(**how)
    replier = process.channel.replier(message, message.turn_id, 2)
    await world.finish(replier, "the answer")
    return process


async def one_outcome(world, message, kind="card"):
    verdict = await world.until_final(message)
    assert (verdict.outcomes, verdict.unfinished, verdict.texts) == (1, 0, ("the answer",))
    replies = await world.replies(message)
    assert [reply.kind for reply in replies] == [kind]


async def test_killed_while_the_card_is_made(world):
    await world.platform.platform_fault("POST /cardkit/v1/cards", hold=True)
    process = await world.process()
    message = await world.ask()
    process.channel.replier(message, message.turn_id, 1)
    await world.until_held()
    await process.kill()
    await next_attempt(world, message)
    await one_outcome(world, message)


async def test_killed_between_a_card_and_its_message(world):
    process = await world.process()
    process.bus.subscribe(CardCreated, lambda _: process.task.cancel())
    message = await world.ask()
    process.channel.replier(message, message.turn_id, 1)
    await process.until(CardCreated)
    await process.kill()
    assert await world.replies(message) == ()
    await next_attempt(world, message)
    await one_outcome(world, message)
    assert await world.calls("POST", "/cardkit/v1/cards") == 1


@pytest.mark.parametrize("later_s", [0.0, 4000.0])
async def test_killed_after_the_card_was_sent_and_before_it_was_known(world, later_s):
    await world.platform.platform_fault("POST /reply", hold=True)
    process = await world.process()
    message = await world.ask()
    process.channel.replier(message, message.turn_id, 1)
    await world.until_held()
    await process.kill()
    assert len(await world.replies(message)) == 1
    await world.platform.advance(later_s)
    await next_attempt(world, message, later_s=later_s)
    await one_outcome(world, message)


@pytest.mark.parametrize("later_s", [0.0, 4000.0])
async def test_killed_after_a_threaded_card_was_sent_and_before_it_was_known(world, later_s):
    await world.platform.platform_fault("POST /reply", hold=True)
    process = await world.process()
    message = await world.ask(chat=f"oc_{world.calls_before}", chat_type="group")
    process.channel.replier(message, message.turn_id, 1)
    await world.until_held()
    await process.kill()
    await world.platform.advance(later_s)
    await next_attempt(world, message, later_s=later_s)
    await one_outcome(world, message)


async def test_killed_while_it_streams_the_next_attempt_goes_on_in_the_same_card(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half of the"))
    await process.until(CardUpdated)
    await process.kill()

    process = await world.process()
    replier = process.channel.replier(message, message.turn_id, 2)

    async def shows(text, status):
        async def shown():
            [reply] = await world.replies(message)
            return (reply.text, reply.status) == (text, status)

        await world.eventually(shown)

    await shows("half of the", "Continuing after an interruption…")
    replier.show(TextAppended("the"))
    await shows("the", "Answering…")
    await world.finish(replier, "the answer")
    await one_outcome(world, message)
    assert process.seen(CardCreated) == process.seen(CardSent) == []


async def test_killed_between_an_outcome_and_its_delivery(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.post(replier, DONE)
    await process.kill()
    process = await world.process()
    await one_outcome(world, message)
    await process.until(OutcomeDelivered)


async def test_killed_after_the_outcome_was_written_and_before_it_was_known(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", hold=True)
    await world.post(replier, DONE)
    delivering = world.start(replier.deliver())
    await world.until_held()
    await process.kill()
    delivering.cancel()
    process = await world.process()
    await process.until(OutcomeDelivered)
    await one_outcome(world, message)


@pytest.mark.parametrize("later_s", [0.0, 4000.0])
async def test_killed_after_an_outcome_was_sent_as_a_post_and_before_it_was_known(world, later_s):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=300305)
    await world.platform.platform_fault("POST /reply", hold=True)
    await world.post(replier, DONE)
    delivering = world.start(replier.deliver())
    await world.until_held()
    await process.kill()
    delivering.cancel()
    await world.platform.advance(later_s)
    process = await world.process(later_s=later_s)
    await process.until(OutcomeDelivered)
    await one_outcome(world, message, kind="post")
    assert process.seen(OutcomeDelivered)[0].via == "post"


async def test_an_outcome_is_delivered_by_one_of_two_processes_that_overlap(world):
    first, second = await world.process(), await world.process()
    message = await world.ask()
    replier = first.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, "the answer")
    await one_outcome(world, message)
    assert len(first.seen(OutcomeDelivered)) + len(second.seen(OutcomeDelivered)) == 1


async def test_a_worker_that_has_lost_the_message_is_refused_by_the_platform(world):
    stale, process = await world.process(), await world.process()
    message = await world.ask()
    lost = stale.channel.replier(message, message.turn_id, 1)
    lost.show(TextAppended("old"))
    await stale.until(CardUpdated)
    held = process.channel.replier(message, message.turn_id, 2)
    held.show(TextAppended("new"))
    await process.until(CardUpdated)
    lost.show(TextAppended(" and older"))
    await world.until_refused(300317)
    await world.finish(held, "the answer")
    lost.show(TextAppended(" and oldest"))
    await lost.pause("interrupted")
    await one_outcome(world, message)


async def test_a_worker_that_wakes_up_after_the_outcome_shows_no_card(world):
    message = await world.ask()
    process = await world.process()
    await world.platform.platform_fault("POST /cardkit/v1/cards", code=300305, times=2)
    await world.finish(process.channel.replier(message, message.turn_id, 2), "the answer")
    await one_outcome(world, message, kind="post")
    await world.platform.clear()
    stale = await world.process()
    stale.channel.replier(message, message.turn_id, 1).show(TextAppended("old"))
    await world.until_no_card_is_followed(message)
    await one_outcome(world, message, kind="post")


async def test_a_worker_that_was_making_the_card_when_the_outcome_came_does_not_open_it_again(world):
    stale, gone = await world.process(), await world.process()
    message = await world.ask()
    await world.platform.platform_fault("POST /cardkit/v1/cards", hold=True)
    lost = stale.channel.replier(message, message.turn_id, 1)
    lost.show(TextAppended("old"))
    await world.until_held()
    await gone.kill()
    await world.post(gone.channel.replier(message, message.turn_id, 2), DONE)
    process = await world.process()
    await process.until(OutcomeDelivered)
    await world.platform.release()
    await world.until_no_card_is_followed(message)
    await world.until_refused(300309)
    await one_outcome(world, message)


async def test_the_next_attempt_in_the_same_process_ends_the_one_before(world):
    process = await world.process()
    message = await world.ask()
    lost = process.channel.replier(message, message.turn_id, 1)
    lost.show(TextAppended("old"))
    await process.until(CardUpdated)
    held = process.channel.replier(message, message.turn_id, 2)
    held.show(TextAppended("new"))
    await process.until(CardUpdated, 2)
    lost.show(TextAppended(" and older"))
    held.show(TextAppended("er"))
    await process.until(CardUpdated, 3)
    await world.finish(held, "the answer")
    await world.until_no_card_is_followed(message)
    await one_outcome(world, message)
    assert 300317 not in await world.codes()


async def test_a_pause_leaves_its_notice_on_the_card_and_no_outcome(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half"))
    await process.until(CardUpdated)
    await replier.pause("Restarting: this goes on in a moment.")
    [reply] = await world.replies(message)
    assert (reply.text, reply.status, reply.final) == ("half", "Restarting: this goes on in a moment.", False)
    assert process.seen(DeadLettered) == process.seen(OutcomeDelivered) == []


async def test_a_pause_does_not_wait_for_a_platform_that_hangs(world):
    process = await world.process(pause_timeout=0.1, request_timeout=60.0)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("PUT /elements/", hold=True)
    replier.show(TextAppended("half"))
    await world.until_held()
    async with asyncio.timeout(10):
        await replier.pause("Restarting.")
    assert (await world.platform.state())["held"] == 1
