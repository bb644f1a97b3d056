"""A part that fails is reported and started again, or ends the service; none is missing without anybody knowing."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.containment.conftest import Ended, Reports

from mainstay.clock import SystemClock
from mainstay.containment.model import ContainmentSettings, Origin, ServiceFailed
from mainstay.containment.parts import Parts
from mainstay.errors import ConfigError

pytestmark = pytest.mark.anyio

IMPATIENT = ContainmentSettings(max_errors=1000, window=2.0)  # at most 1 ms between two starts


def parts_of(ended: Ended, reports: Reports) -> Parts:
    return Parts(IMPATIENT, report=reports, ending=ended.ending, clock=SystemClock())


class Part:
    """Does what it is told, one thing at each start, and then runs as it should."""

    def __init__(self, *ends: Callable[[], Awaitable[object]]) -> None:
        self.starts = 0
        self.settled = asyncio.Event()
        self._ends = iter(ends)

    async def run(self) -> None:
        self.starts += 1
        end = next(self._ends, None)
        if end is None:
            self.settled.set()
            await asyncio.Event().wait()
        else:
            await end()


async def raises() -> None:
    raise RuntimeError("boom")


async def returns() -> None:
    return


async def cancels_itself() -> None:
    waiting = asyncio.get_running_loop().create_future()
    waiting.cancel()
    await waiting


async def is_cancelled_by_a_stranger() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.Event().wait()


async def loses_a_task_of_its_own() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(raises())
        await asyncio.Event().wait()


async def test_a_part_is_started_again_whatever_ended_it(ended: Ended) -> None:
    reports = Reports()
    ends = (raises, returns, cancels_itself, is_cancelled_by_a_stranger, loses_a_task_of_its_own)
    part, other = Part(*ends), Part()
    async with asyncio.timeout(20), parts_of(ended, reports) as parts:
        parts.keep_going("a part", part.run)
        parts.keep_going("another", other.run)
        await part.settled.wait()
        assert part.starts == len(ends) + 1
        assert other.starts == 1
    assert [(origin, where) for origin, where, _, _ in reports.seen] == [(Origin.PART, "a part")] * len(ends)
    assert [str(error) if error else words for _, _, error, words in reports.seen] == [
        "boom",
        "it came to its end, although it runs as long as the service",
        "it was cancelled, and not by the service",
        "it was cancelled, and not by the service",
        "unhandled errors in a TaskGroup (1 sub-exception)",
    ]
    assert ended.ending.failure is None


async def test_a_part_that_a_stranger_cancels_while_it_waits_for_its_start_starts_all_the_same(
    ended: Ended,
) -> None:
    patient = ContainmentSettings(max_errors=1, window=7200.0)
    reports, part = Reports(), Part(raises)
    async with asyncio.timeout(20):
        async with Parts(patient, report=reports, ending=ended.ending, clock=SystemClock()) as parts:
            parts.keep_going("a part", part.run)
            await reports.count(1)
            [task] = [task for task in asyncio.all_tasks() if task.get_name() == "a part"]
            await asyncio.sleep(0)
            task.cancel()
            await reports.count(2)
            assert not task.done()


@pytest.mark.parametrize("end", [raises, returns, cancels_itself, is_cancelled_by_a_stranger])
async def test_a_part_that_can_not_be_started_again_is_reported_as_missing(
    ended: Ended, end: Callable[[], Awaitable[None]]
) -> None:
    reports, part = Reports(), Part(end)
    async with asyncio.timeout(20), parts_of(ended, reports) as parts:
        parts.run_once("a part", part.run)
        await reports.count(1)
        await asyncio.sleep(0.01)
    assert [(origin, where) for origin, where, _, _ in reports.seen] == [(Origin.VITAL, "a part")]
    assert part.starts == 1


async def test_an_error_that_says_what_to_do_ends_the_service_as_it_is(ended: Ended) -> None:
    wrong = ConfigError("responder: no such module")

    async def misconfigured() -> None:
        raise wrong

    reports = Reports()
    async with asyncio.timeout(20), parts_of(ended, reports) as parts:
        parts.run_once("a part", misconfigured)
        await ended.ending.asked.wait()
    assert ended.ending.failure is wrong
    assert reports.seen == []


async def test_a_part_may_come_to_its_end_with_the_service_but_not_fail(ended: Ended) -> None:
    reports = Reports()
    ended.ending.asked.set()
    async with asyncio.timeout(20), parts_of(ended, reports) as parts:
        parts.run_once("one", returns)
        parts.run_once("two", raises)
        await reports.count(1)
    assert [where for _, where, _, _ in reports.seen] == ["two"]


async def test_a_part_that_ends_because_the_service_has_failed_is_no_second_failure(ended: Ended) -> None:
    async def fails_as_a_whole() -> None:
        ended.ending.fail(ServiceFailed("a thread died"))

    reports = Reports()
    async with asyncio.timeout(20), parts_of(ended, reports) as parts:
        parts.run_once("a part", fails_as_a_whole)
        await ended.ending.asked.wait()
        await asyncio.sleep(0)
    assert reports.seen == []


async def test_nothing_is_reported_of_parts_that_end_with_their_block(ended: Ended) -> None:
    reports, part, other = Reports(), Part(), Part()

    async def live_and_fail() -> None:
        async with asyncio.timeout(20), parts_of(ended, reports) as parts:
            parts.keep_going("one", part.run)
            parts.run_once("two", other.run)
            await part.settled.wait()
            await other.settled.wait()
            raise LookupError

    with pytest.raises(ExceptionGroup):
        await live_and_fail()
    assert reports.seen == []
