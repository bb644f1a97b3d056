"""A command that is asked how an app is leaves nothing behind: neither a process nor its end, whoever dies."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from tests.supervisor.conftest import WITHIN_S, Home

from mainstay.errors import ConfigError
from mainstay.notify import MARKER
from mainstay.supervisor.command import Launch
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.probes.asking import ask
from mainstay.supervisor.probes.commands import Commands, Order
from mainstay.supervisor.probes.model import ProbeSettings, Result

pytestmark = pytest.mark.anyio

NAME = "web:0:liveness"
LEAVES = """
import os, subprocess, sys, time
for session in (False, True):
    subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"], start_new_session=session)
open("there", "w").close()
"""
HANGS = f"{LEAVES}\ntime.sleep(600)"


@asynccontextmanager
async def commands(home: Home, keeper: Keeper) -> AsyncIterator[Commands]:
    """What a daemon has, and does."""

    async def hear() -> None:
        async for child, how in keeper.ends():
            if not found.has_ended(child, how):
                early[child] = how  # noqa: PERF403  it goes on without end

    early: dict[Child, Ended] = {}
    async with asyncio.TaskGroup() as hearing:
        task = hearing.create_task(hear())
        async with asyncio.TaskGroup() as tasks:
            found = Commands(keeper, home.path, tasks, early)
            yield found
        task.cancel()
    assert not early


def order(home: Home, *argv: str) -> Order:
    env = {"PATH": os.environ["PATH"]}
    return lambda: Launch(argv=argv, cwd=home.path, env=env, umask=0o022, identity=None)


def python(home: Home, program: str) -> Order:
    return order(home, "python3", "-I", "-S", "-c", program)


async def ask_with(found: Commands, launch: Order, timeout_s: float = 60.0) -> Result:
    probe = ProbeSettings(command=launch().argv, timeout=timeout_s)
    return await ask(NAME, probe, commands=found, order=launch)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds():  # noqa: ASYNC110  the world tells nobody
            await asyncio.sleep(0.01)


async def nothing_is_left(home: Home, keeper: Keeper) -> None:
    assert home.everybody() == ()
    assert keeper.children == ()
    assert (await home.connect()).children == ()


async def test_it_passes_with_exit_code_0(home: Home, keeper: Keeper) -> None:
    async with commands(home, keeper) as found:
        assert await ask_with(found, order(home, "true")) == Result(passed=True, detail="exit code 0")
        assert await ask_with(found, order(home, "false")) == Result(passed=False, detail="exit code 1")
        killed = await ask_with(found, order(home, "sh", "-c", "kill -9 $$"))
        assert killed == Result(passed=False, detail="killed by SIGKILL")
        missing = await ask_with(found, order(home, "no-such-program"))
        assert missing.passed is False
        assert "there is no command 'no-such-program'" in missing.detail
    await nothing_is_left(home, keeper)


async def test_when_its_time_is_over_nothing_of_it_is_left(home: Home, keeper: Keeper) -> None:
    async with commands(home, keeper) as found, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask_with(found, python(home, HANGS), timeout_s=3.0))
        await until((home.path / "there").exists)
        assert len(home.everybody()) == 3
        assert await asking == Result(passed=False, detail="no answer within 3s")
        assert home.everybody() == ()
    await nothing_is_left(home, keeper)


async def test_what_it_leaves_behind_ends_with_it(home: Home, keeper: Keeper) -> None:
    async with commands(home, keeper) as found:
        assert (await ask_with(found, python(home, LEAVES))).passed
        assert home.everybody() == ()
    await nothing_is_left(home, keeper)


async def test_when_nobody_waits_for_the_answer_nothing_of_it_is_left(home: Home, keeper: Keeper) -> None:
    async with commands(home, keeper) as found, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask_with(found, python(home, HANGS)))
        await until((home.path / "there").exists)
        asking.cancel()
        early = tasks.create_task(ask_with(found, order(home, "sleep", "600")))
        await asyncio.sleep(0)
        early.cancel()  # while it is being started
    await nothing_is_left(home, keeper)


async def test_what_a_daemon_that_was_killed_has_left_is_ended_by_the_next_one(home: Home, keeper: Keeper) -> None:
    left, name = python(home, HANGS)(), f"{NAME}:1f2e3d4c"
    await keeper.spawn(name, left.argv, env={**left.env, MARKER: home.marker(name)}, cwd=left.cwd)
    await until((home.path / "there").exists)
    after = await home.connect()
    web = await home.python(after, "web:0", "import time; time.sleep(600)")
    async with commands(home, after) as found:
        assert set(found.take_over({kept.child: kept for kept in after.children})) == {web}
        await until(lambda: {kept.child for kept in after.children} == {web})
    assert home.everybody() == (web,)
    assert {kept.child for kept in (await home.connect()).children} == {web}


async def test_what_can_not_be_run_is_an_answer_too(home: Home, keeper: Keeper) -> None:
    def refused() -> Launch:
        raise ConfigError("there is no user web")

    probe = ProbeSettings(command=("true",), timeout=60.0)
    async with commands(home, keeper) as found:
        result = await ask(NAME, probe, commands=found, order=refused)
    assert result == Result(passed=False, detail="there is no user web")


async def test_who_waits_for_a_place_may_have_another_name_when_it_comes(home: Home, keeper: Keeper) -> None:
    names = {"web:0/next": order(home, "true")}
    probe = ProbeSettings(command=("true",), timeout=60.0)
    async with commands(home, keeper) as found, asyncio.TaskGroup() as tasks:
        last = order(home, "sh", "-c", "until test -e go; do sleep 0.01; done")
        for _ in range(8):
            tasks.create_task(ask_with(found, last))
        await asyncio.sleep(0)
        asking = ask("web:0/next:liveness", probe, commands=found, order=lambda: names["web:0/next"]())
        waiting = tasks.create_task(asking)
        await asyncio.sleep(0)
        del names["web:0/next"]  # it has the slot by now
        (home.path / "go").touch()
    assert waiting.result().passed


async def test_only_so_many_run_at_once(home: Home, keeper: Keeper) -> None:
    counted = order(home, "sh", "-c", "echo begun >> log; sleep 0.1; echo over >> log")
    async with commands(home, keeper) as found, asyncio.TaskGroup() as tasks:
        answers = [tasks.create_task(ask_with(found, counted)) for _ in range(20)]
    assert all(answer.result().passed for answer in answers)
    at_once = most = 0
    for line in (home.path / "log").read_text().split():
        at_once += 1 if line == "begun" else -1
        most = max(most, at_once)
    assert 2 <= most <= 8
