"""What ran when the supervisor was told to end runs again when the machine starts it, and nothing else does."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.supervisor.project import DEADLINE_S, Supervised, gone, kill, supervised

from mainstay.supervisor.client import Daemon


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    with supervised(made):
        yield made


SLEEPING: dict[str, object] = {"command": ["sleep", "600"]}


class Systemd:
    """What a unit of ours needs of it: a socket, and a start that goes on when there is something to hear."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(DEADLINE_S)
        self.address = directory / "systemd.sock"
        self.socket.bind(str(self.address))

    @contextmanager
    def booted(self, **env: str) -> Iterator[subprocess.Popen[bytes]]:
        running = subprocess.Popen(
            [sys.executable, "-m", "mainstay", "daemon", "--boot"],
            cwd=self.directory,
            env={**os.environ, "NOTIFY_SOCKET": str(self.address), **env},
        )
        try:
            self.hear("READY=1")
            yield running
        finally:
            with suppress(ProcessLookupError):
                running.terminate()
            assert running.wait(DEADLINE_S) in (0, -signal.SIGKILL)

    def hear(self, line: str) -> None:
        while line not in self.socket.recv(4096).decode().splitlines():
            pass


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    made = Systemd(tmp_path)
    yield made
    made.socket.close()


def running(home: Supervised) -> set[str]:
    """Those that run, once all are as they are meant to be."""
    with Daemon(home.directory / ".mainstay") as talk:
        while True:
            found = {each["name"]: each["state"] for each in talk.ask("list")}
            if set(found.values()) <= {"ready", "stopped"}:
                return {name for name, state in found.items() if state == "ready"}


def test_what_ran_when_the_machine_went_down_is_started_with_it_again(home: Supervised, systemd: Systemd) -> None:
    home.configure(web={**SLEEPING, "instances": 2}, job=SLEEPING, later={**SLEEPING, "autostart": False})
    with systemd.booted():  # for the first time ever
        assert running(home) == {"web:0", "web:1", "job:0"}
        home.run("stop", "web:1")
        home.run("start", "later")
        pid = home.instances()["later:0"]["pid"]
    assert gone(pid)
    with systemd.booted() as daemon:
        assert running(home) == {"web:0", "job:0", "later:0"}
        home.run("kill")
        daemon.wait(DEADLINE_S)
    with systemd.booted():
        assert running(home) == {"web:0", "job:0", "later:0"}
        home.run("stop", "all")
    with systemd.booted():
        assert running(home) == set()


def test_one_that_a_person_starts_begins_with_what_that_person_asks_for(home: Supervised, systemd: Systemd) -> None:
    home.configure(web=SLEEPING, job=SLEEPING)
    with systemd.booted():
        assert running(home) == {"web:0", "job:0"}
    home.run("start", "job")
    assert running(home) == {"job:0"}


def test_a_crash_changes_nothing(home: Supervised, systemd: Systemd) -> None:
    home.configure(web=SLEEPING, job=SLEEPING)
    with systemd.booted() as daemon:
        assert running(home) == {"web:0", "job:0"}
        home.run("stop", "job")
        before = home.instances()
        kill(daemon.pid)
    with systemd.booted():
        assert running(home) == {"web:0"}
        assert home.instances()["web:0"]["pid"] == before["web:0"]["pid"]


def test_systemd_hears_that_the_daemon_is_alive_and_that_it_ends(home: Supervised, systemd: Systemd) -> None:
    home.configure(web=SLEEPING)
    with systemd.booted(WATCHDOG_USEC="200000") as daemon:
        systemd.hear("WATCHDOG=1")
        systemd.hear("WATCHDOG=1")
        daemon.terminate()
        systemd.hear("STOPPING=1")
        daemon.wait(DEADLINE_S)
