"""What is the daemon asked for, and how does it get to it?

Who reads the configuration leaves what it has found in memory that has no name (memfd_create(2)): what is secret in
it gets into no file, no argument and no environment.
"""

import os
from _pickle import dumps, loads
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.clock import SystemClock
from mainstay.errors import MainstayError
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.fingerprint import of_daemon

__all__ = ["Asked", "Plan", "marks", "read", "write"]

_SETTLED_S: Final = 2.0

Marks = Mapping[Path, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be kept running.

    Attributes:
        home: where all is kept.
        directory: of the configuration.
        apps: by name.
        environ: what every child gets of the environment.
    """

    home: Path
    directory: Path
    apps: Mapping[str, AppSettings]
    environ: Mapping[str, str]

    @property
    def asks_over_tls(self) -> bool:
        """Whether one of the probes is an https URL."""
        probes = (
            each for app in self.apps.values() for each in (app.startup, app.liveness, app.readiness, app.health)
        )
        return any(probe is not None and probe.http.lower().startswith("https:") for probe in probes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a configuration says.

    Attributes:
        plan: what is to be kept running.
        command: reads it anew; it is given ``--plan-to FD``.
        read: the files of which it is made, as they were.
    """

    plan: Plan
    command: tuple[str, ...]
    read: Marks


def marks(paths: Iterable[Path]) -> Marks:
    """How these files are now. One that was written only just now may have been read before: it has no mark.

    To be taken when they are read, or soon after.
    """
    found: dict[Path, tuple[int, ...]] = {}
    now = SystemClock().now().timestamp()
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            found[path] = ()
            continue
        is_young = abs(now - status.st_mtime) < _SETTLED_S
        found[path] = (status.st_ino, status.st_size, status.st_mtime_ns, os.getpid() if is_young else 0)
    return found


def write(asked: Asked, fd: int) -> None:
    """Leave it there, for code that is the same as this. Raises OSError."""
    data = of_daemon() + b"\n" + dumps(asked)
    while data:
        data = data[os.write(fd, data) :]


def read(fd: int, code: bytes) -> Asked:
    """What was left there, which is closed.

    Raises:
        MainstayError: it was left by other code than this.
    """
    with open(fd, "rb") as file:
        file.seek(0)
        written_by, _, data = file.read().partition(b"\n")
    if written_by != code:
        raise MainstayError("the installed mainstay is not the one that the supervisor runs: `mainstay update`")
    asked: Asked = loads(data)  # written by this very code, in memory of ours
    return asked
