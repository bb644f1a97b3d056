"""Another try, against the real platform of the sandbox: from the button under a failure to a card of its own."""

import asyncio
from uuid import uuid4

import pytest
from tests.channels.feishu.conftest import WINDOW_S

from mainstay.errors import StorageUnavailable
from mainstay.events import CardCreated, CardSent, DeadLettered, ErrorSeen, OutcomeDelivered
from mainstay.messages import Outcome

pytestmark = pytest.mark.anyio

NOTICE = "The model is away."


async def failed(world, process, text="hello", **how):
    """A message that has failed; returns it and the reply that says so."""
    message = await world.ask(text, **how)
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, "half", Outcome.FAILED, notice=NOTICE, retryable=True)
    [reply] = await world.replies(message)
    return message, reply


@pytest.fixture
async def process(world):
    process = await world.process()
    await world.listen(process)
    return process


def tries(world):
    """What was accepted as another try."""
    return [message for message in world.accepted if message.retry_of]


async def until_without_button(world, message):
    async def gone():
        return all(not reply.actions for reply in await world.replies(message))

    await world.eventually(gone)


@pytest.mark.parametrize(("said", "label"), [("hello", "Try again"), ("你好", "重试")])
async def test_a_failure_that_may_be_tried_again_has_a_button_in_the_language_of_its_notice(
    world, process, said, label
):
    _, reply = await failed(world, process, said)
    assert (reply.text, reply.actions, reply.final) == (f"half\n{NOTICE}", (label,), True)
    assert "99992402" not in str(await world.codes())


@pytest.mark.parametrize("how", [{"outcome": Outcome.FAILED}, {"outcome": Outcome.ANSWERED, "retryable": True}])
async def test_what_may_not_be_tried_again_has_no_button(world, process, how):
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, "text", **how)
    [reply] = await world.replies(message)
    assert reply.actions == ()


@pytest.mark.parametrize("schema", ["2.0", "1.0"])
async def test_a_press_is_accepted_answered_and_takes_the_button_away(world, process, schema):
    message, reply = await failed(world, process)
    status, answer = await world.platform.press(reply.message_id, "Try again", user="ou_other", schema=schema)
    assert (status, answer["toast"]["content"]) == (200, "Trying again…")
    assert tries(world) == [message.again()]
    await until_without_button(world, message)
    [left] = await world.replies(message)
    assert (left.message_id, left.text, left.final) == (reply.message_id, f"half\n{NOTICE}", True)


async def test_the_other_try_is_answered_in_a_card_of_its_own(world, process):
    message, _ = await failed(world, process, chat_type="group")
    [reply] = await world.replies(message)
    await world.platform.press(reply.message_id, "Try again")
    [again] = tries(world)
    replier = process.channel.replier(again, again.turn_id, 1)
    await world.finish(replier, "the answer")
    await until_without_button(world, message)
    first, second = await world.replies(message)
    assert (first.text, second.text) == (f"half\n{NOTICE}", "the answer")
    assert second.in_thread
    verdicts = [
        each
        for each in await world.platform.outcomes()
        if each.message_id in (message.external_id, first.message_id)
    ]
    assert [(each.kind, each.outcomes, each.unfinished) for each in verdicts] == [
        ("message", 1, 0),
        ("press", 1, 0),
    ]


async def test_another_try_that_fails_offers_one_more(world, process):
    message, reply = await failed(world, process)
    await world.platform.press(reply.message_id, "Try again")
    [again] = tries(world)
    replier = process.channel.replier(again, again.turn_id, 1)
    await world.finish(replier, "", Outcome.FAILED, notice=NOTICE, retryable=True)
    _, second = await world.replies(message)
    await world.platform.press(second.message_id, "Try again")
    assert tries(world) == [again, again.again()]
    await until_without_button(world, message)


async def test_two_people_who_press_at_once_ask_for_one_try(world, process):
    message, reply = await failed(world, process)
    async with asyncio.TaskGroup() as tasks:
        pressing = [
            tasks.create_task(world.platform.press(reply.message_id, "Try again", user=f"ou_{number}"))
            for number in range(4)
        ]
    toasts = sorted(task.result()[1]["toast"]["content"] for task in pressing)
    assert toasts == ["Somebody has asked for that already."] * 3 + ["Trying again…"]
    assert {each.turn_id for each in tries(world)} == {message.again().turn_id}


async def test_a_press_after_the_button_was_taken_away_is_accepted_no_more(world, process):
    message, reply = await failed(world, process)
    action = {"tag": "button", "value": {"action": "retry", "turn": message.turn_id}}
    await world.platform.click(reply.message_id, action)
    await until_without_button(world, message)
    status, answer = await world.platform.click(reply.message_id, action)
    assert (status, answer["toast"]["content"]) == (200, "Somebody has asked for that already.")
    assert len(tries(world)) == 1


async def refused(world, process, reply, value, reason):
    """The press is answered, led to nothing, and was counted."""
    status, answer = await world.platform.click(reply.message_id, {"tag": "button", "value": value})
    assert (status, answer["toast"]["type"]) == (200, "warning")
    assert tries(world) == []
    [condition] = [check() for check in process.channel.checks()]
    assert condition.detail["dropped"] == 1
    assert process.channel._intake.dropped == {reason: 1}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"action": "retry", "turn": "6d61696e-7374-4179-8000-7475726e7300"}, "press_unknown_turn"),
        ({"action": "retry", "turn": "' or 1=1 --"}, "press_unknown_turn"),
        ({"action": "retry", "turn": {"a": 1}}, "press_unreadable"),
        ({"action": "retry"}, "press_unreadable"),
        ({"action": "delete", "turn": "x"}, "press_unreadable"),
        ("retry", "press_unreadable"),
        (None, "press_unreadable"),
        ([["deep"]], "press_unreadable"),
    ],
)
async def test_a_press_that_was_forged_or_means_nothing_is_answered_and_counted(world, process, value, reason):
    _, reply = await failed(world, process)
    await refused(world, process, reply, value, reason)


async def test_the_button_of_another_chat_does_nothing_here(world, process):
    message, _ = await failed(world, process)
    _, elsewhere = await failed(world, process, sender="ou_somebody_else")
    await refused(world, process, elsewhere, {"action": "retry", "turn": message.turn_id}, "press_elsewhere")


async def test_what_was_answered_is_not_tried_again(world, process):
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await world.finish(replier, "the answer")
    [reply] = await world.replies(message)
    await refused(world, process, reply, {"action": "retry", "turn": message.turn_id}, "press_not_offered")


async def test_after_a_while_it_is_not_tried_again(world):
    message, reply = await failed(world, await world.process())
    later = await world.process(later_s=WINDOW_S + 1)
    await world.listen(later)
    await refused(world, later, reply, {"action": "retry", "turn": message.turn_id}, "press_too_late")


async def test_who_presses_while_nothing_can_be_stored_is_told_so_and_can_press_again(world, process):
    _, reply = await failed(world, process)
    accept = world.accept

    async def broken(message):
        raise StorageUnavailable("the disk is full")

    process.channel._presses._accept = broken
    _, answer = await world.platform.press(reply.message_id, "Try again")
    assert answer["toast"]["type"] == "error"
    process.channel._presses._accept = accept
    _, answer = await world.platform.press(reply.message_id, "Try again")
    assert (answer["toast"]["type"], len(tries(world))) == ("info", 1)


async def test_a_platform_that_will_not_change_the_card_now_is_asked_again(world, process):
    message, reply = await failed(world, process)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=200810, times=2)
    await world.platform.press(reply.message_id, "Try again")
    await until_without_button(world, message)
    assert await world.calls("PUT", "/cardkit/v1/cards/") >= 3
    assert process.seen(ErrorSeen) == []  # a press is nobody's error


async def test_a_card_that_can_not_be_changed_any_more_keeps_its_button_and_nobody_waits_for_it(world, process):
    message, reply = await failed(world, process)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=200750)
    await world.platform.press(reply.message_id, "Try again")
    await world.until_refused(200750)
    [again] = tries(world)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=200750)
    replier = process.channel.replier(again, again.turn_id, 1)
    await process.until(CardSent, 2)
    await world.finish(replier, "the answer")
    first, second = await world.replies(message)
    assert (first.actions, second.text) == (("Try again",), "the answer")
    assert process.seen(DeadLettered) == []
    _, answer = await world.platform.press(reply.message_id, "Try again")
    assert answer["toast"]["content"] == "Somebody has asked for that already."
    assert len(tries(world)) == 1


async def test_a_process_that_died_after_it_accepted_leaves_the_button_to_the_next(world):
    process = await world.process(retry_base=60.0, retry_cap=60.0)
    await world.listen(process)
    message, reply = await failed(world, process)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=1500)
    await world.platform.press(reply.message_id, "Try again")
    await world.until_refused(1500)
    await process.kill()
    [again] = tries(world)
    following = await world.process()
    replier = following.channel.replier(again, again.turn_id, 1)
    await world.finish(replier, "the answer")
    await until_without_button(world, message)
    assert [each.text for each in await world.replies(message)] == [f"half\n{NOTICE}", "the answer"]


async def test_an_outcome_that_was_shown_unknown_to_us_and_then_pressed_gets_its_button_back_no_more(
    world, process
):
    message = await world.ask()
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", drop=True, times=1)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", hold=True, times=1)
    finishing = world.start(world.finish(replier, "half", Outcome.FAILED, notice=NOTICE, retryable=True))
    await world.until_held()
    [reply] = await world.replies(message)
    await world.platform.press(reply.message_id, "Try again")
    await until_without_button(world, message)
    await world.platform.release()
    await finishing
    await process.until(OutcomeDelivered)
    assert [each.actions for each in await world.replies(message)] == [()]


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("chat_type", ["p2p", "group"])
async def test_the_card_of_another_try_is_not_taken_for_that_of_the_first(world, process, sent, chat_type):
    """Also when its process died before it knew whether the card was sent, and the platform forgot the key."""
    message, reply = await failed(world, process, chat=f"oc_{uuid4().hex}", chat_type=chat_type)
    await world.platform.press(reply.message_id, "Try again")
    [again] = tries(world)
    if sent:
        await world.platform.platform_fault("POST /reply", hold=True)
        process.channel.replier(again, again.turn_id, 1)
        await world.until_held()
    else:
        process.bus.subscribe(CardCreated, lambda _: process.task.cancel())
        process.channel.replier(again, again.turn_id, 1)
        await process.until(CardCreated, 2)
    await process.kill()
    await world.platform.advance(4000.0)
    later = await world.process(later_s=4000.0)
    replier = later.channel.replier(again, again.turn_id, 2)
    await world.finish(replier, "the answer")
    assert [each.text for each in await world.replies(message)] == [f"half\n{NOTICE}", "the answer"]
    verdicts = await world.platform.outcomes()
    assert all(
        (each.outcomes, each.unfinished) == (1, 0)
        for each in verdicts
        if each.message_id in (message.external_id, reply.message_id)
    )


async def test_nothing_of_it_is_an_error(world, process):
    message, reply = await failed(world, process)
    await world.platform.press(reply.message_id, "Try again")
    await until_without_button(world, message)
    assert process.seen(ErrorSeen) == []
