"""The clock restarts what runs, and what is done, at its time; with a wall clock that the test sets."""

import asyncio
import os
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.supervisor.conftest import WITHIN_S, Home

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.cron import keep_cron
from mainstay.supervisor.daemon import Supervisor
from mainstay.supervisor.events import Unwanted, Wanted
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Instance, Reason, State
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.plan import Plan
from mainstay.supervisor.state import Lifecycle
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

JUST_BEFORE = datetime(2026, 6, 1, 2, 59, 59, 900_000, tzinfo=UTC)


async def until(supervisor: Supervisor, holds: Callable[[dict[str, Instance]], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not holds(supervisor.instances):
            await supervisor.moved()


async def test_what_runs_and_what_is_done_is_started_again_and_what_is_stopped_is_not(
    home: Home, keeper: Keeper
) -> None:
    clock = ManualClock(JUST_BEFORE)
    apps = {
        "web": AppSettings(command=("sleep", "600"), cron_restart="* * * * *", instances=2),
        "done": AppSettings(command=("true",), cron_restart="* * * * *", autorestart=False),
        "off": AppSettings(command=("sleep", "600"), cron_restart="* * * * *"),
        "other": AppSettings(command=("sleep", "600")),
    }
    plan = Plan(home=home.path, directory=home.path, apps=apps, environ={"PATH": os.environ["PATH"]})
    collector = Collector(notice=lambda _: None)
    collector.start()
    lifecycle = Lifecycle(home.path, clock)
    supervisor = Supervisor(plan, keeper=keeper, collector=collector, lifecycle=lifecycle, kept=None, clock=clock)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(supervisor.run())
        await asyncio.sleep(0)
        for name in ("web:0", "web:1", "done:0", "other:0"):
            supervisor.feed(name, Wanted())
        expected = [State.READY, State.READY, State.EXITED, State.STOPPED, State.READY]
        await until(supervisor, lambda now: [each.state for each in now.values()] == expected)
        clock.advance(0.2)
        await until(supervisor, lambda now: [each.restarted for each in now.values()] == [1, 1, 1, 0, 0])
        await until(supervisor, lambda now: [each.state for each in now.values()] == expected)
        [restart] = supervisor.instances["web:1"].restarts
        assert (restart.reason, restart.detail) == (Reason.CRON, "cron: * * * * *")
        for name in supervisor.instances:
            supervisor.feed(name, Unwanted())
        await until(supervisor, lambda now: all(each.state is State.STOPPED for each in now.values()))
        running.cancel()
    collector.close()


async def test_a_plan_that_is_changed_is_followed() -> None:
    clock, plan = ManualClock(JUST_BEFORE), {"web": "0 * * * *", "late": "30 * * * *"}
    restarted: asyncio.Queue[str] = asyncio.Queue()
    looked = asyncio.Event()

    def planned() -> dict[str, str]:
        looked.set()
        return plan

    async def seen() -> None:
        """Until what holds now was looked at: the second look begins when the first is over."""
        for _ in range(2):
            looked.clear()
            await looked.wait()

    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(
            keep_cron(planned, lambda app, _: restarted.put_nowait(app), clock, every_s=0.01)
        )
        await seen()
        clock.advance(0.2)
        assert await restarted.get() == "web"
        plan |= {"web": "20 * * * *"}
        await seen()
        clock.advance(20 * 60)
        assert await restarted.get() == "web"
        del plan["web"]
        await seen()
        clock.advance(10 * 60)
        assert await restarted.get() == "late"
        clock.advance(3600)
        assert await restarted.get() == "late"
        await seen()
        keeping.cancel()
    assert restarted.empty()
