"""What a timed block counts."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator

import pytest

from mainstay.health.model import AgentReport
from mainstay.health.monitor import HealthMonitor
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor(clock: ManualClock) -> HealthMonitor:
    return HealthMonitor(clock=clock)


def manager(monitor: HealthMonitor) -> AgentReport:
    return monitor.get_metrics()["agents"]["manager"]


def counts(monitor: HealthMonitor) -> tuple[int, int, int]:
    """Answered, failed, errors."""
    agent = manager(monitor)
    return agent["successCount"], agent["errorCount"], monitor.get_metrics()["errors"]["total"]


async def test_a_block_is_timed_and_counted(monitor: HealthMonitor, clock: ManualClock) -> None:
    with monitor.call("manager"):
        clock.advance(1.5)
    async with monitor.call("manager"):
        clock.advance(0.5)
    assert manager(monitor)["avgLatency"] == 1000
    assert counts(monitor) == (2, 0, 0)


@pytest.mark.parametrize(
    ("error", "category"),
    [(TimeoutError("read timed out"), "timeout"), (ConnectionResetError("reset by peer"), "connection")],
)
async def test_an_exception_counts_by_its_category_and_goes_on(
    monitor: HealthMonitor, error: Exception, category: str
) -> None:
    with pytest.raises(type(error)), monitor.call("manager"):
        raise error
    with pytest.raises(type(error)):
        async with monitor.call("manager"):
            raise error
    assert counts(monitor) == (0, 2, 2)
    assert monitor.get_metrics()["errors"]["byCategory"] == {category: 2}
    assert monitor.get_metrics()["lastError"]["type"] == category


@pytest.mark.parametrize("error", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_what_is_cancelled_is_not_counted(monitor: HealthMonitor, error: type[BaseException]) -> None:
    with pytest.raises(error), monitor.call("manager"):
        raise error
    assert counts(monitor) == (0, 0, 0)


async def test_an_inner_call_moves_no_status(monitor: HealthMonitor) -> None:
    with pytest.raises(ValueError, match="x"), monitor.call("okr", root=False):
        raise ValueError("x")
    report = monitor.get_metrics()
    assert report["agents"]["okr"]["errorCount"] == 1
    assert report["window"]["calls"] == 0


async def test_a_decorated_function_keeps_its_name_arguments_and_result(monitor: HealthMonitor) -> None:
    @monitor.call("manager")
    def double(number: int) -> int:
        """Twice."""
        return 2 * number

    assert double(21) == 42
    assert double(number=2) == 4
    assert (double.__name__, double.__doc__) == ("double", "Twice.")
    assert counts(monitor) == (2, 0, 0)


async def test_calls_of_a_decorated_coroutine_may_overlap(monitor: HealthMonitor, clock: ManualClock) -> None:
    first_runs, second_ran = asyncio.Event(), asyncio.Event()

    @monitor.call("manager")
    async def answer(*, first: bool) -> None:
        if first:
            first_runs.set()
            await second_ran.wait()
        else:
            clock.advance(1)

    async with asyncio.TaskGroup() as group:
        group.create_task(answer(first=True))
        await first_runs.wait()
        clock.advance(4)
        await answer(first=False)
        second_ran.set()
    assert counts(monitor) == (2, 0, 0)
    assert manager(monitor)["avgLatency"] == (5000 + 1000) / 2


async def test_a_cancelled_coroutine_is_not_counted(monitor: HealthMonitor) -> None:
    @monitor.call("manager")
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await hang()
    assert counts(monitor) == (0, 0, 0)


async def test_a_generator_counts_once_when_it_is_used_up(monitor: HealthMonitor, clock: ManualClock) -> None:
    @monitor.call("manager")
    def words() -> Generator[str, str, int]:
        clock.advance(1)
        got = yield "one"
        yield got
        return 7

    def outer() -> Iterator[object]:
        yield (yield from words())

    generator = words()
    assert next(generator) == "one"
    assert generator.send("two") == "two"
    assert counts(monitor) == (0, 0, 0)
    with pytest.raises(StopIteration, match="7"):
        next(generator)
    assert counts(monitor) == (1, 0, 0)
    assert manager(monitor)["avgLatency"] == 1000


async def test_a_stream_counts_once_when_it_is_used_up(monitor: HealthMonitor, clock: ManualClock) -> None:
    @monitor.call("manager")
    async def stream() -> AsyncGenerator[int, None]:
        for number in range(3):
            clock.advance(1)
            yield number

    assert [number async for number in stream()] == [0, 1, 2]
    assert counts(monitor) == (1, 0, 0)
    assert manager(monitor)["avgLatency"] == 3000


async def test_a_stream_that_breaks_counts_as_failed(monitor: HealthMonitor) -> None:
    @monitor.call("manager")
    async def stream() -> AsyncGenerator[int, None]:
        yield 1
        raise TimeoutError("no more")

    with pytest.raises(TimeoutError):
        async for _ in stream():
            pass
    assert counts(monitor) == (0, 1, 1)


async def test_closing_a_stream_early_ends_it_at_once_and_counts_nothing(monitor: HealthMonitor) -> None:
    ended = False

    @monitor.call("manager")
    async def stream() -> AsyncGenerator[int, None]:
        nonlocal ended
        try:
            yield 1
            yield 2
        finally:
            ended = True

    items = stream()
    assert await anext(items) == 1
    await items.aclose()
    assert ended
    assert counts(monitor) == (0, 0, 0)
