"""A service with an MCP server that is a process of its own: killed, stopped, and without what it needs."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.agents.mcp.conftest import HERE, Journal
from tests.process.conftest import end_of, eventually, nobody, verdict_on

from mainstay.agents.history import INTERRUPTED
from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio


def configuration(journal: Journal, *more: str) -> str:
    return f"""
[inbox]
lease = "2s"
[agents.manager]
mcp = ["shop"]
[mcp.shop]
command = ["{sys.executable}", "{HERE / "old_shop.py"}", "{journal.path}", "stubborn"]
prefix = ""
{chr(10).join(more)}
"""


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
async def made(tmp_path: Path, journal: Journal, request: pytest.FixtureRequest) -> AsyncIterator[Project]:
    (tmp_path / "project").mkdir()
    written = configuration(journal, *getattr(request, "param", ()))
    async with project(tmp_path / "project", written, sandbox=SandboxSettings(tokens_per_second=0)) as made:
        yield made


async def shop_of(made: Project) -> dict[str, Any]:
    found: dict[str, Any] = (await made.health())["dependencies"]["mcp:shop"]  # type: ignore[index]
    return found


async def connected(made: Project) -> None:
    async def is_connected() -> bool:
        return bool((await shop_of(made))["detail"]["connected"])

    await eventually(is_connected)


async def gone(pid: int) -> None:
    async def is_gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    await eventually(is_gone)


async def killed_in_the_call(made: Project, journal: Journal) -> str:
    """A message whose call was under way when the service was killed, and the server with it."""
    await made.start()
    await connected(made)
    said = await made.sandbox.say("call block", sender=nobody())
    await journal.has("block")
    await made.kill()
    await gone(journal.pids[0])
    return said.message_id


async def test_a_call_with_effects_is_not_made_again_after_a_kill(made: Project, journal: Journal) -> None:
    message_id = await killed_in_the_call(made, journal)
    await made.start()
    await end_of(made, message_id)
    verdict = await verdict_on(made, message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert INTERRUPTED in verdict.texts[0]
    assert "An action was interrupted" in verdict.texts[0]
    assert journal.count("block") == 1


@pytest.mark.parametrize("made", [('read_only = ["block"]', 'timeout = "1s"')], indirect=True)
async def test_a_call_that_only_reads_is_made_again_after_a_kill(made: Project, journal: Journal) -> None:
    message_id = await killed_in_the_call(made, journal)
    await made.start()
    snapshot = await end_of(made, message_id)
    assert "did not finish within 1 seconds" in snapshot.text
    assert journal.count("block") == 2


async def test_no_process_of_a_server_is_left_when_the_service_stops(made: Project, journal: Journal) -> None:
    await made.start()
    await connected(made)
    assert await made.end() == 0
    await gone(journal.pids[0])


async def test_a_server_that_does_not_start_does_not_keep_the_service_from_running(made: Project) -> None:
    file = made.directory / "mainstay.toml"
    file.write_text(file.read_text().replace(sys.executable, "no-such-command"))
    await made.start()

    async def has_a_reason() -> bool:
        return "no-such-command: No such file" in str((await shop_of(made))["reason"])

    await eventually(has_a_reason)
    report = await made.health()
    assert report["status"] == "healthy"
    said = await made.sandbox.say("hello", sender=nobody())
    assert (await end_of(made, said.message_id)).final


async def test_without_the_client_the_start_ends_with_one_line(made: Project) -> None:
    started = "import sys; sys.modules['mcp_types'] = None; from mainstay.cli.main import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", started, "serve", cwd=made.directory, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(30):
        told, complaints = await process.communicate()
    assert process.returncode == 2
    assert told == b""
    assert complaints.decode() == "mainstay: mcp.shop: needs the MCP client: pip install 'mainstay[mcp]'\n"
