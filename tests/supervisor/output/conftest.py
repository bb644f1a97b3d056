"""FIFOs that somebody holds open, as the keeper does, and processes at both ends."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.supervisor.output import daemon, writer

from mainstay.supervisor.output.model import Policy

_F_SETPIPE_SZ = 1031
ROOT = Path(__file__).parents[3]
WITHIN_S = 30.0


def until(holds: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    waited = threading.Event()
    for _ in range(int(WITHIN_S / 0.01)):
        if holds():
            return
        waited.wait(0.01)
    raise AssertionError


class Fifo:
    """Held open for reading and writing as long as the test runs."""

    def __init__(self, path: Path, size: int = 1 << 20) -> None:
        os.mkfifo(path)
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        fcntl.fcntl(self.fd, _F_SETPIPE_SZ, size)

    def write(self, data: bytes) -> None:
        """What fits is written; a test that writes more than that has forgotten its reader."""
        os.set_blocking(self.fd, False)
        try:
            assert os.write(self.fd, data) == len(data)
        finally:
            os.set_blocking(self.fd, True)

    def close(self) -> None:
        os.close(self.fd)


@pytest.fixture
def fifo(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Fifo]:
    held = Fifo(tmp_path / "fifo", getattr(request, "param", 1 << 20))
    yield held
    held.close()


class Writer:
    """A child that writes known lines."""

    def __init__(self, fifo: Fifo) -> None:
        self._said, says = os.pipe()
        command = [sys.executable, "-m", writer.__name__, str(says)]
        self._process = subprocess.Popen(command, stdout=fifo.fd, pass_fds=[says], cwd=ROOT)
        os.close(says)

    def wrote(self, size: int) -> None:
        """Wait until it has written so many bytes from now on."""
        os.set_blocking(self._said, False)
        with suppress(BlockingIOError):
            while os.read(self._said, 1 << 16):
                pass
        os.set_blocking(self._said, True)
        blocks = size // writer.BLOCK + 1
        while blocks > 0:
            said = os.read(self._said, blocks)
            assert said, "the writer has died"
            blocks -= len(said)

    def end(self) -> int:
        """Tell it to end; returns how many lines it has written."""
        self._process.terminate()
        said = b""
        while part := os.read(self._said, 1 << 16):
            said += part
        assert self._process.wait() == 0
        return int(said.strip().strip(b"."))

    def close(self) -> None:
        os.close(self._said)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def child(fifo: Fifo) -> Iterator[Writer]:
    made = Writer(fifo)
    yield made
    made.close()


class Daemon:
    """A process that moves what is in the FIFO to the log."""

    def __init__(self, fifo: Fifo, log: Path, policy: Policy, **more: object) -> None:
        fields = {name: getattr(policy, name) for name in Policy.__slots__}
        asked = json.dumps({"fifo": str(fifo.path), "log": str(log), "policy": fields, **more})
        self._process = subprocess.Popen(
            [sys.executable, "-m", daemon.__name__, asked],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._in, self._out = self._process.stdin, self._process.stdout

    def ready(self) -> None:
        assert self._out.readline() == b"ready\n"

    def kill(self) -> None:
        self._process.kill()
        self.died()

    def died(self) -> None:
        assert self._process.wait() == -signal.SIGKILL
        self.close()

    def end(self) -> None:
        """Let it write what there is, and end."""
        self._in.close()
        assert self._process.wait() == 0
        self.close()

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._in.close()
        self._out.close()
