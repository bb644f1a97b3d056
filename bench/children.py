"""What do the managed programs do, and when has one of them begun to run?

Each is a shell's few lines, or a small Python where it has to do more than wait, so that its own start does not
hide the manager's. First of all it says its name and its pid into a FIFO that the benchmark reads.
"""

import os
import queue
import threading
import time
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["App", "Birth", "Births", "write_program"]

PATIENCE_S = 45.0

WAITING = "exec sleep 100000\n"
PRINTING = """
import time
while True:
    print("here I am", flush=True)
    time.sleep(0.05)
"""
LEAKING = """
import signal
signal.signal(signal.SIGUSR1, lambda *_: kept.append(bytearray(b"x" * 100_000_000)))
kept = []
while True:
    signal.pause()
"""
ALIVE = """
import os, socket, time
way = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
where = os.environ.get("NOTIFY_SOCKET")
while True:
    if where:
        way.sendto(b"WATCHDOG=1", where)
    time.sleep(0.2)
"""
FAMILY = """sh -c 'echo family-plain $$ >>{births}; exec sleep 100000' &
setsid sh -c 'echo family-setsid $$ >>{births}; exec sleep 100000' &
wait
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A program, and what its manager is to know about it; what a manager does not offer it is not told.

    Attributes:
        script: of a shell, after it has said that it runs; ``{births}`` is where that is said.
        python: of a Python, instead.
    """

    name: str
    script: str = WAITING
    python: str = ""
    instances: int = 1
    restart_delay_s: float = 0.0
    memory_limit_bytes: int | None = None
    watchdog_s: float | None = None
    rotate_bytes: int | None = None
    timestamps: bool = False
    autorestart: bool = True
    autostart: bool = False


def write_program(app: App, directory: Path, births: Path, python: str) -> list[str]:
    """The command of this app."""
    path, script = directory / f"{app.name}.sh", app.script.replace("{births}", str(births))
    if app.python:
        (directory / f"{app.name}.py").write_text(app.python)
        script = f"exec {python} -I -S {directory / app.name}.py\n"
    path.write_text(f"echo {app.name} $$ >>{births}\n{script}")
    return ["/bin/sh", str(path)]


@dataclass(frozen=True, slots=True)
class Birth:
    """A program has begun to run; ``at_s`` of `time.perf_counter`."""

    name: str
    pid: int
    at_s: float


class Births:
    """All that is said into the FIFO, each at the time at which it was read."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR)
        self._came: queue.Queue[Birth] = queue.Queue()
        self._thread = threading.Thread(target=self._read)
        self._unasked: dict[str, deque[Birth]] = defaultdict(deque)
        self.all: list[Birth] = []

    def _read(self) -> None:
        rest = b""
        while True:
            rest += os.read(self._fd, 65536)
            at_s = time.perf_counter()
            *lines, rest = rest.split(b"\n")
            for name, pid in map(bytes.split, lines):
                if name == b"end":
                    return
                self._came.put(Birth(name.decode(), int(pid), at_s))

    def next(self, name: str, count: int = 1, within_s: float = PATIENCE_S) -> Birth:
        """The last of that many of this name that were not asked for yet."""
        until_s = time.perf_counter() + within_s
        while len(self._unasked[name]) < count:
            try:
                self._keep(self._came.get(timeout=max(0.0, until_s - time.perf_counter())))
            except queue.Empty:
                raise TimeoutError(f"no {name} has begun to run within {within_s:g} s") from None
        return [self._unasked[name].popleft() for _ in range(count)][-1]

    def has(self, name: str) -> bool:
        """Whether there is one that was not asked for yet."""
        self._keep_all()
        return bool(self._unasked[name])

    def flush(self) -> None:
        """Nobody will ask for what has begun to run until now."""
        self._keep_all()
        self._unasked.clear()

    def _keep_all(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._keep(self._came.get_nowait())

    def _keep(self, birth: Birth) -> None:
        self.all.append(birth)
        self._unasked[birth.name].append(birth)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._fd, b"end 0\n")
        self._thread.join()
        os.close(self._fd)
