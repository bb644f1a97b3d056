"""An afternoon of trouble: models that fail in every way, alone and together, while people go on asking."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.process.afternoon import MODELS, Afternoon, Line, afternoon
from tests.process.conftest import DEADLINE_S, end_of, logged, visiting
from tests.process.evidence import NOTED, Evidence, gathered, judge

from mainstay.sandbox.model import SandboxSettings, Shown
from mainstay.sandbox.provider.faults import FAULTS
from mainstay.testing.project import Project, project

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SETTLED_WITHIN_S = 60
# A limit that runs out while an answer waits to be read is a failure that the provider can not see: only those are
# short that silence alone meets, however busy this machine is.
CONFIGURATION = """
[service]
turn_timeout = "1m"

# here every message is judged by an answer of its own
[inbox]
merge_after = 0

[models.a]
provider = "sandbox"
first_token_timeout = "3s"
idle_timeout = "3s"
total_timeout = "30s"

[models.b]
provider = "sandbox"
first_token_timeout = "3s"
idle_timeout = "3s"
total_timeout = "30s"

[models.c]
provider = "sandbox"
stream = false
total_timeout = "5s"

[agents.manager]
models = ["a", "b", "c"]
tools = ["noting:note"]

[recovery]
retry_base = "100ms"
longest_wait = "2s"

# they come back soon, so that there is much to break
[breaker]
open_time = "300ms"
longest_open = "1s"
quota_open = "1s"
"""
SANDBOX = SandboxSettings(tokens_per_second=300)
NOTING = f'''
def note(number: int) -> str:
    """Write a number down."""
    with open("{NOTED}", "a") as file:
        file.write(f"{{number}}\\n")
    return f"noted {{number}}"
'''


async def live_through(made: Project, plan: Afternoon) -> dict[str, Line]:
    """What was said, by message_id. Afterwards the faults are over, and answers may still be on their way."""
    loop, said = asyncio.get_running_loop(), dict[str, Line]()
    began_s = loop.time()

    async def talk() -> None:
        for line in plan.lines:
            await asyncio.sleep(began_s + line.at_s - loop.time())
            said[(await made.sandbox.say(line.text, chat=line.chat)).message_id] = line

    async def cause_trouble() -> None:
        for trouble in plan.troubles:
            await asyncio.sleep(began_s + trouble.at_s - loop.time())
            if not trouble.models:
                await made.sandbox.platform_fault(trouble.name, **trouble.details)
            for model in trouble.models:
                await made.sandbox.fault(trouble.name, model=model, **trouble.details)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(talk())
        tasks.create_task(cause_trouble())
    await made.sandbox.clear()
    return said


async def recover(made: Project, said: dict[str, Line]) -> None:
    """Go on asking, until each model is trusted again.

    Those before it are kept from answering by something that does not count against them.
    """
    async with asyncio.timeout(DEADLINE_S):
        while left_alone := await not_closed(made):
            for model in MODELS[: MODELS.index(left_alone[0])]:
                await made.sandbox.fault("auth", model=model)
            line = Line(at_s=0.0, chat=f"oc_{0:032x}", text=f"question {len(said)}")
            asked = await made.sandbox.say(line.text, chat=line.chat)
            said[asked.message_id] = line
            await end_of(made, asked.message_id)
            await made.sandbox.clear()


async def not_closed(made: Project) -> list[str]:
    dependencies: Any = (await made.health())["dependencies"]
    return [name for name in MODELS if dependencies[f"model:{name}"]["detail"]["breaker"] != "closed"]


async def settled(made: Project, count: int) -> None:
    """Everybody has an outcome, the service knows it, no request is open; else the judge says what is missing."""
    with suppress(TimeoutError):
        async with asyncio.timeout(SETTLED_WITHIN_S):
            while not await is_settled(made, count):  # noqa: ASYNC110  the service is another process
                await asyncio.sleep(0.2)


async def is_settled(made: Project, count: int) -> bool:
    models, states = await made.sandbox.models(last=1), {each.state for each in await made.sandbox.outcomes()}
    if any(delivery.state == "pending" for delivery in await made.sandbox.deliveries()):
        if "unfinished" not in states:
            await made.sandbox.advance(300)  # what was not acknowledged in time is delivered again now
        return False
    return (
        not any(model["open"] for model in models.values())
        and states == {"final"}
        and len({line["turn_id"] for line in logged(made, "outcome.delivered")}) == count
    )


async def lived_through(directory: Path, seed: int, seconds: float) -> Evidence:
    (directory / "noting.py").write_text(NOTING)
    async with project(directory, CONFIGURATION, sandbox=SANDBOX) as made:
        await made.start()
        pid = made.pid
        said = await live_through(made, afternoon(seed, seconds))
        await settled(made, len(said))
        await recover(made, said)
        await settled(made, len(said))
        async with visiting(made) as http:
            assert [(await http.get(path)).status_code for path in ("/livez", "/readyz")] == [200, 200]
        assert made.pid == pid
        return await gathered(made, said)


@pytest.fixture(scope="module", params=[1])
async def half_a_minute(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return await lived_through(tmp_path_factory.mktemp("trouble"), request.param, 30)


async def test_trouble_leaves_nobody_silent_doubles_nothing_and_is_counted_exactly(half_a_minute: Evidence) -> None:
    judge(half_a_minute)


async def test_the_trouble_was_of_every_kind(half_a_minute: Evidence) -> None:
    met = {fault for record in half_a_minute.models.values() for fault in record["faults"]}
    assert met == set(FAULTS)
    endings = [ended["model"] or ended["outcome"] for ended in half_a_minute.finished().values()]
    assert set(endings) == {*MODELS, "failed"}
    assert half_a_minute.noted


def told_twice(seen: Evidence) -> None:
    turn_id = next(iter(seen.verdicts))
    seen.verdicts[turn_id] = replace(seen.verdicts[turn_id], outcomes=2)


def left_in_silence(seen: Evidence) -> None:
    turn_id = next(iter(seen.verdicts))
    seen.verdicts[turn_id] = replace(seen.verdicts[turn_id], outcomes=0, unfinished=1)


def never_taken_in(seen: Evidence) -> None:
    del seen.lines[next(reversed(seen.lines))]


def shown_with_the_rest_of_a_broken_answer(seen: Evidence) -> None:
    turn_id = next(iter(seen.verdicts))
    verdict = seen.verdicts[turn_id]
    seen.verdicts[turn_id] = replace(verdict, texts=(verdict.texts[0][:20] + verdict.texts[0],))


def shown_doubled_for_a_moment(seen: Evidence) -> None:
    turn_id, [reply] = next(iter(seen.shown.items()))
    doubled = Shown(0.1, 1, reply.text * 2)
    seen.shown[turn_id] = (replace(reply, history=(doubled, *reply.history)),)


def a_tool_that_ran_twice(seen: Evidence) -> None:
    seen.noted.append(seen.noted[0])


def a_failed_attempt_counted_twice(seen: Evidence) -> None:
    seen.events["attempt.failed"].append(seen.events["attempt.failed"][0])


def a_failed_attempt_not_counted(seen: Evidence) -> None:
    del seen.events["attempt.failed"][0]


def a_failed_attempt_of_another_model(seen: Evidence) -> None:
    data = seen.events["attempt.failed"][0]["data"]
    data["model"] = "c" if data["model"] == "a" else "a"


def a_failed_attempt_of_another_kind(seen: Evidence) -> None:
    data = seen.events["attempt.failed"][0]["data"]
    data["category"] = "timeout" if data["category"] != "timeout" else "connection"


def a_request_that_nobody_owns_up_to(seen: Evidence) -> None:
    record = seen.models["a"]
    record["calls"].append(record["calls"][-1])
    record["total"] += 1


def an_attempt_that_cost_nothing(seen: Evidence) -> None:
    next(ended for ended in seen.finished().values() if ended["usage"])["usage"].clear()


def tokens_that_nobody_was_told_of(seen: Evidence) -> None:
    exact = (each for ended in seen.finished().values() for each in ended["usage"] if not each["estimated"])
    next(exact)["output_tokens"] += 1


def a_report_with_one_error_more(seen: Evidence) -> None:
    seen.health["errors"]["byCategory"]["timeout"] += 1
    seen.health["errors"]["timeouts"] += 1
    seen.health["errors"]["total"] += 1


def a_report_with_one_success_less(seen: Evidence) -> None:
    seen.health["agents"]["manager"]["successCount"] -= 1
    seen.health["agents"]["manager"]["errorCount"] += 1


def a_report_with_an_answer_of_another_model(seen: Evidence) -> None:
    seen.health["dependencies"]["model:a"]["detail"]["answers"] += 1
    seen.health["dependencies"]["model:b"]["detail"]["answers"] -= 1


def a_request_left_open(seen: Evidence) -> None:
    seen.models["b"]["open"] = 1


def a_model_left_alone_for_ever(seen: Evidence) -> None:
    seen.health["dependencies"]["model:c"]["detail"]["breaker"] = "open"


FORGERIES: list[Callable[[Evidence], None]] = [
    told_twice,
    left_in_silence,
    never_taken_in,
    shown_with_the_rest_of_a_broken_answer,
    shown_doubled_for_a_moment,
    a_tool_that_ran_twice,
    a_failed_attempt_counted_twice,
    a_failed_attempt_not_counted,
    a_failed_attempt_of_another_model,
    a_failed_attempt_of_another_kind,
    a_request_that_nobody_owns_up_to,
    an_attempt_that_cost_nothing,
    tokens_that_nobody_was_told_of,
    a_report_with_one_error_more,
    a_report_with_one_success_less,
    a_report_with_an_answer_of_another_model,
    a_request_left_open,
    a_model_left_alone_for_ever,
]


@pytest.mark.parametrize("forge", FORGERIES)
async def test_the_judge_objects_to(half_a_minute: Evidence, forge: Callable[[Evidence], None]) -> None:
    forged = deepcopy(half_a_minute)
    forge(forged)
    with pytest.raises(AssertionError):
        judge(forged)


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_ten_minutes_of_trouble_too(tmp_path: Path) -> None:
    judge(await lived_through(tmp_path, 600, 600))
