"""An agent of one's own behind Mainstay, and Mainstay's health in an application of one's own."""

import asyncio
import shutil
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.process.conftest import answered, end_of, eventually, nobody, verdict_on

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_responder.py"
INSTALLED = str(Path(sys.executable).with_name("mainstay"))
CONFIGURATION = '[service]\nresponder = "own_responder:factory"\n'

MISBEHAVING = """
from mainstay.messages import Finished, Outcome, TextAppended


class Misbehaving:
    name = "odd"

    async def respond(self, message, turn):
        yield TextAppended("a beginning")
        if message.text == "raise":
            raise RuntimeError("a bug with a secret in it")
        if message.text == "end early":
            return
        yield Finished(outcome=Outcome.ANSWERED, text="well done")


def factory():
    return Misbehaving()
"""


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[Project]:
    async with project(tmp_path, CONFIGURATION, sandbox=SandboxSettings(tokens_per_second=0)) as made:
        yield made


async def migrate(made: Project) -> None:
    migrating = await asyncio.create_subprocess_exec(INSTALLED, "migrate", "--quiet", cwd=made.directory)
    assert await migrating.wait() == 0


async def run_installed(made: Project) -> None:
    """With the command as it is installed: unlike ``python -m`` it does not have the directory on its path."""
    await migrate(made)
    await made.start(INSTALLED, "serve")


async def test_the_example_of_an_own_agent_answers_streams_and_is_counted(made: Project) -> None:
    shutil.copy(EXAMPLE, made.directory)
    await run_installed(made)
    person = nobody()
    first = await answered(made, "one", sender=person)
    second = await answered(made, "two", sender=person)
    assert first.text == "0 messages ago it all began. You said: one"
    assert second.text == "1 messages ago it all began. You said: two"
    agents = (await made.health())["agents"]
    assert isinstance(agents, dict)
    assert (agents["echo"]["callCount"], agents["echo"]["successCount"]) == (2, 2)
    assert agents["manager"]["callCount"] == 0
    assert all(model["total"] == 0 for model in (await made.sandbox.models()).values())


async def test_the_bugs_of_an_own_agent_are_told_once_and_end_nothing(made: Project) -> None:
    (made.directory / "own_responder.py").write_text(MISBEHAVING)
    await run_installed(made)
    for wish in ("raise", "end early"):
        said = await made.sandbox.say(wish, sender=nobody())
        await end_of(made, said.message_id)
        verdict = await verdict_on(made, said.message_id)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)
        assert "Something went wrong inside the service." in verdict.texts[0]
        assert "secret" not in verdict.texts[0]
    assert (await answered(made, "behave")).text == "well done"
    report = await made.health()
    assert report["errors"]["byCategory"] == {"internal": 2}  # type: ignore[index]
    odd = report["agents"]["odd"]  # type: ignore[index]
    assert (odd["callCount"], odd["errorCount"]) == (3, 2)


async def test_an_agent_that_is_not_there_ends_the_start_with_one_line(made: Project) -> None:
    await migrate(made)
    process = await asyncio.create_subprocess_exec(INSTALLED, "serve", cwd=made.directory, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(30):
        told, complaints = await process.communicate()
    assert b"ready" not in told
    lines = [line for line in complaints.decode().splitlines() if not line.startswith("{")]
    assert process.returncode == 2
    assert len(lines) == 1
    assert lines[0].startswith("mainstay: service.responder: own_responder:factory: no module 'own_responder'")


APPLICATION = """
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from mainstay.health.monitor import HealthMonitor

monitor = HealthMonitor()


async def work(request):
    async with monitor.call("OkrReviewer"):
        if "fail" in request.query_params:
            raise TimeoutError("no answer")
    return PlainTextResponse("done")


async def rooms(request):
    return PlainTextResponse(",".join(sorted(name for name in sys.modules if name.startswith("mainstay."))))


app = Starlette(routes=[Route("/work", work), Route("/rooms", rooms)])
app.mount("/", monitor.asgi())

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="critical")
"""


async def test_an_application_of_ones_own_takes_the_health_room_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(sys.executable, "application.py", str(port), cwd=tmp_path)
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:

            async def up() -> bool:
                try:
                    return (await http.get("/livez")).status_code == 200
                except httpx2.HTTPError:
                    return False

            await eventually(up)
            assert (await http.get("/work")).text == "done"
            # uvicorn hangs up after an exception, whatever it has answered
            failed = await http.get("/work?fail", headers={"Connection": "close"})
            assert failed.status_code == 500
            health = await http.get("/health")
            assert (health.status_code, health.json()["status"]) == (200, "degraded")
            reviewer = health.json()["agents"]["okr_reviewer"]
            assert (reviewer["callCount"], reviewer["errorCount"]) == (2, 1)
            assert health.json()["errors"]["timeouts"] == 1
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get("/nowhere")).status_code == 404
            rooms = {name.split(".")[1] for name in (await http.get("/rooms")).text.split(",")}
            ground = {"asgi", "bus", "checks", "clock", "errors", "events", "messages", "settings", "units"}
            assert rooms - ground <= {"health", "logs", "recovery"}
    finally:
        process.kill()
        await process.wait()
