"""How does a process of ours start in a test without importing everything anew?

To import a service takes more than a second of processor time, and tests from outside start hundreds. So there is
one process that has imported it and does nothing: it has no loop, no thread, no file. A start is a fork of that.
What is forked is a process like any other: it has its own directory, environment and output, is killed by real
signals, and leaves an exit status. What a start from nothing does is for the tests of the commands.
"""

import asyncio
import os
import runpy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ["Forked", "fork"]

_PRELOADED: Final = ["mainstay.testing.preloaded"]


class Forked:
    """A process that was forked; as `asyncio.subprocess.Process`, as far as `Project` uses it."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        pid = process.pid
        assert pid is not None
        self.pid = pid

    @property
    def returncode(self) -> int | None:
        """As of a subprocess: a signal's number is negative."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """To one that may have ended meanwhile."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    async def wait(self) -> int:
        """Until it has ended; returns the exit status."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        return self.join()

    def join(self, timeout_s: float | None = None) -> int:
        """As `wait`, where there is no loop; TimeoutError if it has not ended by then."""
        self._process.join(timeout_s)
        status = self._process.exitcode
        if status is None:
            raise TimeoutError(f"process {self.pid} has not ended within {timeout_s} s")
        return status


def fork(
    module: str,
    arguments: Sequence[str],
    *,
    directory: Path,
    environ: Mapping[str, str],
    log: Path,
    errors: Path | None = None,
    session: bool = False,
) -> Forked:
    """What ``python -m module arguments`` is.

    Args:
        module: by its name; what it imports of ours is there already.
        arguments: its ``sys.argv[1:]``.
        directory: in which it works, and from which it imports.
        environ: all of its environment.
        log: a file to which its output is added.
        errors: another one for what it writes to standard error.
        session: whether it has a session of its own.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(
        target=_live,
        args=(module, list(arguments), str(directory), dict(environ), str(log), str(errors or log), session),
    )
    with _nobodys():
        process.start()
    return Forked(process)


@contextmanager
def _nobodys() -> Iterator[None]:
    """While this lasts there is no main module, which multiprocessing would import in whatever it forks."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _live(
    module: str,
    arguments: list[str],
    directory: str,
    environ: dict[str, str],
    log: str,
    errors: str,
    session: bool,  # noqa: FBT001  all travel by position
) -> None:
    if session:
        os.setsid()
    for path, number in ((log, 1), (errors, 2)):
        output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, number)
        os.close(output)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environ)
    sys.path.insert(0, directory)
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
