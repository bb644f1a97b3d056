"""The console keeps its promise through kills: one outcome a message, and no client that has to know of them."""

import asyncio
import json
import random
import sqlite3
import sys
from asyncio.subprocess import PIPE
from contextlib import aclosing, closing
from pathlib import Path

import httpx2
import pytest
from tests.process.conftest import eventually, visiting

from mainstay.cli.talk import Talk
from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

CONFIGURATION = """
[inbox]
lease = "2s"
"""
MESSAGES = 24
SANDBOX = SandboxSettings(tokens_per_second=60)


def token(made: Project) -> str:
    return json.loads((made.directory / ".mainstay" / "tokens.json").read_text())["operator"]


def kept(made: Project) -> list[tuple[str, str]]:
    """The state of every accepted message, and of its outcome."""
    with closing(sqlite3.connect(made.directory / ".mainstay" / "mainstay.db")) as database:
        query = "select i.state, coalesce(o.state, '') from inbox i left join channel_outcomes o using (turn_id)"
        return database.execute(query).fetchall()


async def followed(made: Project, number: int) -> tuple[str, dict[str, object]]:
    """The text as it was streamed, through all that happens, and the outcome."""
    text = ""
    async with Talk(f"{made.url}/chat", token(made), silent_s=60.0) as talk:
        said = talk.say(f"question {number}", conversation=f"c{number % 8}", sender="anna")
        async with aclosing(said) as events:
            async for event in events:
                if event.name == "text":
                    text = event.data.get("replace", text + event.data.get("append", ""))
                if event.name == "finished":
                    return text, dict(event.data)
    raise AssertionError("the answer ended without an outcome")


async def test_kills_at_random_moments_leave_every_message_one_outcome(tmp_path: Path) -> None:
    chance = random.Random(5)
    async with project(tmp_path, CONFIGURATION, sandbox=SANDBOX) as made:
        await made.start()
        async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(followed(made, number)) for number in range(MESSAGES)]
            for _ in range(3):
                await asyncio.sleep(chance.uniform(0.3, 1.5))
                await made.kill()
                await made.start()
        for number, task in enumerate(asked):
            streamed, outcome = task.result()
            assert outcome["outcome"] == "answered"
            assert f"question {number}" in str(outcome["text"])
            assert outcome["text"].startswith(streamed), "what was shown is what holds"
        assert kept(made) == [("finished", "shown")] * MESSAGES
        async with visiting(made) as http:
            bearer = {"Authorization": f"Bearer {token(made)}"}
            for task in asked:
                _, outcome = task.result()
                assert (await http.get(f"/chat/{outcome['message_id']}", headers=bearer)).json() == outcome
        await made.end()


async def test_a_kill_before_the_outcome_is_told_costs_who_waits_nothing_but_time(tmp_path: Path) -> None:
    async with project(tmp_path, CONFIGURATION, sandbox=SandboxSettings(tokens_per_second=0)) as made:
        await made.start("-m", "mainstay.testing.dying", "turn.finished")
        command = (sys.executable, "-m", "mainstay", "chat", "--json", "hello")
        asking = await asyncio.create_subprocess_exec(*command, cwd=made.directory, stdout=PIPE, stderr=PIPE)
        assert await made.ended() == -9
        await made.start()
        async with asyncio.timeout(60):
            printed, complaints = await asking.communicate()
        assert asking.returncode == 0, complaints.decode()
        assert json.loads(printed)["outcome"] == "answered"
        assert kept(made) == [("finished", "shown")]
        await made.end()


async def test_a_stop_cuts_nobody_off_from_the_outcome(tmp_path: Path) -> None:
    """In a service that has no other channel."""
    configuration = '[channels.console]\nwait = "1m"\n[service]\ndrain_timeout = "0s"\n'
    async with project(tmp_path, configuration, sandbox=SandboxSettings(tokens_per_second=20)) as made:
        await made.start()
        assert {"console", "feishu"} & set((await made.health())["dependencies"]) == {"console"}  # type: ignore[call-overload]
        bearer = {"Authorization": f"Bearer {token(made)}"}
        said = {"text": "hello", "message_id": "m-1"}
        async with visiting(made) as http, asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(http.post("/chat", json=said, headers=bearer))

            async def answering() -> bool:
                return bool((await http.get("/chat/m-1", headers=bearer)).json().get("text"))

            await eventually(answering)
            assert await made.end() == 0
            response = await waiting
        assert (response.status_code, response.json()["message_id"]) == (202, "m-1")
        await made.start()
        async with visiting(made) as http:
            again: httpx2.Response = await http.post("/chat", json=said, headers=bearer)
            assert (again.status_code, again.json()["outcome"]) == (200, "answered")
        await made.end()
