"""The service under the supervisor: T14-T16, T18 and T20, as an operator and a user see them."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.process.conftest import (
    DEADLINE_S,
    begun,
    end_of,
    eventually,
    nobody,
    shown_now,
    turn_of,
    verdict_on,
    visiting,
)

from mainstay.sandbox.model import SandboxSettings
from mainstay.sandbox.process import find
from mainstay.supervisor.client import Daemon
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

SUPERVISED = """
[service]
drain_timeout = "3s"

[apps.feishu-agent]
command = "mainstay serve"
ready = "notify"
stop_timeout = "20s"
"""
FAULTY = """
[service]
responder = "faulty:factory"

[apps.feishu-agent]
command = "mainstay serve"
ready = "notify"
stop_timeout = "20s"
watchdog = "6s"
"""


async def typed(directory: Path, *words: str, code: int | None = 0) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainstay", *words, cwd=directory, env=environ, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_S):
        said, _ = await running.communicate()
    assert code is None or running.returncode == code, said
    return said.decode()


async def service(directory: Path) -> dict[str, Any]:
    """What `mainstay list --json` shows of it."""

    def asked() -> list[dict[str, Any]]:
        with Daemon(directory / ".mainstay", timeout_s=DEADLINE_S) as daemon:
            return list(daemon.ask("list", names=[]))

    [found] = await asyncio.to_thread(asked)
    return found


async def until_service(directory: Path, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def it_holds() -> bool:
        found.update(await service(directory))
        return holds(found)

    await eventually(it_holds)
    return found


def said(made: Project, event: str) -> list[dict[str, Any]]:
    """The events of that name in the service's log, oldest first; a line that is just being written is none yet."""
    logs = (made.directory / ".mainstay" / "logs").glob("feishu-agent-0.*.log")
    whole = [line for log in logs for line in log.read_text().split("\n")[:-1]]
    lines = [json.loads(line) for line in whole if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


@asynccontextmanager
async def supervised(directory: Path, configuration: str) -> AsyncIterator[Project]:
    async with project(directory, configuration, sandbox=SandboxSettings(tokens_per_second=60)) as made:
        await typed(directory, "migrate", "--quiet")
        try:
            assert "feishu-agent:0  ready" in await typed(directory, "start")
            yield made
        finally:
            await typed(directory, "kill", code=None)


@pytest.fixture(scope="module", params=["webhook", "subscription"])
async def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    way = f'\n[channels.feishu]\nmode = "{request.param}"\n'
    async with supervised(tmp_path_factory.mktemp(request.param), SUPERVISED + way) as made:
        yield made


@pytest.fixture(scope="module")
async def faulty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    directory = tmp_path_factory.mktemp("faulty")
    shutil.copy(Path(__file__).with_name("faulty.py"), directory)
    async with supervised(directory, FAULTY) as made:
        yield made


@pytest.mark.parametrize(
    ("made", "victim"),
    [
        ("webhook", "the service"),
        ("subscription", "the service"),
        ("subscription", "the supervisor and the service"),
    ],
    indirect=["made"],
)
async def test_a_kill_in_the_middle_of_three_answers_leaves_one_outcome_of_each(made: Project, victim: str) -> None:
    before = await service(made.directory)
    asked = [await made.sandbox.say(f"count to {60 + number}", sender=nobody()) for number in range(3)]
    for each in asked:
        await begun(made, each.message_id)
    if victim != "the service":
        lines = (made.directory / ".mainstay" / "lifecycle.log").read_text().splitlines()
        daemon = [each["pid"] for each in map(json.loads, lines) if each["what"] == "daemon"][-1]
        os.kill(daemon, signal.SIGKILL)
    os.kill(before["pid"], signal.SIGKILL)
    if victim != "the service":
        await typed(made.directory, "start", code=None)
    for number, each in enumerate(asked):
        await end_of(made, each.message_id)
        verdict = await verdict_on(made, each.message_id)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)
        assert verdict.texts[0].split()[-1] == str(60 + number)
    after = await until_service(made.directory, lambda now: now["pid"] not in (None, before["pid"]))
    assert after["history"][-1]["reason"] == "signal"


async def test_the_sandbox_that_a_service_has_started_outlives_it(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (tmp_path / "mainstay.toml").write_text(f"[service]\nport = {probe.getsockname()[1]}\n")

    async def type_there(*words: str) -> str:
        return await typed(tmp_path, *words)

    await type_there("migrate", "--quiet")
    try:
        await type_there("start")
        before = find(tmp_path / ".mainstay")

        async def is_measured() -> bool:
            [now] = json.loads(await type_there("list", "--json"))
            return now["processes"] is not None

        await eventually(is_measured)
        [service] = json.loads(await type_there("list", "--json"))
        assert service["processes"] == 1, "the sandbox is not counted as the service's own"
        os.kill(service["pid"], signal.SIGKILL)

        async def is_there_again() -> bool:
            [now] = json.loads(await type_there("list", "--json"))
            return now["state"] == "ready" and now["pid"] != service["pid"]

        await eventually(is_there_again)
        assert before is not None
        assert find(tmp_path / ".mainstay") == before
        assert "hello" in await type_there("ask", "hello")
    finally:
        await type_there("kill")


@dataclass(slots=True)
class Watched:
    """What somebody sees who asks the service again and again whether it is ready.

    Attributes:
        answers: one after the other, each only where it differs from the one before.
        silent_s: for how long at most nobody has answered.
    """

    answers: list[str]
    silent_s: float = 0.0


async def watch(made: Project, over: asyncio.Event) -> Watched:
    """Ask until it is ready, and this is over."""
    loop = asyncio.get_running_loop()
    watched, answered_at_s, answer = Watched([]), loop.time(), ""
    async with visiting(made) as http:
        while not (over.is_set() and answer == "ready"):
            try:
                got = await http.get("/readyz", headers={"Connection": "close"})
                answer = "ready" if got.status_code == 200 else "not ready"
                watched.silent_s = max(watched.silent_s, loop.time() - answered_at_s)
                answered_at_s = loop.time()
            except httpx2.HTTPError:
                answer = "refused"
            if watched.answers[-1:] != [answer]:
                watched.answers.append(answer)
            await asyncio.sleep(0.01)
    return watched


async def test_a_restart_lets_an_answer_finish_and_the_next_process_answers_what_came_meanwhile(
    made: Project,
) -> None:
    before = await service(made.directory)
    first = await made.sandbox.say("count to 60", sender=nobody())
    await begun(made, first.message_id)
    stopping, over = len(said(made, "service.stopping")), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(made, over))
        restarting = tasks.create_task(typed(made.directory, "restart"))

        async def is_told_to_end() -> bool:
            return len(said(made, "service.stopping")) > stopping

        await eventually(is_told_to_end)
        late = await made.sandbox.say("and again", sender=nobody())
        await restarting
        over.set()
    await made.sandbox.advance(15)  # where it had finished before the message came, the platform tries again
    await end_of(made, late.message_id)
    verdicts = [await verdict_on(made, each.message_id) for each in (first, late)]
    assert [(each.outcomes, each.unfinished) for each in verdicts] == [(1, 0)] * 2
    assert verdicts[0].texts[0].endswith(" 58 59 60")
    found = await service(made.directory)
    assert (found["restarts"], found["ended"]) == (before["restarts"] + 1, "exit code 0")
    answered_by: dict[str, str] = {}

    async def is_logged() -> bool:
        answered_by.update((each["turn_id"], each["worker"].split(":")[1]) for each in said(made, "turn.finished"))
        return {turn_of(made, each.message_id) for each in (first, late)} <= answered_by.keys()

    await eventually(is_logged)
    assert answered_by[turn_of(made, first.message_id)] == str(before["pid"])
    assert answered_by[turn_of(made, late.message_id)] == str(found["pid"])
    watched = watching.result()
    assert watched.answers == ["ready", "not ready", "ready"], "the socket was open all the time"
    print(f"for {watched.silent_s:.2f} s nobody answered while the service was restarted: {watched.answers}")


async def test_a_stop_in_the_middle_of_a_long_answer_says_so_in_its_card_and_a_start_goes_on_with_it(
    made: Project,
) -> None:
    long = await made.sandbox.say("count to 2000 slowly", sender=nobody())
    await begun(made, long.message_id)
    await typed(made.directory, "stop")
    found = await service(made.directory)
    assert (found["state"], found["ended"]) == ("stopped", "exit code 0")
    interrupted = await shown_now(made, long.message_id)
    assert not interrupted.final
    assert "restarting; the answer will go on here" in interrupted.status
    await made.sandbox.fault("server-error")  # so that what goes on need not be waited for to its end
    await typed(made.directory, "start")
    shown = await end_of(made, long.message_id)
    await made.sandbox.clear()
    assert [reply.card_id for reply in shown.replies] == [reply.card_id for reply in interrupted.replies]
    verdict = await verdict_on(made, long.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)


async def test_a_thread_that_fails_costs_a_restart_in_peace(faulty: Project) -> None:
    before = await service(faulty.directory)
    slow = await faulty.sandbox.say("slowly", sender=nobody())
    await begun(faulty, slow.message_id)
    cause = await faulty.sandbox.say("in a thread", sender=nobody())
    draining = await until_service(faulty.directory, lambda now: now["state"] == "stopping")
    assert (draining["pid"], draining["status"]) == (before["pid"], "drains")
    (faulty.directory / "go").touch()
    after = await until_service(
        faulty.directory, lambda now: now["state"] == "ready" and now["pid"] != before["pid"]
    )
    [restart] = after["history"]
    assert (restart["reason"], restart["detail"]) == ("exit", "exit code 1")
    for each in (slow, cause):
        await end_of(faulty, each.message_id)
        verdict = await verdict_on(faulty, each.message_id)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert (await verdict_on(faulty, slow.message_id)).texts == ("begun and done",)


async def test_an_event_loop_that_is_held_up_costs_a_restart_that_shows_where_it_was(faulty: Project) -> None:
    before = await service(faulty.directory)
    cause = await faulty.sandbox.say("holding up the loop", sender=nobody())
    after = await until_service(
        faulty.directory, lambda now: now["state"] == "ready" and now["pid"] != before["pid"]
    )
    restart = after["history"][-1]
    assert (restart["reason"], restart["detail"]) == ("hang", "hung: nothing heard for 6s")
    assert after["ended"] == "killed by SIGABRT"
    assert "in holding_up_the_loop" in await typed(faulty.directory, "logs", "--err", "-n", "500")
    await end_of(faulty, cause.message_id)
    verdict = await verdict_on(faulty, cause.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
