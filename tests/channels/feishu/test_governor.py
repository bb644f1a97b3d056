"""Under the platform's limits, and at the end of the month: outcomes come, and what is not needed gives way."""

import asyncio

import pytest
from sqlalchemy import update

from mainstay.channels.feishu.tables import calls
from mainstay.events import CardSent, CardUpdated, DeadLettered, DeliveryRetried, ErrorSeen, QuotaChanged
from mainstay.messages import Finished, Outcome, TextAppended

pytestmark = pytest.mark.anyio

DONE = Finished(outcome=Outcome.ANSWERED, text="the answer")


@pytest.fixture
async def options(world):
    """Change how the platform behaves, for one test; it is shared."""
    yield world.platform.options
    await world.platform.options(monthly_quota=0, chat_per_s=5, card_per_s=10)


async def streamed(world) -> int:
    return await world.calls("PUT", "/content")


def condition(process):
    return process.channel.checks()[0]()


def states(process) -> list[str]:
    return [event.state for event in process.seen(QuotaChanged)]


async def test_at_the_end_of_the_calls_nothing_is_streamed_and_the_outcome_comes_when_there_are_some_again(
    world, options
):
    process = await world.process(retry_cap=0.2)
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await options(monthly_quota=1)
    replier.show(TextAppended("the"))
    await world.until_refused(99991403)
    await world.until_no_card_is_followed(message)
    assert (condition(process).status, condition(process).detail["quota"]) == ("degraded", "exhausted")
    assert "API calls are used up" in condition(process).reason

    second = await world.ask()
    created = await world.calls("POST", "/cardkit/v1/cards")
    process.channel.replier(second, second.turn_id, 1)
    await world.until_no_card_is_followed(second)
    assert (
        await world.calls("POST", "/cardkit/v1/cards") == created
    )  # no card is begun that could not be streamed to

    await world.post(replier, DONE)
    delivering = world.start(replier.deliver())
    await process.until(DeliveryRetried, 2)
    assert states(process) == ["exhausted"]
    await options(monthly_quota=0)
    await delivering
    verdict = await world.until_final(message)
    assert (verdict.outcomes, verdict.unfinished, verdict.texts) == (1, 0, ("the answer",))
    assert states(process) == ["exhausted", "normal"]
    assert process.seen(DeadLettered) == []
    assert await streamed(world) == 1


async def test_when_calls_run_short_a_card_is_updated_less_often_and_its_outcome_is_whole(world):
    await world.storage.write(lambda tx: tx.execute(update(calls).values(used=8000)).rowcount)
    short, plenty = await world.process(monthly_quota=10_000), await world.process()
    repliers = []
    for process in (short, plenty):
        message = await world.ask()
        replier = process.channel.replier(message, message.turn_id, 1)
        await process.until(CardSent)
        repliers.append((message, replier))
    for word in range(1000):
        for _, replier in repliers:
            replier.show(TextAppended(f"{word} "))
        if len(plenty.seen(CardUpdated)) >= 12:
            break
        await asyncio.sleep(0.02)
    assert 1 <= len(short.seen(CardUpdated)) <= len(plenty.seen(CardUpdated)) // 2
    assert condition(short).status == "ok"
    assert "updated less often" in condition(short).reason
    assert (condition(short).detail["quota"], condition(short).detail["monthlyQuota"]) == ("stretched", 10_000)
    for message, replier in repliers:
        await world.finish(replier, "the whole answer")
        assert (await world.verdict(message)).texts == ("the whole answer",)


async def test_the_calls_of_a_month_are_those_that_the_platform_has_counted(world):
    first = await world.process()
    message = await world.ask()
    replier = first.channel.replier(message, message.turn_id, 1)
    replier.show(TextAppended("the"))
    await first.until(CardUpdated)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=1500)
    await world.finish(replier, "the answer")
    await first.kill()
    second = await world.process()
    await second.channel.resolve_bot()
    assert 1500 in await world.codes()

    async def known() -> bool:
        made = (await world.platform.calls())[world.calls_before :]
        counted = sum(call["code"] == 0 and "tenant_access_token" not in call["path"] for call in made)
        return counted > 4 and condition(second).detail["callsThisMonth"] == counted

    await world.eventually(known)


async def test_one_refusal_of_an_api_holds_up_every_card_until_the_platform_opens_it(world):
    process = await world.process()
    messages = [await world.ask() for _ in range(4)]
    repliers = [process.channel.replier(message, message.turn_id, 1) for message in messages]
    await process.until(CardSent, 4)
    headers = {"x-ogw-ratelimit-limit": "50", "x-ogw-ratelimit-reset": "1"}
    await world.platform.platform_fault("PUT /content", code=99991400, status=429, headers=headers)
    repliers[0].show(TextAppended("hello"))
    await world.until_refused(99991400)
    for replier in repliers:
        replier.show(TextAppended("hello"))
    await process.until(CardUpdated, 4)
    made = (await world.platform.calls())[world.calls_before :]
    [refused, *others] = [call["at_s"] for call in made if call["path"].endswith("/content")]
    assert min(others) - refused >= 0.9


async def test_a_closed_api_does_not_hold_up_the_outcome_of_a_card_that_waits_for_it(world):
    process = await world.process()
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    headers = {"x-ogw-ratelimit-limit": "50", "x-ogw-ratelimit-reset": "15"}
    await world.platform.platform_fault("PUT /content", code=99991400, status=429, headers=headers)
    replier.show(TextAppended("hello"))
    await world.until_refused(99991400)

    async def waits() -> bool:
        return condition(process).detail["callsWaiting"] == 1

    await world.eventually(waits)
    await world.finish(replier, "the answer")
    assert (await world.verdict(message)).texts == ("the answer",)
    assert await streamed(world) == 1


async def test_a_group_that_asks_much_at_once_is_answered_within_its_limit(world):
    process = await world.process()
    chat = f"oc_{world.calls_before}_many"
    messages = [await world.ask(f"question {number}", chat=chat, chat_type="group") for number in range(12)]
    await asyncio.gather(
        *(
            world.finish(process.channel.replier(each, each.turn_id, 1), f"answer to {each.external_id}")
            for each in messages
        )
    )
    for message in messages:
        assert (await world.until_final(message)).texts == (f"answer to {message.external_id}",)
    assert 230020 not in await world.codes()
    assert process.seen(ErrorSeen) == process.seen(DeliveryRetried) == []


async def test_a_group_in_which_other_bots_speak_is_answered_all_the_same(world, options):
    process = await world.process(deliver_wait=30.0)
    chat = f"oc_{world.calls_before}_shared"
    messages = [await world.ask(f"question {number}", chat=chat, chat_type="group") for number in range(6)]
    await options(chat_per_s=2)  # three of the five are used by others
    await asyncio.gather(
        *(
            world.finish(process.channel.replier(each, each.turn_id, 1), f"answer to {each.external_id}")
            for each in messages
        )
    )
    for message in messages:
        verdict = await world.until_final(message)
        assert (verdict.outcomes, verdict.texts) == (1, (f"answer to {message.external_id}",))
    assert process.seen(DeadLettered) == []
