"""Whatever raises where nobody catches it arrives, once, and says what it was."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable

import pytest
from tests.containment.conftest import Reports

from mainstay.containment.hooks import watching
from mainstay.containment.model import Origin
from mainstay.logs import redact

pytestmark = pytest.mark.anyio

BOOM = RuntimeError("boom")


async def fail(error: BaseException) -> None:
    raise error


def spawned() -> None:
    asyncio.get_running_loop().create_task(fail(BOOM), name="forgotten")


def called_back() -> None:
    def raising() -> None:
        raise BOOM

    asyncio.get_running_loop().call_soon(raising)


def in_a_thread() -> None:
    def raising() -> None:
        raise BOOM

    thread = threading.Thread(target=raising, name="poller")
    thread.start()
    thread.join()


def handed_to_the_hook_of_the_main_thread() -> None:
    sys.excepthook(RuntimeError, BOOM, None)


def handed_to_it_by_another_thread() -> None:
    thread = threading.Thread(target=handed_to_the_hook_of_the_main_thread, name="poller")
    thread.start()
    thread.join()


class Finalized:
    def __del__(self) -> None:
        raise BOOM


def finalized() -> None:
    Finalized()
    gc.collect()


def in_a_closing_generator() -> None:
    async def numbers() -> AsyncGenerator[int, None]:
        yield 1

    context = {"message": "an error occurred during closing", "exception": BOOM, "asyncgen": numbers()}
    asyncio.get_running_loop().call_exception_handler(context)


def on_the_loop() -> None:
    asyncio.get_running_loop().call_exception_handler({"message": "lost a socket", "exception": BOOM})


@pytest.mark.parametrize(
    ("raise_it", "origin", "where"),
    [
        (spawned, Origin.TASK, "task forgotten, fail"),
        (called_back, Origin.CALLBACK, "callback <Handle called_back.<locals>.raising"),
        (in_a_thread, Origin.THREAD, "thread poller"),
        (handed_to_the_hook_of_the_main_thread, Origin.MAIN, "main thread"),
        (handed_to_it_by_another_thread, Origin.THREAD, "thread poller"),
        (finalized, Origin.FINALIZER, "finalizer Finalized.__del__"),
        (in_a_closing_generator, Origin.GENERATOR, "generator in_a_closing_generator.<locals>.numbers"),
        (on_the_loop, Origin.CALLBACK, "lost a socket"),
    ],
)
async def test_what_nobody_caught_is_reported_once_with_where_it_was(
    raise_it: Callable[[], None], origin: Origin, where: str
) -> None:
    reports = Reports()
    with watching(reports):
        raise_it()
        await reports.count(1)
        await asyncio.sleep(0)
    [(found, place, error, _)] = reports.seen
    assert (found, error) == (origin, BOOM)
    assert place.startswith(where)


async def test_a_loop_that_has_only_words_is_reported_with_them() -> None:
    reports = Reports()
    with watching(reports):
        asyncio.get_running_loop().call_exception_handler({"message": "Unclosed session"})
    assert reports.seen == [(Origin.CALLBACK, "Unclosed session", None, "Unclosed session")]


async def test_a_task_that_was_forgotten_while_it_waited_is_reported() -> None:
    reports = Reports()
    with watching(reports):

        async def wait() -> None:
            await asyncio.get_running_loop().create_future()

        asyncio.get_running_loop().create_task(wait(), name="lost")
        await asyncio.sleep(0)
        gc.collect()
    [(origin, where, error, words)] = reports.seen
    assert (origin, error) == (Origin.TASK, None)
    assert where.startswith("task lost, ")
    assert words == "Task was destroyed but it is pending!"


async def test_what_an_object_says_of_itself_is_redacted_before_it_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = "correct-horse" * 20
    monkeypatch.setattr(redact, "_known", None)
    monkeypatch.setattr(redact, "_values", frozenset())
    redact.register([secret])

    class Handle:
        def __repr__(self) -> str:
            return f"<{'x' * 150}{secret}>"

    class Unspeakable:
        def __repr__(self) -> str:
            raise BOOM

    reports = Reports()
    with watching(reports):
        for handle in (Handle(), Unspeakable()):
            asyncio.get_running_loop().call_exception_handler({"message": "", "handle": handle})
    [(_, first, _, _), (_, second, _, _)] = reports.seen
    assert first == f"callback <{'x' * 150}***>"
    assert second == "callback <Unspeakable>"


async def test_ctrl_c_keeps_its_meaning() -> None:
    reports, before, passed_on = Reports(), sys.excepthook, []
    sys.excepthook = lambda *args: passed_on.append(args)
    try:
        with watching(reports):
            interrupt = KeyboardInterrupt()
            sys.excepthook(KeyboardInterrupt, interrupt, None)
    finally:
        sys.excepthook = before
    assert passed_on == [(KeyboardInterrupt, interrupt, None)]
    assert reports.seen == []


async def differing(before: tuple[object, ...], now: tuple[object, ...]) -> None:
    assert not set(before) & set(now)
    raise LookupError


async def test_afterwards_every_hook_is_what_it_was() -> None:
    loop = asyncio.get_running_loop()

    def hooks() -> tuple[object, ...]:
        return sys.excepthook, threading.excepthook, sys.unraisablehook, loop.get_exception_handler()

    before = hooks()
    with pytest.raises(LookupError), watching(Reports()):
        await differing(before, hooks())
    assert hooks() == before


PROGRAM = """
import asyncio, sys, threading
from mainstay.clock import SystemClock
from mainstay.containment.hooks import until_the_end
from mainstay.containment.model import ContainmentSettings
from mainstay.containment.reporter import Reporter
from mainstay.logs.model import LogSettings
from mainstay.logs.setup import setup
setup(LogSettings(format="text"))
until_the_end(Reporter(ContainmentSettings(), clock=SystemClock()).report)

def fail():
    raise OSError("token=abc123abc")

async def stop():
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)

class Finalized:
    def __del__(self):
        fail()

match sys.argv[1]:
    case "main thread":
        fail()
    case "loop":
        asyncio.run(stop())
    case "thread":
        threading.Thread(target=fail, name="poller").start()
    case "finalizer":
        Finalized()
    case "exit":
        sys.exit(3)
    case "exit of a thread":
        threading.Thread(target=sys.exit).start()
"""


@pytest.mark.parametrize(
    ("what", "line", "code"),
    [
        ("main thread", "[FATAL] Uncaught exception: OSError: token=*** (in main thread)", 1),
        ("loop", "[FATAL] Uncaught exception: RuntimeError: Event loop stopped before Future completed", 1),
        ("thread", "[FATAL] Uncaught exception: OSError: token=*** (in thread poller)", 0),
        ("finalizer", "[WARN] Unhandled rejection: OSError: token=*** (in finalizer Finalized.__del__)", 0),
        ("exit", "", 3),
        ("exit of a thread", "", 0),
    ],
)
def test_where_no_service_runs_an_error_is_still_written_once_and_masked(what: str, line: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, what], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert line in done.stderr
    assert done.stderr.count("Traceback") == bool(line)
    assert "abc123abc" not in done.stderr
