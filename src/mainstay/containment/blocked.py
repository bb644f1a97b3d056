"""What was this process doing, when its event loop did not go on?

A thread looks whether the supervisor is still told that all is well. Before the supervisor ends the process for its
silence, the stacks of all threads and tasks are written where it finds them. A loop that goes on after all has the
same stacks in its log. What holds the interpreter's lock for ever stops the thread too: then only the dump of
`faulthandler` is left, which needs no lock.
"""

import asyncio
import gc
import linecache
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import StackSummary, walk_stack
from types import FrameType
from typing import Final

from mainstay.clock import SystemClock
from mainstay.logs.redact import redact
from mainstay.notify import Notifier
from mainstay.units import format_duration

__all__ = ["stacks", "watching_the_loop"]

_log = logging.getLogger(__name__)
_EARLIER: Final = 0.75
"""Of the silence after which the supervisor ends the process: time enough to write."""
_LOOK_S: Final = 0.05
_SAID_EVERY_S: Final = 60.0
_LONGEST: Final = 60_000
_MOST_TASKS: Final = 50
_DEEPEST: Final = 20
_LONGEST_NAME: Final = 80


@contextmanager
def watching_the_loop(notifier: Notifier) -> Iterator[None]:
    """Watch the loop that runs this, as long as the block does; only where there is a ``watchdog_s``."""
    watch = _Watch(notifier, asyncio.get_running_loop())
    watch.thread.start()
    try:
        yield
    finally:
        watch.over.set()


class _Watch:
    def __init__(self, notifier: Notifier, loop: asyncio.AbstractEventLoop) -> None:
        assert notifier.watchdog_s is not None
        self._notifier = notifier
        self._limit_s = _EARLIER * notifier.watchdog_s
        self._file = Path(notifier.stacks) if notifier.stacks else None
        self._loop = loop
        self._clock = SystemClock()
        self._next_said_s = float("-inf")
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, name="watching the loop", daemon=True)

    def _run(self) -> None:
        self._notifier.alive_s = self._clock.monotonic()
        while not self.over.wait(max(_LOOK_S, self._left_s())):
            if self._left_s() <= 0:
                self._blocked()

    def _left_s(self) -> float:
        return self._notifier.alive_s + self._limit_s - self._clock.monotonic()

    def _blocked(self) -> None:
        """Write the stacks down, and wait until the loop goes on; the process may end before."""
        since_s = self._notifier.alive_s
        found = stacks(self._loop)
        if self._notifier.alive_s == since_s:
            self._keep(f"process {os.getpid()}: nothing went on for {self._since(since_s)}\n\n{found}")
        while self._notifier.alive_s == since_s:
            if self.over.wait(_LOOK_S):
                return
        if self._file is not None:
            with suppress(OSError):  # as when it is another user's home, where nothing was written either
                self._file.unlink()
        if since_s >= self._next_said_s:
            self._next_said_s = since_s + _SAID_EVERY_S
            _log.warning("the event loop was blocked for %s; at that time:\n%s", self._since(since_s), found)

    def _since(self, at_s: float) -> str:
        return format_duration(round(self._clock.monotonic() - at_s, 1))

    def _keep(self, text: str) -> None:
        if self._file is None:
            return
        part = self._file.with_name(f"{self._file.name}.part")
        with suppress(OSError):  # a full disk: the loop's own trouble is the greater one
            part.write_text(text, "utf-8", "replace")
            part.replace(self._file)


def stacks(loop: asyncio.AbstractEventLoop) -> str:
    """Of all threads, the loop's own first, and of the loop's tasks; code only, and nothing that it works on."""
    linecache.checkcache()
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    own = threading.get_ident()
    parts = [
        f"thread {names.get(ident, ident)}, innermost last:\n{_frames(_outer(frame))}"
        for ident, frame in sorted(sys._current_frames().items())
        if ident != own
    ]
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    parts += [f"task {task.get_name()[:_LONGEST_NAME]}:\n{_frames(_awaited(task))}" for task in tasks[:_MOST_TASKS]]
    if len(tasks) > _MOST_TASKS:
        parts.append(f"and {len(tasks) - _MOST_TASKS} tasks more\n")
    return redact("\n".join(parts))[:_LONGEST]


def _outer(frame: FrameType) -> list[tuple[FrameType, int]]:
    return list(walk_stack(frame))[:_DEEPEST][::-1]


def _awaited(task: "asyncio.Task[object]") -> list[tuple[FrameType, int]]:
    """From what the task was made for, to what it waits for."""
    frames: list[tuple[FrameType, int]] = []
    at: object = task.get_coro()
    while at is not None and len(frames) < _DEEPEST:
        frame = _first(at, "cr_frame", "ag_frame", "gi_frame")
        if isinstance(frame, FrameType):
            frames.append((frame, frame.f_lineno))
        at = _first(at, "cr_await", "ag_await", "gi_yieldfrom") or _generator(at)
    return frames


def _first(at: object, *names: str) -> object:
    return next((found for name in names if (found := getattr(at, name, None)) is not None), None)


def _generator(at: object) -> object:
    """Whose next item this is; such an object says so to nobody but the collector of garbage."""
    if not type(at).__name__.startswith("async_generator_a"):
        return None
    return next((found for found in gc.get_referents(at) if hasattr(found, "ag_frame")), None)


def _frames(frames: list[tuple[FrameType, int]]) -> str:
    return "".join(StackSummary.extract(iter(frames)).format()) or "  (nothing to be seen)\n"
