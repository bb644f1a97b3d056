"""The service under the supervisor: who dies within an answer is started again, and the answer goes on."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.process.conftest import DEADLINE_S, eventually

from mainstay.sandbox.model import SandboxSettings
from mainstay.sandbox.process import find
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio


async def typed(directory: Path, *words: str, code: int | None = 0) -> str:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainstay", *words, cwd=directory, env=environ, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(DEADLINE_S):
        said, _ = await running.communicate()
    assert code is None or running.returncode == code, said
    return said.decode()


async def service(made: Project) -> dict[str, Any]:
    [found] = json.loads(await typed(made.directory, "list", "--json"))
    return dict(found)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Project]:
    async with project(tmp_path, sandbox=SandboxSettings(tokens_per_second=60)) as made:
        await typed(made.directory, "migrate", "--quiet")
        assert "feishu-agent:0  ready" in await typed(made.directory, "start")
        try:
            yield made
        finally:
            await typed(made.directory, "kill", code=None)


@pytest.mark.parametrize("victim", ["the service", "the supervisor and the service"])
async def test_a_kill_in_the_middle_of_three_answers_leaves_one_outcome_of_each(made: Project, victim: str) -> None:
    before = await service(made)
    for number in range(3):
        await made.sandbox.say(f"count to {60 + number}", chat=f"oc_{number:032x}")

    async def all_have_begun() -> bool:
        replies = [each.replies for each in (await made.sandbox.record()).messages]
        return len(replies) == 3 and all(reply and "1 2 3" in reply[0].text for reply in replies)

    await eventually(all_have_begun)
    if victim != "the service":
        lines = (made.directory / ".mainstay" / "lifecycle.log").read_text().splitlines()
        daemon = next(each["pid"] for each in map(json.loads, lines) if each["what"] == "daemon")
        os.kill(daemon, signal.SIGKILL)
    os.kill(before["pid"], signal.SIGKILL)
    if victim != "the service":
        await typed(made.directory, "start")

    async def all_have_an_outcome() -> bool:
        return {each.state for each in await made.sandbox.outcomes()} == {"final"}

    await eventually(all_have_an_outcome)
    verdicts = await made.sandbox.outcomes()
    assert [(each.outcomes, each.unfinished) for each in verdicts] == [(1, 0)] * 3
    assert sorted(each.texts[0].split()[-1] for each in verdicts) == ["60", "61", "62"]
    after = await service(made)
    assert after["pid"] != before["pid"]
    assert [each["reason"] for each in after["history"]] == ["signal"]


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


async def test_a_restart_lets_an_answer_finish_and_the_next_process_takes_what_comes(made: Project) -> None:
    await made.sandbox.say("count to 40", chat=f"oc_{1:032x}")

    async def has_begun() -> bool:
        return any(reply.text for each in (await made.sandbox.record()).messages for reply in each.replies)

    await eventually(has_begun)
    await typed(made.directory, "restart")
    await made.sandbox.say("and again", chat=f"oc_{2:032x}")

    async def both_have_an_outcome() -> bool:
        return [each.state for each in await made.sandbox.outcomes()] == ["final"] * 2

    await eventually(both_have_an_outcome)
    assert [(each.outcomes, each.unfinished) for each in await made.sandbox.outcomes()] == [(1, 0)] * 2
    found = await service(made)
    assert (found["restarts"], found["ended"]) == (1, "exit code 0")
