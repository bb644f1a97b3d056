"""A message is acknowledged at once and answered once, whichever way the platform brings it, and however often."""

from collections.abc import AsyncIterator

import pytest
from tests.process.conftest import (
    answered,
    begun,
    delivery_of,
    end_of,
    eventually,
    logged,
    nobody,
    shown_now,
    turn_of,
    verdict_on,
)

from mainstay.sandbox.feishu.delivery import RETRIES_S
from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

PLATFORM_WINDOW_S = 3.0


@pytest.fixture(scope="module", params=["webhook", "subscription"])
async def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    brisk = SandboxSettings(tokens_per_second=500)
    way = f'[channels.feishu]\nmode = "{request.param}"\n'
    async with project(tmp_path_factory.mktemp(request.param), way, sandbox=brisk) as made:
        await made.start()
        yield made


async def test_a_message_is_acknowledged_long_before_its_answer_is_there(made: Project) -> None:
    said = await made.sandbox.say("count to 100 slowly", sender=nobody())
    delivery = await delivery_of(made, said.event_id)
    assert [attempt.answer for attempt in delivery.attempts] == ["200"]
    assert delivery.attempts[0].seconds < PLATFORM_WINDOW_S
    answer = await begun(made, said.message_id)
    await made.sandbox.deliver_again(said.message_id, new_event_id=True)
    shown = await end_of(made, said.message_id)
    assert len(shown.text) > len(answer.text)
    verdict = await verdict_on(made, said.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert verdict.texts[0].endswith(" 98 99 100")


async def test_a_repeat_at_any_of_the_platforms_times_leads_to_no_second_card(made: Project) -> None:
    """As a new event, as the platform's documentation warns, and also across a restart."""
    said = await made.sandbox.say("hello", sender=nobody())
    shown = await end_of(made, said.message_id)
    turn, known = turn_of(made, said.message_id), await made.sandbox.models()
    for delay_s in RETRIES_S:
        await made.sandbox.advance(delay_s)
        if delay_s == 3600.0:
            assert await made.end() == 0
            await made.start()
        event_id = await made.sandbox.deliver_again(said.message_id, new_event_id=True)
        assert event_id != said.event_id
        repeat = await delivery_of(made, event_id)
        assert [attempt.answer for attempt in repeat.attempts] == ["200"]

    async def counted() -> bool:
        return sum(line["turn_id"] == turn for line in logged(made, "message.duplicated")) == len(RETRIES_S)

    await eventually(counted)
    again = await answered(made, "still there?")  # whatever a repeat had led to would have come before
    assert again.final
    verdict = await verdict_on(made, said.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    seen = await shown_now(made, said.message_id)
    assert [reply.message_id for reply in seen.replies] == [shown.replies[0].message_id]
    assert (await made.sandbox.models())["primary"]["total"] == known["primary"]["total"] + 1


async def test_a_repeat_of_the_same_bytes_is_known_too(made: Project) -> None:
    said = await made.sandbox.say("hello", sender=nobody())
    await end_of(made, said.message_id)
    await made.sandbox.deliver_again(said.message_id)
    assert (await delivery_of(made, said.event_id)).state == "acknowledged"
    await answered(made, "still there?")
    assert (await verdict_on(made, said.message_id)).outcomes == 1
