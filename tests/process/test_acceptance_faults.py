"""T18: what nobody caught is told once; it ends the service only where something would be missing, and in peace."""

import asyncio
import json
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.process.conftest import (
    BY_WEBHOOK,
    answered,
    begun,
    delivery_of,
    end_of,
    eventually,
    logged,
    nobody,
    verdict_on,
    visiting,
)

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

INSTALLED = str(Path(sys.executable).with_name("mainstay"))
SECRET = "correct-horse-battery-staple"
CONFIGURATION = f"""
[service]
responder = "faulty:factory"

[models.primary]
provider = "sandbox"
api_key = "{SECRET}"
"""


async def migrate(made: Project) -> None:
    migrating = await asyncio.create_subprocess_exec(INSTALLED, "migrate", "--quiet", cwd=made.directory)
    assert await migrating.wait() == 0


@asynccontextmanager
async def running(directory: Path, more: str = "") -> AsyncIterator[Project]:
    shutil.copy(Path(__file__).with_name("faulty.py"), directory)
    (directory / ".env").write_text(BY_WEBHOOK)
    configuration = CONFIGURATION + more
    async with project(directory, configuration, sandbox=SandboxSettings(tokens_per_second=0)) as made:
        await migrate(made)
        await made.start(INSTALLED, "serve")
        yield made


@pytest.fixture(scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    async with running(tmp_path_factory.mktemp("faults")) as made:
        yield made


@pytest.fixture(scope="module")
async def to_be_ended(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    few = '\n[containment]\nmax_errors = 3\nwindow = "5s"\n'
    async with running(tmp_path_factory.mktemp("ended"), few) as made:
        yield made


@pytest.fixture
async def mortal(to_be_ended: Project) -> Project:
    """One that a test may end: it runs, its log is empty, and nobody has put a file there yet."""
    made = to_be_ended
    (made.directory / "go").unlink(missing_ok=True)
    os.truncate(made.directory / "service.log", 0)
    try:
        async with visiting(made) as http:
            await http.get("/livez")
    except httpx2.ConnectError:
        await made.start(INSTALLED, "serve")
    return made


def lines(made: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in made.log().splitlines() if line.startswith("{")]


def told(made: Project, words: str) -> list[dict[str, Any]]:
    return [line for line in lines(made) if words in line["message"]]


def about_it(made: Project) -> list[dict[str, Any]]:
    """Every line in which the error's text is, in whatever field."""
    return [line for line in lines(made) if "boom" in json.dumps(line)]


def complaints(made: Project) -> list[str]:
    return [line for line in made.log().splitlines() if line.startswith("mainstay: ")]


def traces(made: Project) -> list[dict[str, Any]]:
    return [line for line in lines(made) if "exception" in line]


async def internal_errors(made: Project) -> int:
    by_category: Any = (await made.health())["errors"]
    return int(by_category["byCategory"].get("internal", 0))


@pytest.mark.parametrize("fault", ["in the responder", "in a tool"])
async def test_a_handler_that_raises_is_told_once_counted_and_ends_nothing(made: Project, fault: str) -> None:
    before, errors = len(about_it(made)), await internal_errors(made)
    said = await made.sandbox.say(fault, sender=nobody())
    await end_of(made, said.message_id)
    verdict = await verdict_on(made, said.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert "Something went wrong inside the service." in verdict.texts[0]
    assert (await answered(made, "behave")).text == "well done"
    assert await internal_errors(made) == errors + 1
    [line] = about_it(made)[before:]
    assert "boom *** token=***" in line["exception"]
    assert SECRET not in made.log()
    assert "abc123abc" not in made.log()


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        ("in a task", "task forgotten, fail"),
        ("in a group of tasks", "task forgotten, fail"),
        ("in two tasks that wait for one", "wait"),
        ("in a callback", "callback "),
        ("in a finalizer", "finalizer Finalized.__del__"),
        ("in a generator", "RuntimeError: boom"),
        ("in an unprintable error", "task forgotten, fail"),
        ("in the channel once", "channel feishu"),
        ("everything is cancelled", "channel feishu"),
    ],
)
async def test_what_a_task_raises_is_told_once_counted_and_ends_nothing(
    made: Project, fault: str, where: str
) -> None:
    before, errors = len(told(made, "[WARN] Unhandled rejection")), await internal_errors(made)
    traced = len(traces(made))
    assert (await answered(made, fault)).text == "well done"

    async def counted() -> bool:
        return await internal_errors(made) > errors

    await eventually(counted)
    assert (await answered(made, "behave")).text == "well done"
    assert await internal_errors(made) == errors + 1
    [line] = told(made, "[WARN] Unhandled rejection")[before:]
    assert line["level"] == "error"
    assert where in line["message"]
    assert len(traces(made)) == traced + 1
    assert SECRET not in made.log()
    assert "abc123abc" not in made.log()
    assert not told(made, "[FATAL]")


async def test_a_webhook_that_raises_is_told_once_counted_and_loses_no_message(made: Project) -> None:
    before, errors = len(traces(made)), await internal_errors(made)
    assert (await answered(made, "in the webhook once")).text == "well done"
    said = await made.sandbox.say("behave", sender=nobody())

    async def failed() -> bool:
        tried = [each for each in await made.sandbox.deliveries() if each.event_id == said.event_id]
        return [attempt.answer for attempt in tried[0].attempts] == ["500"]

    await eventually(failed)
    await made.sandbox.advance(15)
    assert (await end_of(made, said.message_id)).text == "well done"
    assert await internal_errors(made) == errors + 1
    [line] = traces(made)[before:]
    assert line["message"] == (
        "[WARN] Unhandled rejection: RuntimeError: boom *** token=*** (in request to /webhook/event)"
    )


async def failing(made: Project) -> None:
    async def heard() -> bool:
        return bool(logged(made, "service.failing"))

    await eventually(heard)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("in a thread", "thread poller ended with RuntimeError: boom *** token=***"),
        ("out of memory", "out of memory in task forgotten, fail"),
        ("many times", "more than 3 errors within 5s that nobody caught"),
        ("in the channel always", "more than 3 errors within 5s that nobody caught"),
    ],
)
async def test_what_leaves_a_hole_lets_answers_finish_and_ends_the_process_with_its_reason(
    mortal: Project, fault: str, reason: str
) -> None:
    made = mortal
    slow = await made.sandbox.say("slowly", sender=nobody())
    await begun(made, slow.message_id)
    cause = await made.sandbox.say(fault, sender=nobody())
    await failing(made)
    async with visiting(made) as http:
        assert (await http.get("/livez")).status_code == 200
        assert (await http.get("/readyz")).status_code == 503
    late = await made.sandbox.say("are you still there?", sender=nobody())

    async def refused() -> bool:
        tried = [each for each in await made.sandbox.deliveries() if each.event_id == late.event_id]
        return [attempt.answer for attempt in tried[0].attempts] == ["503"]

    await eventually(refused)
    os.kill(made.pid, signal.SIGTERM)
    (made.directory / "go").touch()
    assert await made.ended() == 1
    [complaint] = complaints(made)
    assert complaint.startswith(f"mainstay: {reason}")
    line, *more = told(made, "[FATAL] Uncaught exception: RuntimeError: boom *** token=***")
    assert not more or fault == "in the channel always"  # which goes on failing while the service drains
    assert line["level"] == "critical"
    assert "RuntimeError: boom *** token=***" in line["exception"]
    assert len(logged(made, "service.failing")) == 1
    assert SECRET not in made.log()
    if fault != "in the channel always":
        assert (await verdict_on(made, slow.message_id)).texts == ("begun and done",)

    await made.start(INSTALLED, "serve")
    await made.sandbox.advance(15)
    for said in (late, slow, cause):
        await end_of(made, said.message_id)
        verdict = await verdict_on(made, said.message_id)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert (await delivery_of(made, late.event_id)).state == "acknowledged"
    assert (await verdict_on(made, slow.message_id)).texts == ("begun and done",)


@pytest.mark.parametrize(
    "fault", ["in a thread while another goes on for ever", "in a thread while the loop is held up"]
)
async def test_a_process_that_can_not_end_by_itself_is_ended(tmp_path: Path, fault: str) -> None:
    at_once = '\n[containment]\nexit_grace = "1s"\n'
    configuration = CONFIGURATION.replace("[service]\n", '[service]\ndrain_timeout = "0s"\n') + at_once
    shutil.copy(Path(__file__).with_name("faulty.py"), tmp_path)
    async with project(tmp_path, configuration, sandbox=SandboxSettings(tokens_per_second=0)) as made:
        await migrate(made)
        await made.start(INSTALLED, "serve")
        await made.sandbox.say(fault, sender=nobody())
        assert await made.ended() == 1
        assert len(told(made, "[FATAL] Uncaught exception: RuntimeError")) == 1
        assert "Timeout (0:00:01)!" in made.log()


async def test_a_server_that_fails_lets_answers_finish_and_ends_the_process(mortal: Project) -> None:
    made = mortal
    slow = await made.sandbox.say("slowly", sender=nobody())
    await begun(made, slow.message_id)
    await made.sandbox.say("in the http server", sender=nobody())
    await failing(made)
    (made.directory / "go").touch()
    assert await made.ended() == 1
    assert complaints(made)[0].startswith("mainstay: the HTTP server ended with RuntimeError: boom *** token=***")
    assert len(told(made, "[FATAL]")) == 1
    assert (await verdict_on(made, slow.message_id)).texts == ("begun and done",)


async def test_a_loop_that_is_stopped_ends_the_process_and_loses_no_message(mortal: Project) -> None:
    made = mortal
    said = await made.sandbox.say("stopping the loop", sender=nobody())
    assert await made.ended() == 1
    assert len(told(made, "[FATAL] Uncaught exception: RuntimeError: Event loop stopped")) == 1
    assert made.log().count("Traceback") == 1
    await made.start(INSTALLED, "serve")
    await end_of(made, said.message_id)
    assert (await verdict_on(made, said.message_id)).outcomes == 1


async def test_a_crash_below_python_leaves_the_stacks_of_all_threads(mortal: Project) -> None:
    made = mortal
    await made.sandbox.say("below python", sender=nobody())
    assert await made.ended() == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in made.log()
    assert "in below_python" in made.log()
    assert made.log().count("Thread 0x") > 1


async def test_a_port_that_is_taken_ends_the_start_before_anything_else_began(made: Project) -> None:
    async with visiting(made) as http:
        before = (await http.get("/health")).json()["uptime"]
    process = await asyncio.create_subprocess_exec(INSTALLED, "serve", cwd=made.directory, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(30):
        announced, complained = await process.communicate()
    assert (process.returncode, announced) == (1, b"")
    port = httpx2.URL(made.url).port
    assert complained.decode().startswith(f"mainstay: port {port} on 127.0.0.1 is taken by process {made.pid} (")
    assert len(complained.splitlines()) == 1
    assert (await answered(made, "behave")).text == "well done"
    async with visiting(made) as http:
        assert (await http.get("/health")).json()["uptime"] > before


async def test_where_the_port_is_taken_nothing_is_left_behind(made: Project, tmp_path: Path) -> None:
    port = str(httpx2.URL(made.url).port)
    process = await asyncio.create_subprocess_exec(
        INSTALLED, "serve", "--port", port, cwd=tmp_path, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(30):
        await process.communicate()
    assert process.returncode == 1
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_an_agent_that_can_not_be_built_ends_the_start_with_its_own_line_and_code(tmp_path: Path) -> None:
    (tmp_path / "faulty.py").write_text("def factory():\n    raise LookupError('no such thing')\n")
    async with project(tmp_path, CONFIGURATION) as made:
        await migrate(made)
        process = await asyncio.create_subprocess_exec(
            INSTALLED, "serve", cwd=made.directory, stdout=PIPE, stderr=PIPE
        )
        async with asyncio.timeout(30):
            _, complained = await process.communicate()
    assert process.returncode == 2
    [complaint] = [line for line in complained.decode().splitlines() if not line.startswith("{")]
    assert complaint.startswith("mainstay: service.responder: faulty:factory() failed: LookupError: no such thing")
    assert "[FATAL]" not in complained.decode()
