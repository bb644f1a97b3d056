"""What the platform refuses is shown in another way, later, or ends as a dead letter that somebody hears of."""

import asyncio
from dataclasses import replace

import pytest

from mainstay.errors import Category
from mainstay.events import (
    CardCreated,
    CardSent,
    CardUpdated,
    DeadLettered,
    DeliveryRetried,
    ErrorSeen,
    OutcomeDelivered,
)
from mainstay.messages import (
    Finished,
    HandedOver,
    ModelAsked,
    Outcome,
    Status,
    TextAppended,
    TextReplaced,
    ToolFinished,
    ToolStarted,
)
from mainstay.settings import Secret

pytestmark = pytest.mark.anyio


async def outcome_of(world, message):
    verdict = await world.until_final(message)
    [reply] = await world.replies(message)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    return reply.kind, reply.text


async def test_a_card_that_is_refused_when_made_becomes_a_post(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.platform_fault("POST /cardkit/v1/cards", code=300305, times=2)
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("the "))
    await world.until_no_card_is_followed(message)
    await world.finish(replier, "the answer", notice="cut")
    assert await outcome_of(world, message) == ("post", "the answer\n\ncut")


async def test_a_card_that_may_not_be_sent_becomes_a_post(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.platform_fault("POST /reply", code=230099, times=2)
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.until_no_card_is_followed(message)
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("post", "the answer")


async def test_a_card_whose_outcome_is_refused_gives_way_to_a_post(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("half"))
    await process.until(CardUpdated)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=230099)
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("post", "the answer")
    assert [event.via for event in process.seen(OutcomeDelivered)] == ["post"]


async def test_what_policy_forbids_is_replaced_by_an_apology(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.platform_fault("* /cardkit/v1/cards", code=230028)
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.until_no_card_is_followed(message)
    await world.platform.platform_fault("* /cardkit/v1/cards", code=230028)
    await world.finish(replier, "the forbidden")
    kind, text = await outcome_of(world, message)
    assert kind == "text"
    assert "forbidden" not in text
    assert "content policy" in text


async def test_an_app_without_the_right_to_make_cards_answers_in_a_post(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.platform_fault("POST /cardkit/v1/cards", code=99991672, times=2)
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.until_no_card_is_followed(message)
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("post", "the answer")
    assert Category.PERMISSION in {event.category for event in process.seen(ErrorSeen)}


async def test_what_is_refused_as_card_and_as_post_becomes_a_text(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=230099)
    await world.platform.platform_fault("POST /reply", code=230001)
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("text", "the answer")
    assert [event.via for event in process.seen(OutcomeDelivered)] == ["text"]


async def test_an_answer_too_long_for_a_post_is_a_text_where_cards_are_refused(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.platform_fault("POST /cardkit/v1/cards", code=300305, times=2)
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.until_no_card_is_followed(message)
    text = "很长的回答。" * 2000
    await world.finish(replier, text)
    assert await outcome_of(world, message) == ("text", text)


async def test_five_tables_are_shown_as_four_and_code(world):
    process = await world.process()
    message = await world.ask()
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended(table * 5))
    await process.until(CardUpdated)
    await world.finish(replier, table * 5)
    kind, text = await outcome_of(world, message)
    assert kind == "card"
    assert text == table * 4 + "```\n| a | b |\n|---|---|\n| 1 | 2 |\n```\n\n"


async def test_a_token_that_was_revoked_is_replaced_once_however_many_want_it(world):
    process = await world.process()
    messages = [await world.ask() for _ in range(3)]
    repliers = [process.channel.replier(message, message.turn_id, 1) for message in messages]
    await process.until(CardSent, 3)
    before = await world.calls("POST", "/tenant_access_token/")
    await world.platform.expire_tokens()
    async with asyncio.TaskGroup() as tasks:
        for replier in repliers:
            tasks.create_task(world.finish(replier, "the answer"))
    assert await world.calls("POST", "/tenant_access_token/") == before + 1
    for message in messages:
        assert await outcome_of(world, message) == ("card", "the answer")
    assert process.seen(ErrorSeen) == process.seen(DeliveryRetried) == []


async def test_a_rate_limit_is_waited_for_as_long_as_the_platform_says(world):
    process = await world.process(retry_cap=5.0)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    headers = {"x-ogw-ratelimit-limit": "1", "x-ogw-ratelimit-reset": "1"}
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=99991400, status=429, headers=headers)
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("card", "the answer")
    [refused, written] = [
        call["at_s"] for call in (await world.platform.calls())[world.calls_before :] if call["method"] == "PUT"
    ]
    assert written - refused >= 1.0
    assert [event.category for event in process.seen(ErrorSeen)] == [Category.RATE_LIMIT]
    assert [event.tries for event in process.seen(DeliveryRetried)] == [1]


@pytest.mark.parametrize("fault", [{"status": 502}, {"code": 1500, "status": 500}, {"drop": True}])
async def test_trouble_of_the_platform_is_waited_for(world, fault):
    process = await world.process()
    message = await world.ask()
    await world.platform.platform_fault("POST /cardkit/v1/cards", times=2, **fault)
    await world.platform.platform_fault("POST /reply", times=2, **fault)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", times=2, **fault)
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("the answer"))
    await process.until(CardUpdated)
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("card", "the answer")


async def test_after_the_platform_was_down_a_conversation_gets_its_outcomes_in_order(world):
    process = await world.process(deliver_wait=0.05)
    first = await world.ask("one", sender="ou_patient")
    second = await world.ask("two", sender="ou_patient")
    assert first.lane == second.lane
    await world.platform.platform_fault("* /cardkit/", times=1000, status=503)
    for message in (first, second):
        replier = process.channel.replier(message, message.turn_id, 1)
        replier.show(TextAppended("it is down"))
        await world.finish(replier, f"answer to {message.text}")
    await process.until(DeliveryRetried, 2)
    assert {event.turn_id for event in process.seen(DeliveryRetried)} == {first.turn_id}

    async def told() -> bool:
        return process.channel.checks()[0]().status == "degraded"

    await world.eventually(told)
    await world.platform.clear()
    await process.until(OutcomeDelivered, 2)
    assert [event.turn_id for event in process.seen(OutcomeDelivered)] == [first.turn_id, second.turn_id]
    assert await outcome_of(world, first) == ("card", "answer to one")
    assert await outcome_of(world, second) == ("card", "answer to two")


async def test_a_conversation_shows_no_card_before_its_last_outcome(world):
    process = await world.process(deliver_wait=0.05)
    first, second = await world.ask(sender="ou_waits"), await world.ask(sender="ou_waits")
    other = await world.ask(sender="ou_elsewhere")
    await world.platform.platform_fault("POST /reply", times=1000, status=503)
    await world.finish(process.channel.replier(first, first.turn_id, 1), "first")
    await process.until(DeliveryRetried)
    process.channel.replier(second, second.turn_id, 1)
    process.channel.replier(other, other.turn_id, 1)
    await process.until(CardCreated, 2)
    assert {event.turn_id for event in process.seen(CardCreated)} == {first.turn_id, other.turn_id}
    await world.platform.clear()
    await process.until(CardSent, 3)
    names = [(event.name, event.turn_id) for event in process.events]
    assert names.index((OutcomeDelivered.name, first.turn_id)) < names.index((CardCreated.name, second.turn_id))


async def test_what_was_taken_back_is_a_dead_letter_at_once(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.recall(message.external_id)
    await world.finish(process.channel.replier(message, message.turn_id, 1), "the answer")
    [dead] = process.seen(DeadLettered)
    assert dead.turn_id == message.turn_id
    assert "230011" in dead.reason
    assert process.seen(DeliveryRetried) == process.seen(OutcomeDelivered) == []


async def test_nobody_is_alerted_when_who_took_it_back_can_not_be_told_so(world):
    process = await world.process()
    message = await world.ask()
    await world.platform.recall(message.external_id)
    await world.finish(process.channel.replier(message, message.turn_id, 1), "", Outcome.CANCELLED)
    assert process.seen(DeadLettered) == []


async def test_a_dead_letter_does_not_hold_up_the_conversation(world):
    process = await world.process()
    first, second = await world.ask(sender="ou_again"), await world.ask(sender="ou_again")
    await world.platform.recall(first.external_id)
    await world.finish(process.channel.replier(first, first.turn_id, 1), "nobody reads this")
    await world.finish(process.channel.replier(second, second.turn_id, 1), "the answer")
    assert await outcome_of(world, second) == ("card", "the answer")


async def test_what_can_not_be_shown_in_time_is_a_dead_letter(world):
    process = await world.process(deliver_wait=0.05, max_age=0.3)
    message = await world.ask()
    await world.platform.platform_fault("* /cardkit/", times=1000, status=503)
    await world.finish(process.channel.replier(message, message.turn_id, 1), "the answer")
    await process.until(DeadLettered)
    assert process.seen(DeliveryRetried)


async def test_a_wrong_secret_is_reported_and_nothing_is_lost(world):
    process = await world.process(app_secret=Secret("wrong"), deliver_wait=0.05)
    message = await world.ask()
    await world.finish(process.channel.replier(message, message.turn_id, 1), "the answer")
    await process.until(DeliveryRetried)
    condition = process.channel.checks()[0]()
    assert (condition.status, condition.detail["outbox"]) == ("down", 1)
    assert "wrong" not in repr(condition)
    await process.kill()
    process = await world.process()
    assert await outcome_of(world, message) == ("card", "the answer")

    async def ok():
        return process.channel.checks()[0]().status == "ok"

    await world.eventually(ok)


async def test_the_status_line_follows_the_answer(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    statuses = []

    async def shows(status):
        async def shown():
            replies = await world.replies(message)
            return bool(replies) and replies[0].status == status

        await world.eventually(shown)
        statuses.append(status)

    await shows("Thinking…")
    replier.show(Status("Trying another model…"))
    await shows("Trying another model…")
    replier.show(HandedOver(from_agent="manager", to_agent="okr", strategy="rule"))
    await shows("Routing to okr…")
    replier.show(ToolStarted(call_id="1", tool="search"))
    await shows("Using search… · okr")
    replier.show(ToolFinished(call_id="1", tool="search", ok=True))
    await shows("Answering… · okr")
    replier.show(ModelAsked(agent="okr", model="primary"))
    replier.show(TextAppended("the wrong"))
    await shows("Answering… · okr · primary")
    replier.show(ModelAsked(agent="okr", model="fallback"))
    replier.show(TextReplaced("the answer"))
    await shows("Answering… · okr · fallback")
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("card", "the answer")
    assert len(statuses) == 7


async def test_a_stream_that_the_platform_closed_is_opened_again(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("ten "))
    await process.until(CardUpdated)
    await world.platform.advance(700)
    replier.show(TextAppended("minutes"))
    await process.until(CardUpdated, 2)
    [reply] = await world.replies(message)
    assert (reply.text, reply.streaming) == ("ten minutes", True)
    await world.finish(replier, "ten minutes later")
    assert await outcome_of(world, message) == ("card", "ten minutes later")


async def test_updates_of_one_card_keep_their_distance_and_skip_what_is_old(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    text = ""
    for number in range(300):
        replier.show(TextAppended(f"{number} "))
        text += f"{number} "
        await asyncio.sleep(0.001)
    await world.finish(replier, text)
    [reply] = await world.replies(message)
    updates = [shown.at_s for shown in reply.history[1:-1]]
    assert reply.text == text
    assert len(updates) < 30
    assert process.seen(ErrorSeen) == []


async def test_delivered_rows_are_forgotten_and_dead_letters_are_kept(world):
    process = await world.process()
    delivered, dead = await world.ask(), await world.ask()
    await world.platform.recall(dead.external_id)
    for message in (delivered, dead):
        await world.finish(process.channel.replier(message, message.turn_id, 1), "the answer")
    await process.kill()

    async def rows():
        return await world.storage.read(
            lambda tx: {row[0] for row in tx.exec_driver_sql("SELECT turn_id FROM feishu_outbox").all()}
        )

    async def pruned():
        return await rows() == {dead.turn_id}

    assert await rows() == {delivered.turn_id, dead.turn_id}
    await world.process(later_s=2 * 86400.0)
    await world.eventually(pruned)


async def test_an_answer_in_halves_of_characters_is_joined(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("\ud83d"))
    replier.show(TextAppended("\ude42"))
    await world.post(replier, Finished(outcome=Outcome.ANSWERED, text="\ud83d\ude42 and \ud83d"))
    await replier.deliver()
    assert await outcome_of(world, message) == ("card", "🙂 and �")


async def test_a_message_from_a_chat_where_threads_are_not_possible_is_answered_in_the_chat(world):
    process = await world.process()
    message = replace(await world.ask(), reply_in_thread=True)
    await world.platform.platform_fault("POST /reply", code=230071)
    await world.finish(process.channel.replier(message, message.turn_id, 1), "the answer")
    record = await world.platform.record()
    assert "the answer" in {reply.text for reply in record.unprompted}
    assert [event.turn_id for event in process.seen(OutcomeDelivered)] == [message.turn_id]


async def test_a_database_that_is_away_when_an_outcome_was_shown_does_not_show_it_twice(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.post(replier, Finished(outcome=Outcome.ANSWERED, text="the answer"))
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", hold=True)
    delivering = world.start(replier.deliver())
    await world.until_held()
    world.storage.failures = 2
    await world.platform.release()
    await delivering
    assert world.storage.failures == 0
    assert await outcome_of(world, message) == ("card", "the answer")
    assert len(process.seen(OutcomeDelivered)) == 1
    assert {event.category for event in process.seen(ErrorSeen)} == {Category.DATABASE}


async def test_a_database_that_is_away_costs_no_card(world):
    process = await world.process()
    message = await world.ask()
    world.storage.failures = 3
    replier = process.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("the answer"))
    await process.until(CardUpdated)
    await world.finish(replier, "the answer")
    assert await outcome_of(world, message) == ("card", "the answer")


async def test_forty_conversations_at_once_meet_no_limit_of_the_platform(world):
    process = await world.process()
    messages = await asyncio.gather(*(world.ask() for _ in range(40)))

    async def answer(message):
        replier = process.channel.replier(message, message.turn_id, 1)
        for word in range(20):
            replier.show(TextAppended(f"{word} "))
            await asyncio.sleep(0.05)
        await world.post(replier, Finished(outcome=Outcome.ANSWERED, text=f"answer to {message.external_id}"))
        await replier.deliver()

    await asyncio.gather(*(answer(message) for message in messages))
    await process.until(OutcomeDelivered, 40)
    for message in messages:
        assert await outcome_of(world, message) == ("card", f"answer to {message.external_id}")
    assert process.seen(ErrorSeen) == process.seen(DeliveryRetried) == []
