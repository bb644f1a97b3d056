"""What becomes of answers and messages when the service stops, can not start, or can not store."""

import asyncio
import os
import resource
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.process.conftest import (
    answered,
    begun,
    delivery_of,
    end_of,
    eventually,
    inbox,
    logged,
    nobody,
    turn_of,
    verdict_on,
    visiting,
)

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project
from mainstay.web.server import listen

pytestmark = pytest.mark.anyio

BRISK = SandboxSettings(tokens_per_second=500)
LONG = "count to 60 slowly"
WHOLE = " 58 59 60"


@pytest.fixture(scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    async with project(tmp_path_factory.mktemp("stops"), sandbox=BRISK) as made:
        await made.start()
        yield made


async def questions_to_models(made: Project) -> int:
    return sum(model["total"] for model in (await made.sandbox.models()).values())


async def test_a_stop_lets_the_answer_finish_and_leaves_new_messages_to_the_next_start(made: Project) -> None:
    said = await made.sandbox.say(LONG, sender=nobody())
    await begun(made, said.message_id)
    asked = await questions_to_models(made)
    stopping = len(logged(made, "service.stopping"))
    os.kill(made.pid, signal.SIGTERM)

    async def heard() -> bool:
        return len(logged(made, "service.stopping")) > stopping

    await eventually(heard)
    late = await made.sandbox.say("are you still there?", sender=nobody())
    assert (await delivery_of(made, late.event_id)).state == "acknowledged"
    assert await made.ended() == 0
    finished = await verdict_on(made, said.message_id)
    assert (finished.outcomes, finished.unfinished) == (1, 0)
    assert finished.texts[0].endswith(WHOLE)
    assert (await verdict_on(made, late.message_id)).state == "none"
    assert await questions_to_models(made) == asked

    await made.start()
    await end_of(made, late.message_id)
    assert [(await verdict_on(made, each.message_id)).outcomes for each in (said, late)] == [1, 1]
    assert await questions_to_models(made) == asked + 1


async def test_a_message_that_is_taken_back_ends_its_answer(made: Project) -> None:
    said = await made.sandbox.say(LONG, sender=nobody())
    await begun(made, said.message_id)
    await made.sandbox.recall(said.message_id)
    ended = await end_of(made, said.message_id)
    assert not ended.text.endswith(WHOLE)
    assert "Stopped" in ended.text
    assert len(ended.replies) == 1


async def test_an_answer_that_is_cut_off_says_so_and_goes_on_in_the_same_card(tmp_path: Path) -> None:
    async with project(tmp_path, '[service]\ndrain_timeout = "0s"\n', sandbox=BRISK) as made:
        await made.start()
        said = await made.sandbox.say(LONG, sender=nobody())
        await begun(made, said.message_id)
        assert await made.end() == 0
        [interrupted] = [
            each for each in (await made.sandbox.record()).messages if each.message_id == said.message_id
        ]
        assert not interrupted.final
        assert "restarting; the answer will go on here" in interrupted.status
        await made.start()
        shown = await end_of(made, said.message_id)
        assert [reply.card_id for reply in shown.replies] == [interrupted.replies[0].card_id]
        assert shown.text.endswith(WHOLE)
        assert "restarting" not in shown.text + shown.status
        verdict = await verdict_on(made, said.message_id)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)
        assert (await made.health())["agents"]["manager"]["callCount"] == 1  # type: ignore[index]


async def test_a_second_signal_cuts_the_drain_short_and_loses_nothing(made: Project) -> None:
    said = await made.sandbox.say("count to 2000 slowly", sender=nobody())
    await begun(made, said.message_id)
    stopping = len(logged(made, "service.stopping"))
    os.kill(made.pid, signal.SIGTERM)

    async def heard() -> bool:
        return len(logged(made, "service.stopping")) > stopping

    await eventually(heard)
    assert await made.end() == 0
    assert (await verdict_on(made, said.message_id)).state == "unfinished"
    await made.sandbox.fault("server-error")  # so that what goes on need not be waited for to its end
    await made.start()
    await end_of(made, said.message_id)
    await made.sandbox.clear()
    verdict = await verdict_on(made, said.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)


UNHEARD = """
import os, sys
os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
from mainstay.cli.main import main
sys.exit(main(["serve"]))
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
async def test_a_service_whose_output_goes_nowhere_starts_answers_and_drains(made: Project) -> None:
    assert await made.end() == 0
    await made.start("-c", UNHEARD)
    said = await made.sandbox.say(LONG, sender=nobody())
    await begun(made, said.message_id)
    assert await made.end() == 0
    assert (await verdict_on(made, said.message_id)).texts[0].endswith(WHOLE)
    await made.start()


def let_files_grow_to(pid: int, size_bytes: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process can be limited on Linux only")
async def test_on_a_full_disk_nothing_is_acknowledged_and_afterwards_nothing_is_lost(made: Project) -> None:
    await answered(made, "hello")
    wal, log = made.directory / ".mainstay" / "mainstay.db-wal", made.directory / "service.log"
    while wal.stat().st_size < 4 * log.stat().st_size:  # the limit is for every file; only the database may hit it
        await answered(made, "hello")
    let_files_grow_to(made.pid, wal.stat().st_size)
    try:
        said = await made.sandbox.say("is there room?", sender=nobody())

        async def refused() -> bool:
            tried = [each for each in await made.sandbox.deliveries() if each.event_id == said.event_id]
            return [attempt.answer for attempt in tried[0].attempts] == ["500"]

        await eventually(refused)
        assert turn_of(made, said.message_id) not in inbox(made)
        async with visiting(made) as http:
            ready = await http.get("/readyz?verbose")
            assert ready.status_code == 503
            assert "disk" in ready.json()["checks"]["database"]
            assert (await http.get("/readyz", headers={"X-Forwarded-For": "203.0.113.7"})).json() == {
                "status": "failed"
            }
            assert (await http.get("/livez")).status_code == 200
            health = await http.get("/health")
            assert (health.status_code, health.json()["status"]) == (503, "unhealthy"), "nothing can be accepted"
            assert health.json()["dependencies"]["database"]["status"] == "down"
    finally:
        let_files_grow_to(made.pid, resource.RLIM_INFINITY)
    await made.sandbox.advance(15)
    assert (await end_of(made, said.message_id)).text
    delivery = await delivery_of(made, said.event_id)
    assert [attempt.answer for attempt in delivery.attempts] == ["500", "200"]
    assert (await verdict_on(made, said.message_id)).outcomes == 1
    async with visiting(made) as http:
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.get("/health")).status_code == 200


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="another process can be limited on Linux only")
async def test_an_answer_that_can_not_be_stored_at_first_is_shown_once_there_is_room(made: Project) -> None:
    await answered(made, "hello")
    wal, log = made.directory / ".mainstay" / "mainstay.db-wal", made.directory / "service.log"
    while wal.stat().st_size < 4 * log.stat().st_size:
        await answered(made, "hello")
    said = await made.sandbox.say(LONG, sender=nobody())
    await begun(made, said.message_id)
    asked, errors = await questions_to_models(made), len(logged(made, "error.seen"))
    let_files_grow_to(made.pid, wal.stat().st_size)
    try:

        async def failed_to_store() -> bool:
            return any(line["data"]["where"] == "turns.settle" for line in logged(made, "error.seen")[errors:])

        await eventually(failed_to_store)
        assert (await verdict_on(made, said.message_id)).state == "unfinished"
    finally:
        let_files_grow_to(made.pid, resource.RLIM_INFINITY)
    assert (await end_of(made, said.message_id)).text.endswith(WHOLE)
    verdict = await verdict_on(made, said.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert await questions_to_models(made) == asked


async def mainstay(directory: Path, *arguments: str) -> tuple[int, list[str]]:
    """Run the command there; its exit code and what it complained of."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MAINSTAY_", "FEISHU_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "mainstay", *arguments, cwd=directory, env=environ, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(30):
        _, complaints = await process.communicate()
    assert process.returncode is not None
    return process.returncode, complaints.decode().splitlines()


async def test_a_taken_port_ends_the_start_and_names_who_holds_it(tmp_path: Path) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        code, complaints = await mainstay(tmp_path, "serve", "--port", str(port))
    assert code == 1
    assert len(complaints) == 1
    assert complaints[0].startswith(f"mainstay: port {port} on 127.0.0.1 is taken by process {os.getpid()} (")


async def test_a_start_without_tables_names_the_command_that_makes_them(tmp_path: Path) -> None:
    code, complaints = await mainstay(tmp_path, "serve", "--port", "0")
    assert (code, len(complaints)) == (1, 1)
    assert "run `mainstay migrate`" in complaints[0]
    assert not (tmp_path / ".mainstay" / "mainstay.db").exists()


async def test_a_start_with_the_tables_of_another_version_names_both_and_the_command(tmp_path: Path) -> None:
    assert (await mainstay(tmp_path, "migrate"))[0] == 0
    with closing(sqlite3.connect(tmp_path / ".mainstay" / "mainstay.db")) as database, database:
        database.execute("update alembic_version set version_num = 'inbox_0000' where version_num = 'inbox_0001'")
    code, complaints = await mainstay(tmp_path, "serve", "--port", "0")
    assert (code, len(complaints)) == (1, 1)
    assert all(word in complaints[0] for word in ("inbox_0001", "inbox_0000", "run `mainstay migrate`"))


async def test_a_broken_configuration_is_one_line_for_each_mistake(tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").write_text('[service]\nport = "many"\nprot = 3000\n\n[channel]\n')
    code, complaints = await mainstay(tmp_path, "serve")
    assert code == 2
    assert [line.partition(": ")[2].partition(": ")[0] for line in complaints] == [
        "mainstay.toml:2",
        "mainstay.toml:3",
        "mainstay.toml:5",
    ]
    assert all(line.startswith("mainstay: ") for line in complaints)
    assert all(word in line for word, line in zip(("'many'", "port", "channels"), complaints, strict=True))


async def test_a_file_that_is_no_toml_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mainstay.toml").write_text("[service\n")
    code, complaints = await mainstay(tmp_path, "serve")
    assert (code, len(complaints)) == (2, 1)
    assert complaints[0].startswith("mainstay: mainstay.toml:1: ")
