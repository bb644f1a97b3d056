"""Where our clock is wrong, what the platform says is compared with the platform's own time."""

from datetime import timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.channels.feishu.conftest import WINDOW_S

from mainstay.channels.feishu.platform_time import PlatformTime
from mainstay.events import CardCreated
from mainstay.testing.clock import ManualClock

HOURS_S = 10 * 3600.0


@given(
    st.text() | st.from_regex(r"[01][0-9] (Jan|May|Dec) [01]\d{3} \d\d:[0-5]\d:[0-5]\d [-+]\d{4}", fullmatch=True)
)
@example("")
@example("yesterday")
@example("Thu, 01 Jan 0001 00:00:00 +2359")
@example("Wed, 31 Dec 2025 23:59:30 GMT")
@example("Tue, 30 Dec 2025 23:59:59 GMT")
def test_what_is_no_date_or_none_that_can_be_believed_changes_nothing(date: str) -> None:
    clock = ManualClock()
    time = PlatformTime(clock)
    time.heard(date)
    assert (time.now(), time.ahead_s) == (clock.now(), 0.0)


@pytest.mark.parametrize("ahead_s", [-86000, -61, 0, 61, 3600])
def test_it_is_what_the_latest_answer_says(ahead_s: int) -> None:
    clock = ManualClock()
    time = PlatformTime(clock)
    time.heard(format_datetime(clock.now() - timedelta(seconds=300)))
    time.heard(format_datetime(clock.now() - timedelta(seconds=ahead_s), usegmt=True))
    time.heard("no date")
    clock.advance(5)
    assert time.ahead_s == ahead_s
    assert clock.now() - time.now() == timedelta(seconds=ahead_s)
    assert time.monotonic() == clock.monotonic()


@pytest.mark.anyio
@pytest.mark.parametrize("ahead_s", [HOURS_S, -HOURS_S])
async def test_with_a_clock_that_is_hours_off_what_people_say_and_edit_is_taken_and_health_tells_it(world, ahead_s):
    process = await world.process(later_s=ahead_s)
    await process.channel.resolve_bot()
    await world.listen(process)
    await world.ask("hello")
    said = await world.platform.say("one", chat=f"oc_{world.calls_before}", chat_type="group", mention=False)
    await world.platform.edit(said.message_id, "two", mentions=["bot"])

    async def taken() -> bool:
        return "two" in [message.text for message in world.accepted]

    await world.eventually(taken)
    [condition] = [check() for check in process.channel.checks()]
    assert condition.detail["clockAheadSeconds"] == pytest.approx(ahead_s, abs=5)


@pytest.mark.anyio
async def test_with_a_clock_that_is_ahead_a_card_that_may_have_been_sent_is_looked_up_where_it_would_be(world):
    await world.platform.platform_fault("POST /reply", hold=True)
    process = await world.process(later_s=HOURS_S)
    message = await world.ask()
    process.channel.replier(message, message.turn_id, 1)
    await process.until(CardCreated)
    await world.until_held()
    await process.kill()
    await world.platform.advance(WINDOW_S + 60)
    process = await world.process(later_s=HOURS_S + WINDOW_S)
    await process.channel.resolve_bot()
    await world.finish(process.channel.replier(message, message.turn_id, 2), "the answer")
    verdict = await world.until_final(message)
    assert (verdict.outcomes, verdict.unfinished, len(await world.replies(message))) == (1, 0, 1)
