"""What nobody caught is written in the words people grep for, and reported."""

import asyncio
import subprocess
import sys

import pytest

from mainstay.logs.uncaught import loop_handler

_PROGRAM = """
import sys, threading
from mainstay.logs.model import LogSettings
from mainstay.logs.setup import setup
from mainstay.logs.uncaught import watch
setup(LogSettings(format="text"))
watch(lambda error: print("reported", error, flush=True))
def fail(): raise OSError("token=abc123abc")
if sys.argv[1] == "thread":
    thread = threading.Thread(target=fail); thread.start(); thread.join()
else:
    fail()
"""


def run(where: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _PROGRAM, where], capture_output=True, text=True, timeout=30)


def test_an_uncaught_exception_is_fatal_and_its_secrets_are_masked() -> None:
    done = run("main")
    assert "[FATAL] Uncaught exception: OSError: token=***" in done.stderr
    assert "abc123abc" not in done.stderr
    assert done.stdout == "reported token=abc123abc\n"
    assert done.returncode == 1


def test_a_thread_that_fails_is_reported_and_the_process_goes_on() -> None:
    done = run("thread")
    assert "[FATAL] Uncaught exception: OSError" in done.stderr
    assert done.returncode == 0


@pytest.mark.anyio
async def test_a_task_that_failed_alone_is_a_warning_people_know(start) -> None:
    written = start()
    reported: list[BaseException | str] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(loop_handler(reported.append))
    error = RuntimeError("nobody waits")
    loop.call_exception_handler({"message": "Task exception was never retrieved", "exception": error})
    loop.call_exception_handler({"message": "only words"})
    loop.set_exception_handler(before)
    assert reported == [error, "only words"]
    assert "[WARN] Unhandled rejection: nobody waits" in written.json[0]["message"]
    assert "RuntimeError" in written.json[0]["exception"]
