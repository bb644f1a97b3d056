"""What an operator, a scheduler or a tool of the user's can do to the process, judged by what people see."""

import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.process.conftest import begun, end_of, eventually, logged, nobody, shown_now, verdict_on

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

BRISK = SandboxSettings(tokens_per_second=500)
LONG = "count to 60 slowly"
TOOLS = """
import time

def pay(amount: int = 1) -> str:
    "Pay."
    with open("paid", "a") as file:
        file.write("once ")
    time.sleep(3600)
    return "paid"
"""
CONFIGURATION = """
[inbox]
lease = "2s"

[service]
drain_timeout = "500ms"

[agents.manager]
tools = ["payments:pay"]
"""


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Project]:
    (tmp_path / "payments.py").write_text(TOOLS)
    async with project(tmp_path, CONFIGURATION, sandbox=BRISK) as made:
        await made.start()
        yield made


async def paying(made: Project) -> str:
    """Let the tool that hangs begin; returns the id of the message."""
    said = await made.sandbox.say("call pay", sender=nobody())

    async def begun_to_pay() -> bool:
        return (made.directory / "paid").exists()

    await eventually(begun_to_pay)
    return said.message_id


def another(made: Project) -> Project:
    """The same project on a port of its own, as a host would start it that believes the first one dead."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    file = made.directory / "mainstay.toml"
    file.write_text(file.read_text().replace(made.url.rpartition(":")[2], str(port)))
    return Project(made.directory, port, made.sandbox)


async def test_a_tool_that_hangs_holds_up_no_stop_and_is_not_run_again(made: Project) -> None:
    message_id = await paying(made)
    assert await made.end() == 0
    await made.start()
    outcome = await end_of(made, message_id)
    assert "may or may not have been carried out" in outcome.text
    assert (made.directory / "paid").read_text() == "once "
    verdict = await verdict_on(made, message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)


async def test_a_process_that_wakes_up_after_its_lease_changes_nothing(made: Project) -> None:
    acting = await paying(made)
    talking = (await made.sandbox.say(LONG, sender=nobody())).message_id
    await begun(made, talking)
    os.kill(made.pid, signal.SIGSTOP)
    other = another(made)
    await other.start()
    try:
        for message_id in (acting, talking):
            await end_of(other, message_id)
        before = [await shown_now(other, message_id) for message_id in (acting, talking)]
        lost = len(logged(made, "turn.cut_off"))
        os.kill(made.pid, signal.SIGCONT)

        async def noticed() -> bool:
            return len(logged(made, "turn.cut_off")) >= lost + 2

        await eventually(noticed)
        assert await made.end() == 0
        assert [await shown_now(other, message_id) for message_id in (acting, talking)] == before
        assert (made.directory / "paid").read_text() == "once "
        for message_id in (acting, talking):
            verdict = await verdict_on(other, message_id)
            assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    finally:
        await other.end()
