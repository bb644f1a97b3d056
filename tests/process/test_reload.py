"""The service under the supervisor is reloaded: nobody is refused, and an answer under way has one outcome."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from tests.process.conftest import DEADLINE_S, eventually
from tests.process.test_supervised import service, typed

from mainstay.sandbox.model import SandboxSettings
from mainstay.sandbox.process import find
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Project]:
    async with project(tmp_path, sandbox=SandboxSettings(tokens_per_second=30)) as made:
        await typed(made.directory, "migrate", "--quiet")
        await typed(made.directory, "start")
        try:
            yield made
        finally:
            await typed(made.directory, "kill", code=None)


@asynccontextmanager
async def hammering(url: str) -> AsyncIterator[Counter[str]]:
    """A client that asks how the service is, each time over a new connection, while the block runs."""
    answers, over = Counter[str](), asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            async with httpx2.AsyncClient(trust_env=False, timeout=DEADLINE_S) as http:
                try:
                    answers[str((await http.get(f"{url}/livez")).status_code)] += 1
                except httpx2.HTTPError as error:
                    answers[repr(error)] += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(ask())
        yield answers
        over.set()


async def test_an_answer_under_way_has_one_outcome_and_nobody_is_refused(made: Project) -> None:
    before = await service(made.directory)
    for number in range(2):
        await made.sandbox.say(f"count to {60 + number}", chat=f"oc_{number:032x}")

    async def both_have_begun() -> bool:
        replies = [each.replies for each in (await made.sandbox.record()).messages]
        return len(replies) == 2 and all(reply and "1 2 3" in reply[0].text for reply in replies)

    await eventually(both_have_begun)
    async with hammering(made.url) as answers:
        await typed(made.directory, "reload")
        await made.sandbox.say("and again", chat=f"oc_{9:032x}")

        async def all_have_an_outcome() -> bool:
            return [each.state for each in await made.sandbox.outcomes()] == ["final"] * 3

        await eventually(all_have_an_outcome)
    assert answers.keys() == {"200"}
    assert [(each.outcomes, each.unfinished) for each in await made.sandbox.outcomes()] == [(1, 0)] * 3
    texts = sorted(each.texts[0].split()[-1] for each in await made.sandbox.outcomes())
    assert texts[:2] == ["60", "61"]
    after = await service(made.directory)
    assert after["pid"] != before["pid"]
    assert after["ended"] == "exit code 0"
    assert [each["detail"] for each in after["history"]] == ["reloaded"]


async def test_a_successor_that_can_not_start_changes_nothing(made: Project) -> None:
    before = await service(made.directory)
    with (made.directory / "mainstay.toml").open("a") as file:
        file.write('\n[storage]\nurl = "sqlite:////proc/nowhere/at.db"\n')
    await typed(made.directory, "reload", code=1)
    after = await service(made.directory)
    assert (after["pid"], after["state"], after["history"]) == (before["pid"], "ready", [])
    said = await made.sandbox.say("hello", chat=f"oc_{1:032x}")

    async def is_answered() -> bool:
        return [each.state for each in await made.sandbox.outcomes()] == ["final"]

    await eventually(is_answered)
    assert [each.message_id for each in await made.sandbox.outcomes()] == [said.message_id]


async def test_the_sandbox_of_a_service_stays_for_its_successor_and_ends_with_the_last_one(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        (tmp_path / "mainstay.toml").write_text(f"[service]\nport = {probe.getsockname()[1]}\n")
    await typed(tmp_path, "migrate", "--quiet")
    try:
        await typed(tmp_path, "start")
        before = find(tmp_path / ".mainstay")
        assert before is not None
        await typed(tmp_path, "reload")
        assert find(tmp_path / ".mainstay") == before
        assert "hello" in await typed(tmp_path, "ask", "hello")
    finally:
        await typed(tmp_path, "kill")
    assert find(tmp_path / ".mainstay") is None
