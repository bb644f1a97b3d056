"""Real tasks and threads through a breaker, and what comes out."""

import asyncio
import functools
import gc
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from mainstay.errors import Category
from mainstay.recovery.breaker.machine import BreakerMachine
from mainstay.recovery.breaker.model import BreakerSettings, Cause, Change, Refusal, Snapshot, State
from mainstay.recovery.breaker.permits import Breaker, BreakerOpen, Permit
from mainstay.recovery.model import Failure
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio
SETTINGS = BreakerSettings(calls=10, min_calls=3, failure_rate=0.5, open_time=5.0, jitter=0.0, probe_lease=60.0)
DEADLINE_S = 30.0
"""A test that waits for something waits so long for it at most."""


class WrongRequestError(Exception):
    status_code = 400


class World:
    """A breaker on a clock of its own, and all that it announced."""

    def __init__(self, *, slow_after_s: float | None = None) -> None:
        self.clock = ManualClock()
        self.changes: list[Change] = []
        self.breaker = Breaker(
            "weather",
            SETTINGS,
            slow_after_s=slow_after_s,
            clock=self.clock,
            on_change=lambda _, change: self.changes.append(change),
            chance=lambda: 0.5,
        )

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            with pytest.raises(ConnectionError), self.breaker.permit():
                raise ConnectionError("refused")

    def pause_over(self) -> None:
        """Open it, and let the pause pass."""
        self.fail(3)
        assert self.breaker.state is State.OPEN
        self.clock.advance(5.0)
        assert self.breaker.state is State.HALF_OPEN

    @property
    def counts(self) -> tuple[int, int]:
        found = self.breaker.snapshot()
        return found.calls, found.failures


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def half_open(world: World) -> World:
    world.pause_over()
    return world


# What a call may be, and how its outcome is known.


def test_with_judges_the_call(world: World) -> None:
    with world.breaker.permit():
        pass
    world.fail()
    assert world.counts == (2, 1)


async def test_async_with_judges_the_call(world: World) -> None:
    async with world.breaker.permit():
        await asyncio.sleep(0)
    with pytest.raises(ConnectionError):
        async with world.breaker.permit():
            raise ConnectionError
    assert world.counts == (2, 1)


def test_a_function_is_guarded_and_stays_what_it_was(world: World) -> None:
    @world.breaker
    def divide(number: float, *, by: float = 2.0) -> float:
        """Half of it."""
        if by < 0:
            raise TimeoutError
        return number / by

    assert divide(8, by=4) == 2
    assert (divide.__name__, divide.__doc__) == ("divide", "Half of it.")
    for _ in range(2):
        with pytest.raises(TimeoutError):
            divide(1, by=-1)
    assert world.counts == (3, 2)
    with pytest.raises(BreakerOpen, match="weather is left alone for 5s more"):
        divide(1)


class Answering:
    async def __call__(self) -> str:
        await asyncio.sleep(0)
        raise ConnectionError("refused")

    async def method(self) -> str:
        return await self()


@pytest.mark.parametrize(
    "call",
    [Answering(), Answering().method, functools.partial(Answering.method, Answering())],
    ids=["object", "method", "partial"],
)
async def test_what_is_async_is_judged_when_it_has_returned(
    world: World, call: Callable[[], Awaitable[str]]
) -> None:
    guarded = world.breaker(call)
    waiting = guarded()
    assert world.counts == (0, 0)
    with pytest.raises(ConnectionError):
        await waiting
    assert world.counts == (1, 1)


class Streaming:
    async def __call__(self) -> AsyncGenerator[int, None]:
        yield 1


async def async_stream() -> AsyncGenerator[int, None]:
    yield 1


def stream() -> Generator[int, None, None]:
    yield 1


@pytest.mark.parametrize("function", [async_stream, stream, Streaming(), functools.partial(stream)])
def test_a_stream_is_refused_as_it_would_be_a_success_before_it_began(
    world: World, function: Callable[[], object]
) -> None:
    with pytest.raises(TypeError, match="use `permit` around that"):
        world.breaker(function)


def test_the_first_outcome_counts(world: World) -> None:
    refused = Failure(category=Category.CONNECTION, message="refused")
    with world.breaker.permit() as permit:
        permit.fail(refused)
        permit.succeed()
    with suppress(ConnectionError), world.breaker.permit() as permit:
        permit.succeed()
        raise ConnectionError
    with world.breaker.permit() as permit:
        permit.ignore()
    assert world.counts == (2, 1)


def test_of_many_threads_that_report_the_same_call_one_is_heard(world: World) -> None:
    for _ in range(20):
        permit, together = world.breaker.permit(), threading.Barrier(4)

        def report(permit: Permit = permit, together: threading.Barrier = together) -> None:
            together.wait(DEADLINE_S)
            permit.succeed()

        in_threads(report, 4)
        world.breaker.reset()
    permit = world.breaker.permit()
    in_threads(permit.succeed, 4)
    assert world.counts == (1, 0)


def test_a_slow_first_token_is_known_when_it_was_measured() -> None:
    world = World(slow_after_s=2.0)
    for first_token_s in (None, 1.9, 2.0, 3.0):
        with world.breaker.permit() as permit:
            permit.first_token_s = first_token_s
    assert world.breaker.snapshot().slow == 2


def test_without_a_limit_nothing_is_slow(world: World) -> None:
    with world.breaker.permit() as permit:
        permit.first_token_s = 1e9
    assert world.breaker.snapshot().slow == 0


class Interrupted(BaseException):
    pass


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, Interrupted, asyncio.CancelledError])
def test_what_is_no_exception_passes_through_and_counts_for_nothing(
    half_open: World, raised: type[BaseException]
) -> None:
    with pytest.raises(raised), half_open.breaker.permit():
        raise raised
    assert half_open.breaker.state is State.HALF_OPEN
    with half_open.breaker.permit():
        pass
    assert half_open.breaker.state is State.CLOSED


def test_a_generator_that_is_closed_frees_the_slot_and_counts_for_nothing(half_open: World) -> None:
    def pieces() -> Generator[int, None, None]:
        with half_open.breaker.permit():
            yield 1
            yield 2

    reading = pieces()
    assert next(reading) == 1
    with pytest.raises(BreakerOpen, match="while one call tries"):
        half_open.breaker.permit()
    reading.close()
    assert list(pieces()) == [1, 2]
    assert half_open.breaker.state is State.CLOSED


def test_a_refusal_by_another_breaker_within_says_nothing(half_open: World) -> None:
    inner = World()
    inner.fail(3)
    with pytest.raises(BreakerOpen), half_open.breaker.permit(), inner.breaker.permit():
        pass
    assert half_open.breaker.state is State.HALF_OPEN
    half_open.breaker.permit()


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def test_an_error_that_can_not_be_read_reaches_the_caller_and_frees_the_slot(half_open: World) -> None:
    with pytest.raises(UnreadableError), half_open.breaker.permit():
        raise UnreadableError
    half_open.breaker.permit()


def test_the_refusal_says_who_for_how_long_and_why(world: World) -> None:
    world.fail(3)
    world.clock.advance(0.5)
    with pytest.raises(BreakerOpen) as raised:
        world.breaker.permit()
    assert str(raised.value) == "weather is left alone for 4.5s more after connection: refused"
    assert (raised.value.name, raised.value.wait_s) == ("weather", 4.5)
    assert raised.value.failure is not None
    assert raised.value.failure.category is Category.CONNECTION


def test_a_last_resort_is_handed_on(world: World) -> None:
    world.fail(3)
    world.breaker.permit(last_resort=True).ignore()
    with pytest.raises(BreakerOpen):
        world.breaker.permit()


def test_open_for_keeps_everybody_away_and_knows_why(world: World) -> None:
    why = Failure(category=Category.RATE_LIMIT, message="slow down")
    world.breaker.open_for(30.0, why)
    world.breaker.open_for(10.0)
    with pytest.raises(BreakerOpen, match="for 30s more after rate_limit: slow down"):
        world.breaker.permit()
    world.breaker.reset()
    world.breaker.permit()
    assert [change.state for change in world.changes] == [State.OPEN, State.CLOSED]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_wait_that_makes_no_sense_is_ignored(world: World, seconds: float) -> None:
    world.breaker.open_for(seconds)
    assert world.breaker.state is State.CLOSED


# The listener.


def test_each_change_is_announced_once(world: World) -> None:
    world.fail(3)
    world.clock.advance(5.0)
    world.fail()
    world.clock.advance(10.0)
    with world.breaker.permit():
        pass
    found = [(change.state, change.cause, change.open_s) for change in world.changes]
    assert found == [
        (State.OPEN, "failures", 5.0),
        (State.HALF_OPEN, "failures", 0.0),
        (State.OPEN, "failures", 10.0),
        (State.HALF_OPEN, "failures", 0.0),
        (State.CLOSED, None, 0.0),
    ]


def test_a_listener_that_raises_undoes_no_outcome_and_hides_no_error() -> None:
    def angry(_: Breaker, change: Change) -> None:
        told.append(change.state)
        raise RuntimeError("the listener is broken")

    told: list[State] = []
    breaker = Breaker("weather", SETTINGS, clock=ManualClock(), on_change=angry)
    for _ in range(3):
        with pytest.raises(ConnectionError), breaker.permit():
            raise ConnectionError
    assert breaker.state is State.OPEN
    breaker.reset()
    assert told == [State.OPEN, State.CLOSED]


def test_a_listener_may_use_the_breaker_and_wait_for_another_thread_that_does() -> None:
    def ask() -> None:
        seen.append(breaker.state)

    def curious(_: Breaker, change: Change) -> None:
        ask()
        in_threads(ask, 1)

    seen: list[State] = []
    breaker = Breaker("weather", SETTINGS, clock=ManualClock(), on_change=curious)
    breaker.open_for(5.0)
    assert seen == [State.OPEN, State.OPEN]


# The eleven promises that other breakers were asked for, and did not keep.


def in_threads(call: Callable[[], object], count: int) -> None:
    with ThreadPoolExecutor(count) as pool:
        for each in [pool.submit(call) for _ in range(count)]:
            each.result(DEADLINE_S)


async def test_p01_of_a_hundred_concurrent_tasks_exactly_one_passes_after_the_pause(half_open: World) -> None:
    passed, refused, decided = 0, 0, asyncio.Event()

    async def call() -> None:
        nonlocal passed, refused
        try:
            async with half_open.breaker.permit():
                passed += 1
                await decided.wait()
        except BreakerOpen:
            refused += 1
            if refused == 99:
                decided.set()

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for _ in range(100):
            group.create_task(call())
    assert (passed, refused) == (1, 99)
    assert half_open.breaker.state is State.CLOSED


async def test_p02_a_cancelled_call_counts_for_nothing_and_cancellation_reaches_it(world: World) -> None:
    world.fail(2)
    ended: list[str] = []

    @world.breaker
    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        tasks = [group.create_task(hang()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
    assert ended == ["cancelled"] * 5
    assert world.counts == (2, 2), "neither a failure, nor a success that hides the failures before"
    world.fail()
    assert world.breaker.state is State.OPEN


async def test_p02_a_cancelled_probe_closes_nothing_and_frees_the_slot(half_open: World) -> None:
    async def hang() -> None:
        async with half_open.breaker.permit():
            await asyncio.Event().wait()

    probe = asyncio.create_task(hang())
    await asyncio.sleep(0)
    with pytest.raises(BreakerOpen):
        half_open.breaker.permit()
    probe.cancel()
    with suppress(asyncio.CancelledError):
        await probe
    assert half_open.breaker.state is State.HALF_OPEN
    half_open.fail()
    assert half_open.breaker.state is State.OPEN


def test_p03_a_success_that_began_before_the_trouble_does_not_close(world: World) -> None:
    early, later = world.breaker.permit(), world.breaker.permit()
    world.fail(3)
    early.succeed()
    assert world.breaker.state is State.OPEN
    world.clock.advance(5.0)
    probe = world.breaker.permit()
    later.succeed()
    with pytest.raises(BreakerOpen):
        world.breaker.permit()
    probe.succeed()
    assert world.breaker.state is State.CLOSED


def test_p04_a_wrong_request_neither_hides_failures_nor_closes(world: World) -> None:
    world.fail(2)
    for _ in range(20):
        with pytest.raises(WrongRequestError), world.breaker.permit():
            raise WrongRequestError
    world.fail()
    assert world.breaker.state is State.OPEN
    world.clock.advance(5.0)
    with pytest.raises(WrongRequestError), world.breaker.permit():
        raise WrongRequestError
    assert world.breaker.state is State.HALF_OPEN
    world.fail()
    assert world.breaker.state is State.OPEN


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e8])
def test_p05_a_wall_clock_that_jumps_changes_nothing(world: World, jump: float) -> None:
    world.fail(2)
    world.clock.jump(jump)
    world.fail()
    world.clock.jump(jump)
    assert world.breaker.snapshot().open_s == 5.0
    world.clock.advance(4.9)
    world.clock.jump(-3 * jump)
    with pytest.raises(BreakerOpen):
        world.breaker.permit()
    world.clock.advance(0.2)
    with world.breaker.permit():
        world.clock.jump(jump)
        with pytest.raises(BreakerOpen):
            world.breaker.permit()
    assert world.breaker.state is State.CLOSED


async def test_p06_a_stream_that_breaks_in_the_middle_is_a_failure(world: World) -> None:
    async def pieces() -> AsyncGenerator[int, None]:
        async with world.breaker.permit():
            yield 1
            raise ConnectionError("peer closed connection")

    reading = pieces()
    assert await anext(reading) == 1
    assert world.counts == (0, 0), "a stream is nothing before its end"
    with pytest.raises(ConnectionError):
        await anext(reading)
    assert world.counts == (1, 1)


def test_p07_no_thread_waits_for_the_call_of_another(world: World) -> None:
    all_are_calling = threading.Barrier(8)

    @world.breaker
    def call() -> None:
        all_are_calling.wait(DEADLINE_S)

    in_threads(call, 8)
    assert world.counts == (8, 0)


def test_p07_of_a_hundred_threads_exactly_one_passes_after_the_pause(half_open: World) -> None:
    together, all_have_asked = threading.Barrier(100), threading.Barrier(100)
    passed: list[Permit] = []

    def call() -> None:
        together.wait(DEADLINE_S)
        with suppress(BreakerOpen):
            passed.append(half_open.breaker.permit())
        all_have_asked.wait(DEADLINE_S)

    in_threads(call, 100)
    assert len(passed) == 1
    passed[0].succeed()
    assert half_open.breaker.state is State.CLOSED


def test_p07_of_threads_and_their_tasks_together_exactly_one_passes_after_the_pause(half_open: World) -> None:
    together, passed = threading.Barrier(20), []

    async def call() -> None:
        await asyncio.sleep(0)
        with suppress(BreakerOpen):
            passed.append(half_open.breaker.permit())

    async def calls() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(call())

    def thread() -> None:
        together.wait(DEADLINE_S)
        with suppress(BreakerOpen):
            passed.append(half_open.breaker.permit())
        asyncio.run(calls())

    in_threads(thread, 20)
    assert len(passed) == 1


def test_p08_the_call_that_opens_it_raises_its_own_error(world: World) -> None:
    errors = [ConnectionError(str(number)) for number in range(3)]
    for error in errors:
        with pytest.raises(ConnectionError) as raised, world.breaker.permit():
            raise error
        assert raised.value is error
        assert raised.value.__context__ is None
    assert world.breaker.state is State.OPEN


async def test_p09_the_end_of_the_process_is_not_kept_back(world: World) -> None:
    @world.breaker
    async def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await leave()
    assert world.counts == (0, 0)


def test_p10_a_probe_that_hangs_does_not_keep_it_shut_for_ever(half_open: World) -> None:
    hanging = half_open.breaker.permit()
    half_open.clock.advance(59.9)
    with pytest.raises(BreakerOpen):
        half_open.breaker.permit()
    half_open.clock.advance(0.1)
    with half_open.breaker.permit():
        hanging.succeed()
        assert half_open.breaker.state is State.HALF_OPEN
    assert half_open.breaker.state is State.CLOSED


def test_p11_after_the_pause_one_failure_is_enough_to_open_it_again(half_open: World) -> None:
    half_open.fail()
    assert half_open.breaker.state is State.OPEN
    with pytest.raises(BreakerOpen):
        half_open.breaker.permit()


# The lock.


class Watched(BreakerMachine):
    """Notes whether the lock was held when something was decided."""

    lock: threading.RLock
    held: list[bool]

    def acquire(self, now: float, *, last_resort: bool = False) -> int | Refusal:
        self.held.append(self.lock._is_owned())
        return super().acquire(now, last_resort=last_resort)

    def succeed(self, ticket: int, now: float, *, slow: bool = False) -> Change | None:
        self.held.append(self.lock._is_owned())
        return super().succeed(ticket, now, slow=slow)

    def fail(self, ticket: int, failure: Failure, now: float) -> Change | None:
        self.held.append(self.lock._is_owned())
        return super().fail(ticket, failure, now)

    def ignore(self, ticket: int) -> None:
        self.held.append(self.lock._is_owned())
        super().ignore(ticket)

    def hold(self, seconds: float, failure: Failure | None, now: float, cause: Cause = "asked") -> Change | None:
        self.held.append(self.lock._is_owned())
        return super().hold(seconds, failure, now, cause)

    def reset(self, now: float) -> Change | None:
        self.held.append(self.lock._is_owned())
        return super().reset(now)

    def snapshot(self, now: float) -> Snapshot:
        self.held.append(self.lock._is_owned())
        return super().snapshot(now)


def test_everything_is_decided_under_the_lock_and_nothing_is_called_or_told_under_it() -> None:
    free: list[bool] = []

    def outside(*_: object) -> None:
        free.append(not breaker._lock._is_owned())

    breaker = Breaker("weather", SETTINGS, clock=ManualClock(), on_change=outside)
    machine = Watched(SETTINGS, lambda: 0.5, ManualClock().monotonic())
    machine.lock, machine.held = breaker._lock, []
    breaker._machine = machine
    breaker(outside)()
    with breaker.permit() as permit:
        permit.ignore()
    with suppress(ConnectionError), breaker.permit():
        raise ConnectionError
    breaker.open_for(5.0)
    with suppress(BreakerOpen):
        breaker.permit()
    breaker.permit(last_resort=True).succeed()
    breaker.reset()
    assert breaker.state is State.CLOSED
    assert len(machine.held) > 8
    assert all(machine.held)
    assert free == [True] * 4, "the call, the opening, the try and the closing"


def test_a_generator_that_the_collector_closes_does_not_lock_the_breaker_up(world: World) -> None:
    """Its `with` block ends wherever the collector happens to run, also while its own thread holds the lock."""

    def pieces() -> Generator[object, None, None]:
        with world.breaker.permit():
            mine: list[object] = []
            mine.append((yield mine))
            yield mine

    def leave_one_behind() -> None:
        left = pieces()
        next(left).append(left)  # type: ignore[attr-defined]  a cycle, which only the collector can end

    before = gc.get_threshold()
    gc.set_threshold(3, 1, 1)
    try:
        for _ in range(300):
            leave_one_behind()
            with world.breaker.permit():
                world.breaker.snapshot()
    finally:
        gc.set_threshold(*before)
    assert world.counts[1] == 0


@pytest.mark.parametrize("name", ["calls", "min_calls", "window", "open_time", "longest_open", "failure_rate"])
def test_a_setting_that_makes_no_sense_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        BreakerSettings(**{name: 0})
    with pytest.raises(ValueError, match="shares of the whole"):
        BreakerSettings(jitter=1.5)


async def test_a_function_that_only_hands_on_a_coroutine_is_refused_rather_than_called_a_success() -> None:
    breaker = Breaker("a")

    async def fails() -> None:
        raise ConnectionError("down")

    with pytest.raises(TypeError, match="decorate the async function itself"):
        breaker(lambda: fails())()
    assert breaker.snapshot().calls == 0
