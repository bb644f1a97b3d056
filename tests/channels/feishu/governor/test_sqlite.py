"""The month's calls, over a real database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, func, select

from mainstay.channels.feishu.governor.model import Mode
from mainstay.channels.feishu.governor.quota import Quota
from mainstay.channels.feishu.governor.sqlite import StoredCalls
from mainstay.channels.feishu.tables import HEAD, calls
from mainstay.errors import StorageUnavailable
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

MONTHLY = 100
BEGIN = datetime(2026, 10, 31, 16, tzinfo=UTC)  # the first of November in UTC+8


class Disk(Storage):
    """One that can be full, and counts what is written."""

    is_full = False
    written = 0

    async def write(self, work):
        if self.is_full:
            raise StorageUnavailable("the disk is full")
        self.written += 1
        return await super().write(work)


@dataclass
class Worker:
    """One process of the app."""

    disk: Disk
    clock: ManualClock
    app_id: str = "cli_1"
    told: list[int] = field(default_factory=list)
    monthly: int = MONTHLY

    def __post_init__(self) -> None:
        self.quota = Quota(self.monthly)
        self.stored = StoredCalls(
            self.disk,
            self.app_id,
            quota=self.quota,
            clock=self.clock,
            on_stretched=self.told.append,
            every_s=0.001,
        )

    def call(self, times: int) -> None:
        for _ in range(times):
            self.quota.succeeded(self.clock.now())

    @property
    def used(self) -> int:
        return self.quota.used(self.clock.now())


@pytest.fixture
async def disk(tmp_path: Path) -> AsyncIterator[Disk]:
    url = f"sqlite:///{tmp_path / 'calls.db'}"
    upgrade(url, ["mainstay.channels.feishu"])
    storage = Disk(StorageSettings(url=url, synchronous="normal"), clock=ManualClock())
    await storage.open({"feishu": HEAD})
    yield storage
    await storage.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(BEGIN)


async def test_what_one_process_has_used_the_next_one_knows(disk, clock):
    first = Worker(disk, clock)
    await first.stored.load()
    first.call(7)
    await first.stored.flush()
    assert disk.written == 1
    await first.stored.flush()
    assert disk.written == 1  # there was nothing to be written

    second = Worker(disk, clock)
    await second.stored.load()
    assert second.used == 7
    other = Worker(disk, clock, app_id="cli_2")
    await other.stored.load()
    assert other.used == 0


async def test_two_workers_count_together_in_one_row(disk, clock):
    one, two = Worker(disk, clock), Worker(disk, clock)
    for worker in (one, two, one, two):
        worker.call(5)
        await worker.stored.flush()
    assert (one.used, two.used) == (15, 20)  # what the other has used since comes with the next write

    def rows(tx: Connection) -> int:
        return tx.execute(select(func.count()).select_from(calls)).scalar_one()

    assert await disk.read(rows) == 1


async def test_that_calls_run_short_is_told_once_by_whoever_sees_it_first(disk, clock):
    one, two = Worker(disk, clock), Worker(disk, clock)
    one.call(79)
    await one.stored.flush()
    assert one.told == []
    one.call(1)
    await one.stored.flush()
    two.call(1)
    await two.stored.flush()
    two.call(1)
    await two.stored.flush()
    restarted = Worker(disk, clock)
    await restarted.stored.load()
    restarted.call(1)
    await restarted.stored.flush()
    assert (one.told, two.told, restarted.told) == ([80], [], [])
    assert restarted.quota.mode(clock.now()) is Mode.STRETCHED
    assert restarted.quota._stretch == one.quota._stretch

    clock.advance(timedelta(days=30).total_seconds())  # the next month is told of anew
    one.call(80)
    await one.stored.flush()
    assert one.told == [80, 80]


async def test_who_has_bought_more_calls_is_told_again_and_has_what_is_left_of_those(disk, clock):
    one = Worker(disk, clock)
    one.call(80)
    await one.stored.flush()
    clock.advance(timedelta(days=10).total_seconds())
    two = Worker(disk, clock, monthly=2 * MONTHLY)
    await two.stored.load()
    assert two.quota.mode(clock.now()) is Mode.NORMAL
    two.call(79)
    await two.stored.flush()
    assert two.told == []
    two.call(1)
    await two.stored.flush()
    assert two.told == [160]
    restarted = Worker(disk, clock, monthly=2 * MONTHLY)
    await restarted.stored.load()
    assert restarted.quota.can_spare(clock.now()), "the line begins where the calls ran short, and not before"
    restarted.call(1)
    await restarted.stored.flush()
    assert restarted.told == []


async def test_a_full_disk_loses_no_call(disk, clock, caplog):
    worker = Worker(disk, clock)
    worker.call(3)
    disk.is_full = True
    await worker.stored.flush()
    await worker.stored.flush()
    assert worker.used == 3
    assert len([line for line in caplog.messages if "not written down yet" in line]) == 1
    disk.is_full = False
    worker.call(1)
    await worker.stored.flush()
    assert worker.used == 4
    again = Worker(disk, clock)
    await again.stored.load()
    assert again.used == 4


async def test_who_is_stopped_writes_down_the_rest(disk, clock):
    worker = Worker(disk, clock)
    worker.stored._every_s = 1000.0
    running = asyncio.get_running_loop().create_task(worker.stored.run())
    await asyncio.sleep(0)
    worker.call(9)
    running.cancel()
    await asyncio.wait({running})
    again = Worker(disk, clock)
    await again.stored.load()
    assert again.used == 9


async def test_calls_are_written_while_it_runs_without_being_asked(disk, clock):
    worker = Worker(disk, clock)
    running = asyncio.get_running_loop().create_task(worker.stored.run())
    worker.call(2)
    async with asyncio.timeout(20):
        while worker.quota.unsaved or worker.quota._leaving:  # noqa: ASYNC110  the writer is another thread
            await asyncio.sleep(0.001)
    running.cancel()
    await asyncio.wait({running})
    again = Worker(disk, clock)
    await again.stored.load()
    assert again.used == 2
