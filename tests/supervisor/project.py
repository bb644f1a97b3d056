"""A project directory whose apps are supervised: what its user types, and what is seen from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mainstay.notify import MARKER
from mainstay.supervisor.client import Daemon

DEADLINE_S = 60.0
COUNTING = """
import itertools, time
for number in itertools.count():
    print(number, flush=True)
    time.sleep(0.002)
"""


class Supervised:
    """A project directory, and the command in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.home = directory / ".mainstay"

    def configure(self, **apps: dict[str, object]) -> None:
        (self.directory / "mainstay.toml").unlink(missing_ok=True)
        for name, settings in apps.items():
            self.add(name, **settings)

    def add(self, name: str, **settings: object) -> None:
        """One more app."""
        lines = [f"[apps.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        with (self.directory / "mainstay.toml").open("a") as file:
            file.write("\n".join([*lines, ""]))

    def run(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """What somebody types."""
        done = subprocess.run(
            [sys.executable, "-m", "mainstay", *words],
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert code is None or done.returncode == code, done
        return done

    def instances(self) -> dict[str, dict[str, Any]]:
        """What `mainstay list --json` shows, at a tenth of its price."""
        with Daemon(self.home, timeout_s=DEADLINE_S) as daemon:
            return {each["name"]: each for each in daemon.ask("list", names=[])}

    def until(self, holds: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        until_s = time.monotonic() + DEADLINE_S
        while not holds(found := self.instances()):
            assert time.monotonic() < until_s, found
            time.sleep(0.02)
        return found

    def lifecycle(self) -> list[dict[str, Any]]:
        path = self.home / "lifecycle.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def daemon(self) -> int:
        return int([line for line in self.lifecycle() if line["what"] == "daemon"][-1]["pid"])

    def log(self, app: str, stream: str = "out") -> str:
        path = self.home / "logs" / f"{app}-0.{stream}.log"
        return path.read_text() if path.exists() else ""

    def numbers(self, app: str) -> list[int]:
        """The lines of a program that counts; one that is just being written is none yet."""
        return [int(line) for line in self.log(app).rpartition("\n")[0].split()]

    def everybody(self, name: str = "") -> set[int]:
        """All who live and were started for this instance, or here at all: as /proc says, not the supervisor."""
        begins, ends = f"{MARKER}={name}{'.' * bool(name)}".encode(), f"@{self.home}".encode()
        found = set()
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdecimal() and (
                    any(
                        each.startswith(begins) and each.endswith(ends)
                        for each in (entry / "environ").read_bytes().split(b"\0")
                    )
                    or (not name and f"{self.directory}/".encode() in (entry / "cmdline").read_bytes())
                ):
                    found.add(int(entry.name))
        return {pid for pid in found if not gone(pid)}


@contextmanager
def supervised(made: Supervised) -> Iterator[None]:
    """Nothing of the project runs when the block is over, nor does its supervisor."""
    try:
        yield
    finally:
        made.run("kill", code=None)
        try:
            until(lambda: not made.everybody())
        finally:
            for pid in made.everybody():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def python(code: str, **settings: object) -> dict[str, object]:
    return {"command": [sys.executable, "-c", code], **settings}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def until(holds: Callable[[], object]) -> None:
    """Wait for it; fails after a deadline that only a broken program reaches."""
    until_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    until(lambda: gone(pid))
