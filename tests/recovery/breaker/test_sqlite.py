"""What one process has found out is respected by the others, and by the next one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from mainstay.errors import Category, StorageUnavailable
from mainstay.recovery.breaker.model import BreakerSettings, State
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.breaker.sqlite import SharedPauses
from mainstay.recovery.breaker.tables import HEAD, pauses
from mainstay.recovery.model import Failure
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
ROOM = "mainstay.recovery.breaker"
LIMITED = Failure(category=Category.RATE_LIMIT, message="slow down", retry_after_s=30)


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    upgrade(url, [ROOM])
    return url


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Worker:
    """One process's breakers."""

    def __init__(self, storage: Storage, clock: ManualClock) -> None:
        self.storage = storage
        self.breakers = Breakers(BreakerSettings(jitter=0.0001), clock=clock)
        self.pauses = SharedPauses(storage, self.breakers, clock=clock)
        self.model = self.breakers.of("model:primary", identity="model:123")

    async def written(self) -> None:
        """What was put down so far is stored."""
        while self.pauses._changes.qsize():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await self.storage.write(lambda tx: None)


@asynccontextmanager
async def worker(url: str, clock: ManualClock) -> AsyncIterator[Worker]:
    storage = Storage(StorageSettings(url=url), clock=clock)
    await storage.open({ROOM: HEAD})
    try:
        async with asyncio.TaskGroup() as tasks:
            made = Worker(storage, clock)
            running = tasks.create_task(made.pauses.run())
            yield made
            running.cancel()
    finally:
        await storage.close()


async def fail(worker: Worker) -> None:
    worker.model.permit().fail(LIMITED)
    await asyncio.sleep(0)
    await worker.written()


async def test_a_second_process_leaves_alone_what_the_first_was_asked_to(url: str, clock: ManualClock) -> None:
    async with worker(url, clock) as first, worker(url, clock) as second:
        await fail(first)
        assert second.model.state is State.CLOSED
        await second.pauses.refresh()
        snapshot = second.model.snapshot()
        assert (snapshot.state, snapshot.cause, round(snapshot.open_s)) == (State.OPEN, "told", 30)
        assert snapshot.failure is not None
        assert (snapshot.failure.category, snapshot.failure.message) == (Category.RATE_LIMIT, "slow down")


async def test_a_restart_goes_on_with_what_is_left_of_the_pause(url: str, clock: ManualClock) -> None:
    async with worker(url, clock) as before:
        await fail(before)
    clock.advance(20)
    async with worker(url, clock) as after:
        await after.pauses.refresh()
        assert round(after.model.snapshot().open_s) == 10
    clock.advance(11)
    async with worker(url, clock) as later:
        await later.pauses.refresh()
        assert later.model.state is State.CLOSED


async def test_a_longer_pause_is_never_cut_short_by_a_shorter_one(url: str, clock: ManualClock) -> None:
    async with worker(url, clock) as first, worker(url, clock) as second:
        await fail(first)
        second.model.open_for(5)
        await asyncio.sleep(0)
        await second.written()
        async with worker(url, clock) as third:
            await third.pauses.refresh()
            assert round(third.model.snapshot().open_s) == 30


async def test_what_closes_again_is_forgotten(url: str, clock: ManualClock) -> None:
    async with worker(url, clock) as first, worker(url, clock) as second:
        await fail(first)
        clock.advance(31)
        first.model.permit().succeed()
        clock.advance(-2)  # where the row would still count
        await asyncio.sleep(0)
        await first.written()
        await second.pauses.refresh()
        assert second.model.state is State.CLOSED


async def test_a_clock_that_was_set_back_makes_no_pause_longer(url: str, clock: ManualClock) -> None:
    async with worker(url, clock) as first, worker(url, clock) as second:
        await fail(first)
        clock.jump(-3600)
        await second.pauses.refresh()
        assert second.model.snapshot().open_s <= 31


@pytest.mark.parametrize("who", ["first", "second"])
async def test_a_clock_that_was_set_back_lets_no_pause_begin_again(url: str, clock: ManualClock, who: str) -> None:
    async with worker(url, clock) as first, worker(url, clock) as second:
        await fail(first)
        asking = first if who == "first" else second
        await asking.pauses.refresh()
        clock.jump(-3600)
        for _ in range(31):
            clock.advance(1)
            await asking.pauses.refresh()
        assert asking.model.snapshot().open_s == 0


async def test_a_category_that_only_a_newer_worker_knows_opens_the_breaker_all_the_same(
    url: str, clock: ManualClock
) -> None:
    async with worker(url, clock) as first, worker(url, clock) as second:
        await fail(first)
        await first.storage.write(lambda tx: tx.execute(update(pauses).values(category="solar_flare")))
        await second.pauses.refresh()
        assert (second.model.state, second.model.snapshot().cause) == (State.OPEN, "told")


async def test_what_it_was_told_it_tells_nobody(url: str, clock: ManualClock) -> None:
    async with worker(url, clock) as first, worker(url, clock) as second:
        await fail(first)
        await second.pauses.refresh()
        await asyncio.sleep(0)
        assert second.pauses._changes.qsize() == 0


async def test_what_is_no_business_of_others_is_not_shared(url: str, clock: ManualClock) -> None:
    async with worker(url, clock) as first:
        first.breakers.of("database", shared=False).open_for(30)
        await asyncio.sleep(0)
        assert first.pauses._changes.qsize() == 0


async def test_a_storage_that_is_away_holds_up_no_call_and_is_counted(url: str, clock: ManualClock) -> None:
    class Away(Storage):
        async def read(self, work: object) -> None:  # type: ignore[override]
            raise StorageUnavailable("gone")

        async def write(self, work: object) -> None:  # type: ignore[override]
            raise StorageUnavailable("gone")

    async with asyncio.TaskGroup() as tasks:
        made = Worker(Away(StorageSettings(url=url), clock=clock), clock)
        running = tasks.create_task(made.pauses.run())
        await made.pauses.refresh()
        made.model.open_for(30)
        while not made.pauses.dropped:  # noqa: ASYNC110
            await asyncio.sleep(0)
        running.cancel()
    assert made.model.state is State.OPEN
