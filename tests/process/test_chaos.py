"""An afternoon on which everything happens at once: people who change their minds, and all that can break."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.process.chaos import Chaos
from tests.process.chaos_evidence import Evidence, gathered, judge
from tests.process.chaos_plan import Way

from mainstay.sandbox.model import SandboxSettings, Shown
from mainstay.testing.project import Project, project

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SETTLED_WITHIN_S = 120
CONFIGURATION = """
[service]
turn_timeout = "12s"
drain_timeout = "1s"

[models.a]
provider = "sandbox"
first_token_timeout = "1s"
idle_timeout = "1s"
total_timeout = "10s"

[models.b]
provider = "sandbox"
first_token_timeout = "1s"
idle_timeout = "1s"
total_timeout = "10s"

[agents.manager]
models = ["a", "b"]
suggestions = 2
suggestions_timeout = "3s"

[recovery]
retry_base = "100ms"
longest_wait = "1s"

[breaker]
open_time = "300ms"
longest_open = "1s"
quota_open = "1s"

[inbox]
lease = "2s"

[channels.feishu]
ping_interval = "1s"
pong_timeout = "500ms"
request_timeout = "2s"
retry_base = "200ms"
retry_cap = "2s"
reconnect_base = "100ms"
reconnect_cap = "1s"
rejected_retry = "1s"
backfill_after = "100ms"
stop_button = true
feedback = true
"""
SANDBOX = SandboxSettings(time_scale=0.2, tokens_per_second=300)


async def lived_through(directory: Path, seed: int, seconds: float, way: Way) -> Evidence:
    configuration = f'{CONFIGURATION}mode = "{way}"\nreceipts = "{"reaction" if seed % 2 else "off"}"\n'
    async with project(directory, configuration, sandbox=SANDBOX) as made:
        await made.sandbox.options(pressable_streams=True)
        await made.start()
        chaos = Chaos(made, seed, way)
        await chaos.live(seconds)
        await settled(made)
        await chaos.repeat()
        assert await made.end() == 0
        await made.start()
        await settled(made)
        seen = await gathered(made, chaos)
        assert await made.end() == 0
        return seen


async def settled(made: Project) -> None:
    """Nothing is on its way any more, for anybody; else the judge says what is missing."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while not await is_settled(made):  # noqa: ASYNC110  the service is another process
                await asyncio.sleep(0.3)


async def is_settled(made: Project) -> bool:
    deliveries, verdicts = await made.sandbox.deliveries(), await made.sandbox.outcomes()
    if any(each.unfinished for each in verdicts) or await asyncio.to_thread(busy, made):
        return False
    if all(each.state != "pending" for each in deliveries):
        return True
    await made.sandbox.advance(300)  # what could not be delivered while it was dead is delivered again now
    return False


def busy(made: Project) -> bool:
    """Whether the service has something left to do."""
    with closing(sqlite3.connect(made.directory / ".mainstay" / "mainstay.db")) as database:
        [inbox] = database.execute("select count(*) from inbox where closed_at is null").fetchone()
        [outbox] = database.execute("select count(*) from feishu_outbox where state = 'pending'").fetchone()
    return bool(inbox or outbox)


@pytest.fixture(scope="module", params=["webhook", "subscription"])
async def a_moment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return await lived_through(tmp_path_factory.mktemp("chaos"), 1, 10, request.param)


async def test_chaos_leaves_one_outcome_each_in_order_and_nothing_open(a_moment: Evidence) -> None:
    judge(a_moment)


async def test_people_have_spoken_in_every_way_while_platform_and_models_failed(a_moment: Evidence) -> None:
    said = {"private", "group", "topic", "quote", "flood", "overheard"}
    assert said | {"platform fault", "model fault"} <= set(a_moment.happened)


def left_in_silence(seen: Evidence) -> None:
    _judged(seen, outcomes=0, state="none")


def told_twice(seen: Evidence) -> None:
    _judged(seen, outcomes=2)


def left_unfinished(seen: Evidence) -> None:
    _judged(seen, unfinished=1)


def forgotten(seen: Evidence) -> None:
    del seen.verdicts[0]


def a_press_that_led_to_nothing(seen: Evidence) -> None:
    seen.verdicts.append(replace(seen.verdicts[0], kind="press", recalled=False, outcomes=0, state="none"))


def a_word_on_what_was_only_overheard(seen: Evidence) -> None:
    message_id = seen.verdicts[0].message_id
    seen.lines[message_id] = replace(seen.lines[message_id], asks=False)
    seen.verdicts[0] = replace(seen.verdicts[0], outcomes=1)


def a_card_left_streaming(seen: Evidence) -> None:
    _shown(seen, streaming=True)


def a_card_left_thinking(seen: Evidence) -> None:
    _shown(seen, text="Thinking…")


def a_card_left_with_a_status(seen: Evidence) -> None:
    _shown(seen, status="Answering…")


def a_card_left_with_a_button_to_stop_it(seen: Evidence) -> None:
    _shown(seen, actions=("Stop",))


def an_event_that_was_given_up(seen: Evidence) -> None:
    seen.deliveries[0] = replace(seen.deliveries[0], state="given_up", attempts=())


def a_message_that_was_not_taken_in(seen: Evidence) -> None:
    seen.accepted.remove(next(line.message_id for line in seen.lines.values() if line.asks))


def an_answer_before_that_to_an_earlier_message(seen: Evidence) -> None:
    """Of two that have an answer, in the conversation in which most was said."""
    answered = [each for each in seen.accepted if seen.shown[each].replies]
    [(lane, _)] = Counter(seen.lines[each].lane for each in answered).most_common(1)
    first, second, *_ = (seen.accepted.index(each) for each in answered if seen.lines[each].lane == lane)
    seen.accepted[first], seen.accepted[second] = seen.accepted[second], seen.accepted[first]


def words_of_another_conversation(seen: Evidence) -> None:
    lane = seen.lines[_answered(seen)].lane
    other = next(line for line in seen.lines.values() if line.name and line.lane != lane)
    _shown(seen, history=(Shown(0.1, 1, f"Before that you wrote: “{other.name}, hello”."),))


def a_memory_of_what_was_taken_back(seen: Evidence) -> None:
    shown = Shown(0.1, 1, f"Before that you wrote: “{seen.lines[_answered(seen)].name}, hello”.")
    _shown(seen, text="Stopped, as you asked.", history=(shown,))


def an_answer_to_nobody(seen: Evidence) -> None:
    message_id = _answered(seen)
    reply = replace(seen.shown[message_id].replies[0], text=f"You wrote: “{seen.lines[message_id].name}, hello”.")
    seen.unprompted.append(reply)


def a_model_asked_about_what_was_taken_back(seen: Evidence) -> None:
    message_id = _answered(seen)
    seen.before[message_id] = {"a": 3}
    seen.asked["a"].append({"number": 4, "said": f"{seen.lines[message_id].name}, hello"})


def _answered(seen: Evidence) -> str:
    """A message that has an answer of its own, and no other."""
    return next(each for each, shown in seen.shown.items() if len(shown.replies) == 1 and seen.lines[each].name)


def _judged(seen: Evidence, **otherwise: Any) -> None:  # noqa: ANN401  the fields of `Verdict`
    number = next(i for i, each in enumerate(seen.verdicts) if each.outcomes == 1)
    seen.verdicts[number] = replace(seen.verdicts[number], recalled=False, **otherwise)


def _shown(seen: Evidence, **otherwise: Any) -> None:  # noqa: ANN401  the fields of `Reply`
    message_id = _answered(seen)
    replies = (replace(seen.shown[message_id].replies[0], **otherwise),)
    seen.shown[message_id] = replace(seen.shown[message_id], replies=replies)


FORGERIES: list[Callable[[Evidence], None]] = [
    left_in_silence,
    told_twice,
    left_unfinished,
    forgotten,
    a_press_that_led_to_nothing,
    a_word_on_what_was_only_overheard,
    a_card_left_streaming,
    a_card_left_thinking,
    a_card_left_with_a_status,
    a_card_left_with_a_button_to_stop_it,
    an_event_that_was_given_up,
    a_message_that_was_not_taken_in,
    an_answer_before_that_to_an_earlier_message,
    words_of_another_conversation,
    a_memory_of_what_was_taken_back,
    an_answer_to_nobody,
    a_model_asked_about_what_was_taken_back,
]


@pytest.mark.parametrize("forge", FORGERIES)
async def test_the_judge_objects_to(a_moment: Evidence, forge: Callable[[Evidence], None]) -> None:
    forged = deepcopy(a_moment)
    forge(forged)
    with pytest.raises(AssertionError):
        judge(forged)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["webhook", "subscription"])
@pytest.mark.parametrize("seed", range(200, 210))
async def test_chaos_of_a_minute_leaves_one_outcome_each(seed: int, way: Way, tmp_path: Path) -> None:
    judge(await lived_through(tmp_path, seed, 45, way))
