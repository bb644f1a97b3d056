"""A failed answer is tried again by a press on its card: once, whoever presses, across restarts and kills."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from tests.process.conftest import (
    BY_WEBHOOK,
    answered,
    end_of,
    event,
    eventually,
    inbox,
    nobody,
    now_ms,
    send_event,
    shown_now,
)

from mainstay.messages import turn_id_of
from mainstay.sandbox.client import SandboxError
from mainstay.sandbox.model import Reply, SandboxSettings, Snapshot
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

DYING = ("-m", "mainstay.testing.dying")
CONFIGURATION = """
[agents.manager]
tools = ["paying:pay", "paying:pay_slowly"]
[inbox]
lease = "2s"
# each test begins with models that were left alone for no more than a moment
[recovery]
retries = 0
[breaker]
open_time = "10ms"
longest_open = "10ms"
quota_open = "10ms"
"""

PAYING = '''
import time


def _paid(amount: int) -> str:
    with open("paid.log", "a") as file:
        file.write(f"{amount}\\n")
    return f"paid {amount}"


def pay(amount: int) -> str:
    """Pay."""
    return _paid(amount)


def pay_slowly(amount: int) -> str:
    """Pay, and take very long about it."""
    paid = _paid(amount)
    time.sleep(600)
    return paid
'''


@asynccontextmanager
async def paying(directory: Path) -> AsyncIterator[Project]:
    (directory / "paying.py").write_text(PAYING)
    async with project(directory, CONFIGURATION, sandbox=SandboxSettings(tokens_per_second=400)) as made:
        yield made


@pytest.fixture(scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    """A service that runs, for those who restart nothing."""
    async with paying(tmp_path_factory.mktemp("retry")) as made:
        (made.directory / ".env").write_text(BY_WEBHOOK)
        await made.start()
        yield made


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[Project]:
    """One that is started by the test."""
    async with paying(tmp_path) as made:
        yield made


async def failed(made: Project, text: str = "hello", **how: str) -> tuple[Snapshot, Reply]:
    """A message that every model has failed to answer, and the card that says so; the models are well again."""
    await made.sandbox.fault("overloaded")
    shown = await answered(made, text, **how)
    await made.sandbox.clear()
    [reply] = shown.replies
    assert "The language model is busy right now." in reply.text or "语言模型当前繁忙" in reply.text
    return shown, reply


async def judged(made: Project, message_id: str) -> list[tuple[str, int, int]]:
    """The judgement on a message and on the buttons pressed on its answers."""
    ids = {message_id, *(reply.message_id for reply in (await shown_now(made, message_id)).replies)}
    verdicts = [each for each in await made.sandbox.outcomes() if each.message_id in ids]
    return [(each.kind, each.outcomes, each.unfinished) for each in verdicts]


MESSAGE_AND_PRESS = [("message", 1, 0), ("press", 1, 0)]


async def other_try(made: Project, message_id: str) -> Reply:
    """The card of the other try, once it has its outcome; that of the first has lost its button."""
    shown = await end_of(made, message_id)

    async def without_button() -> bool:
        return (await shown_now(made, message_id)).replies[0].actions == ()

    await eventually(without_button)
    first, second = shown.replies
    assert first.final
    return second


@pytest.mark.parametrize(
    ("text", "label", "toast"),
    [("hello", "Try again", "Trying again…"), ("你好", "重试", "正在重试……")],
)
async def test_a_failure_has_its_reason_and_a_button_and_a_press_is_answered_in_a_card_of_its_own(
    made: Project, text: str, label: str, toast: str
) -> None:
    shown, reply = await failed(made, text)
    assert reply.actions == (label,)
    status, answer = await made.sandbox.press(reply.message_id, label, user="ou_colleague")
    assert status == 200
    assert toast in {answer["toast"]["content"], *answer["toast"]["i18n"].values()}
    second = await other_try(made, shown.message_id)
    assert text in second.text
    assert second.actions == ()
    assert await judged(made, shown.message_id) == MESSAGE_AND_PRESS


async def test_the_asker_stays_the_asker_whoever_presses(made: Project) -> None:
    asker = nobody()
    shown, reply = await failed(made, "remember the blue door", sender=asker)
    await made.sandbox.press(reply.message_id, "Try again", user="ou_colleague")
    await other_try(made, shown.message_id)
    assert "blue door" in (await answered(made, "what did I say?", sender=asker)).text
    assert "blue door" not in (await answered(made, "what did I say?", sender="ou_colleague")).text


async def test_in_a_group_it_goes_on_in_the_thread(made: Project) -> None:
    shown, reply = await failed(made, chat_type="group")
    assert reply.in_thread
    await made.sandbox.press(reply.message_id, "Try again")
    assert (await other_try(made, shown.message_id)).in_thread
    assert await judged(made, shown.message_id) == MESSAGE_AND_PRESS


def retry_action(made: Project, message_id: str) -> dict[str, object]:
    turn_id = turn_id_of("feishu", made.sandbox.address.app_id, "message", message_id)
    return {"tag": "button", "value": {"action": "retry", "turn": turn_id}}


async def test_presses_of_many_and_repeats_of_the_platform_are_one_try(made: Project) -> None:
    shown, reply = await failed(made)
    known, action = len(inbox(made)), retry_action(made, shown.message_id)
    async with asyncio.TaskGroup() as tasks:
        for number in range(3):
            tasks.create_task(made.sandbox.click(reply.message_id, action, user=f"ou_{number}"))
            tasks.create_task(made.sandbox.click(reply.message_id, action, event_id="e1"))
            tasks.create_task(made.sandbox.click(reply.message_id, action, schema="1.0"))
    await other_try(made, shown.message_id)
    await made.sandbox.click(reply.message_id, action)
    await answered(made, "whatever a second try had led to would have come before")
    assert len((await shown_now(made, shown.message_id)).replies) == 2
    assert await judged(made, shown.message_id) == MESSAGE_AND_PRESS
    assert len(inbox(made)) == known + 2


async def test_a_press_on_the_address_for_events_is_taken_too(made: Project) -> None:
    shown, reply = await failed(made)
    pressed = event(made, {}, event_type="card.action.trigger", create_time=f"{now_ms()}000")
    [chat_id] = [each.chat_id for each in await made.sandbox.deliveries() if each.message_id == shown.message_id]
    pressed["event"] = {
        "operator": {"open_id": "ou_colleague"},
        "token": f"c-{uuid4().hex}",
        "action": retry_action(made, shown.message_id),
        "context": {"open_message_id": reply.message_id, "open_chat_id": chat_id},
    }
    response = await send_event(made, pressed)
    assert (response.status_code, response.json()["toast"]["content"]) == (200, "Trying again…")

    async def two_cards() -> bool:
        return len((await shown_now(made, shown.message_id)).replies) == 2

    await eventually(two_cards)
    assert "hello" in (await other_try(made, shown.message_id)).text


async def test_a_press_after_a_restart_is_answered(fresh: Project) -> None:
    await fresh.start()
    shown, reply = await failed(fresh)
    assert await fresh.end() == 0
    await fresh.start()
    assert (await fresh.sandbox.press(reply.message_id, "Try again", schema="1.0"))[0] == 200
    await other_try(fresh, shown.message_id)
    assert await judged(fresh, shown.message_id) == MESSAGE_AND_PRESS


async def dropped(made: Project) -> int:
    report: dict[str, Any] = await made.health()
    return int(report["dependencies"]["feishu"]["detail"]["dropped"])


async def test_the_button_of_another_chat_and_a_forged_one_lead_to_a_word_and_nothing_else(made: Project) -> None:
    shown, _ = await failed(made)
    _, elsewhere = await failed(made)
    known, before = len(inbox(made)), await dropped(made)
    forged = retry_action(made, "om_unknown")
    for action in (
        retry_action(made, shown.message_id),
        forged,
        {"value": "x"},
        {"value": {"action": "retry"}},
        {},
    ):
        status, answer = await made.sandbox.click(elsewhere.message_id, action)
        assert (status, answer["toast"]["type"]) == (200, "warning")
    well = await answered(made, "still there?")
    status, answer = await made.sandbox.click(well.replies[0].message_id, retry_action(made, well.message_id))
    assert (status, answer["toast"]["type"]) == (200, "warning")
    with pytest.raises(SandboxError, match="there is no button"):
        await made.sandbox.press(well.replies[0].message_id, "Try again")
    assert len(inbox(made)) == known + 1
    assert await dropped(made) == before + 6
    assert await judged(made, shown.message_id) == [("message", 1, 0)]


async def test_another_try_that_fails_can_be_tried_again(made: Project) -> None:
    shown, reply = await failed(made)
    await made.sandbox.fault("server-error")
    await made.sandbox.press(reply.message_id, "Try again")
    again = (await end_of(made, shown.message_id)).replies[1]
    assert again.actions == ("Try again",)
    await made.sandbox.clear()
    await made.sandbox.press(again.message_id, "Try again")
    last = (await end_of(made, shown.message_id)).replies[2]
    assert "hello" in last.text
    assert await judged(made, shown.message_id) == [*MESSAGE_AND_PRESS, ("press", 1, 0)]


@pytest.mark.parametrize("step", ["message.accepted", "turn.started", "card.created", "card.sent", "turn.finished"])
async def test_a_kill_between_a_press_and_its_answer_leaves_one_outcome_of_each(fresh: Project, step: str) -> None:
    await fresh.start(*DYING, step, "2")
    shown, reply = await failed(fresh)
    await fresh.sandbox.press(reply.message_id, "Try again")
    assert await fresh.ended() == -9
    await fresh.start()

    async def two_cards() -> bool:
        return len((await shown_now(fresh, shown.message_id)).replies) == 2

    await eventually(two_cards)
    assert "hello" in (await other_try(fresh, shown.message_id)).text
    assert await judged(fresh, shown.message_id) == MESSAGE_AND_PRESS


def paid(made: Project) -> list[str]:
    file = made.directory / "paid.log"
    return file.read_text().split() if file.exists() else []


async def test_a_tool_with_effects_that_ran_before_the_failure_is_not_run_again(fresh: Project) -> None:
    await fresh.start()
    for name in ("primary", "fallback"):
        await fresh.sandbox.fault("overloaded", model=name, after_calls=int(name == "primary"))
    shown = await answered(fresh, 'call pay {"amount": 5}')
    [reply] = shown.replies
    assert "Some actions had been carried out already." in reply.text
    assert paid(fresh) == ["5"]
    assert await fresh.end() == 0
    await fresh.start()
    await fresh.sandbox.press(reply.message_id, "Try again")  # the models are still away
    again = (await end_of(fresh, shown.message_id)).replies[1]
    assert again.actions == ("Try again",)
    await fresh.sandbox.clear()
    await fresh.sandbox.press(again.message_id, "Try again")
    answer = (await end_of(fresh, shown.message_id)).replies[2]
    assert "The tool pay returned: paid 5" in answer.text
    assert paid(fresh) == ["5"]
    assert await judged(fresh, shown.message_id) == [*MESSAGE_AND_PRESS, ("press", 1, 0)]


async def test_a_tool_of_which_nobody_knows_whether_it_took_effect_is_not_run_by_another_try(
    fresh: Project,
) -> None:
    await fresh.start()
    said = await fresh.sandbox.say('call pay_slowly {"amount": 7}', sender=nobody())

    async def under_way() -> bool:
        return paid(fresh) == ["7"]

    await eventually(under_way)
    await fresh.kill()
    await fresh.sandbox.fault("overloaded")
    await fresh.start()
    [reply] = (await end_of(fresh, said.message_id)).replies
    assert reply.actions == ("Try again",)
    await fresh.sandbox.clear()
    await fresh.sandbox.press(reply.message_id, "Try again")
    answer = (await end_of(fresh, said.message_id)).replies[1]
    assert (
        "An action was interrupted: it may or may not have been carried out, and was not repeated." in answer.text
    )
    assert paid(fresh) == ["7"]
    assert await judged(fresh, said.message_id) == MESSAGE_AND_PRESS
