"""An error that nobody caught is written once, counted once, and acted upon, whatever goes wrong on the way."""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from functools import partial

import pytest
from tests.logs.conftest import Written

from mainstay.bus import Bus
from mainstay.containment.model import ContainmentSettings, Origin
from mainstay.containment.reporter import Reporter
from mainstay.errors import Category, MainstayError
from mainstay.events import ErrorSeen, Event
from mainstay.logs.events import watch
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

Start = Callable[..., Written]


class Desk:
    """A reporter with all that it did."""

    def __init__(self, settings: ContainmentSettings | None = None) -> None:
        self.bus = Bus()
        self.events: list[Event] = []
        self.bus.subscribe_all(self.events.append)
        self.failures: list[MainstayError] = []
        count = partial(self.bus.emit_from_thread, asyncio.get_running_loop())
        settings = settings or ContainmentSettings()
        self.report = Reporter(settings, clock=ManualClock(), count=count, fail=self.failures.append).report

    async def counted(self) -> list[Event]:
        await asyncio.sleep(0)
        return self.events


def raised(error: BaseException) -> BaseException:
    try:
        raise error  # noqa: TRY301
    except BaseException as caught:  # noqa: BLE001
        return caught


async def test_what_is_contained_is_one_line_with_its_traceback_and_one_count(start: Start) -> None:
    written, desk = start(secrets=("correct-horse",)), Desk()
    watch(desk.bus)
    logging.getLogger().setLevel(logging.INFO)
    desk.report(Origin.TASK, "task correct-horse", raised(OSError("token=abc123abc correct-horse")))
    await desk.counted()
    [line] = written.json
    assert line["message"] == ("[WARN] Unhandled rejection: OSError: token=*** *** (in task ***)")
    assert (line["level"], line["origin"]) == ("error", "task")
    assert "in raised" in line["exception"]
    assert desk.events == [
        ErrorSeen(
            category=Category.INTERNAL,
            message="OSError: token=*** ***",
            where="uncaught in task ***",
            logged=True,
        )
    ]
    assert desk.failures == []
    assert "abc123" not in written.text


async def test_what_is_fatal_is_written_as_such_and_ends_the_service(start: Start) -> None:
    written, desk = start(), Desk()
    for number in (1, 2):
        desk.report(Origin.THREAD, "thread poller", raised(RuntimeError(f"boom {number}")))
    await desk.counted()
    assert [line["message"] for line in written.json] == [
        "[FATAL] Uncaught exception: RuntimeError: boom 1 (in thread poller)",
        "[FATAL] Uncaught exception: RuntimeError: boom 2 (in thread poller)",
    ]
    assert [line["level"] for line in written.json] == ["critical", "critical"]
    assert str(desk.failures[0]) == "thread poller ended with RuntimeError: boom 1; its traceback is in the log"
    assert len(desk.events) == 2


async def test_an_error_that_several_report_is_one_and_a_thread_that_died_of_it_is_missing(start: Start) -> None:
    written, desk = start(), Desk()
    error = raised(RuntimeError("boom"))
    desk.report(Origin.TASK, "task one", error)
    desk.report(Origin.TASK, "task two", error)
    assert desk.failures == []
    desk.report(Origin.THREAD, "thread three", error)
    assert len(await desk.counted()) == len(written.json) == 1
    assert [str(each).partition(";")[0] for each in desk.failures] == ["thread three ended with RuntimeError: boom"]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_an_exit_is_no_error(start: Start, error: BaseException) -> None:
    written, desk = start(), Desk()
    desk.report(Origin.THREAD, "thread one", error)
    assert await desk.counted() == []
    assert written.text == ""


async def test_a_group_of_one_speaks_with_its_own_words_and_words_alone_are_an_error(start: Start) -> None:
    desk = Desk()
    start()
    inner = ExceptionGroup("outer", [ExceptionGroup("inner", [ConnectionResetError("gone")])])
    desk.report(Origin.TASK, "task one", raised(inner))
    desk.report(Origin.TASK, "task two", None, "Task was destroyed but it is pending!")
    assert [(event.category, event.message) for event in await desk.counted()] == [  # type: ignore[attr-defined]
        (Category.CONNECTION, "ConnectionResetError: gone"),
        (Category.INTERNAL, "Task was destroyed but it is pending!"),
    ]


async def test_what_is_raised_while_something_is_cancelled_is_counted_all_the_same(start: Start) -> None:
    start()
    desk, error = Desk(), RuntimeError("while cleaning up")
    error.__context__ = asyncio.CancelledError()
    desk.report(Origin.TASK, "task one", error)
    [event] = await desk.counted()
    assert isinstance(event, ErrorSeen)
    assert event.category is Category.INTERNAL


class Refusing(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("the log is broken")


@pytest.fixture
def broken_log() -> object:
    log, refusing = logging.getLogger("mainstay.uncaught"), Refusing()
    log.addFilter(refusing)
    yield
    log.removeFilter(refusing)


@pytest.mark.usefixtures("broken_log")
async def test_a_log_that_is_broken_hides_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    desk.report(Origin.THREAD, "thread poller", raised(RuntimeError("token=abc123abc")))
    assert len(await desk.counted()) == 1
    assert len(desk.failures) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: RuntimeError: token=*** (in thread poller)\nTraceback")
    assert "abc123abc" not in said


class Unjudgeable(Exception):
    @property
    def __dict__(self) -> dict[str, object]:  # type: ignore[override]
        raise RuntimeError("no")


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


async def test_an_error_that_can_not_be_judged_ends_the_service(capsys: pytest.CaptureFixture[str]) -> None:
    desk = Desk()
    desk.report(Origin.TASK, "task one", raised(Unjudgeable("boom")))
    assert [str(each) for each in desk.failures] == ["an error in task one could not even be reported"]
    assert "Unjudgeable: boom" in capsys.readouterr().err


async def test_an_error_without_words_is_known_by_its_name(start: Start) -> None:
    written, desk = start(), Desk()
    desk.report(Origin.TASK, "task one", raised(Speechless()))
    assert len(await desk.counted()) == 1
    assert "[WARN] Unhandled rejection: Speechless (in task one)" in written.text


def test_a_thread_that_dies_after_the_loop_is_closed_is_still_written(start: Start) -> None:
    written = start()

    async def made() -> Desk:
        return Desk()

    desk = asyncio.run(made())
    desk.report(Origin.THREAD, "thread late", raised(RuntimeError("boom")))
    assert "[FATAL] Uncaught exception: RuntimeError: boom (in thread late)" in written.text
    assert len(desk.failures) == 1


async def test_errors_of_many_threads_are_counted_exactly(start: Start) -> None:
    written, desk = start(), Desk(ContainmentSettings(max_errors=399))
    ready = threading.Barrier(8)

    def many() -> None:
        ready.wait()
        for number in range(50):
            desk.report(Origin.TASK, f"task {number}", RuntimeError("boom"))

    threads = [threading.Thread(target=many) for _ in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    sys.setswitchinterval(before)
    assert len(await desk.counted()) == len(written.json) == 400
    assert len(desk.failures) == 1


async def test_an_error_that_many_threads_report_at_once_is_one(start: Start) -> None:
    start()
    desk, errors = Desk(ContainmentSettings(max_errors=9000)), [RuntimeError("boom") for _ in range(1000)]
    ready = threading.Barrier(8)

    def all_of_them() -> None:
        for error in errors:
            ready.wait()
            desk.report(Origin.TASK, "task", error)

    threads = [threading.Thread(target=all_of_them) for _ in range(8)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    sys.setswitchinterval(before)
    assert len(await desk.counted()) == len(errors)
