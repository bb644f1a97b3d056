"""With which words, where, and in which environment is an instance started?

It gets the environment in which the daemon was started, without what was meant for the daemon itself, then what the
app's settings add, then what it needs to talk to us.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.notify import MARKER
from mainstay.settings import Secret
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.notify import SOCKET

__all__ = ["Launch", "launch", "marker"]

_NOT_FOR_CHILDREN: Final = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", MARKER}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the keeper is asked to start."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]


def marker(name: str, home: Path) -> str:
    """The value that `MARKER` has in the environment of this instance, and in no other one's."""
    return f"{name}@{home}"


def launch(name: str, settings: AppSettings, *, home: Path, directory: Path, environ: Mapping[str, str]) -> Launch:
    """Work it out.

    Args:
        name: of the instance, ``"web:0"``.
        settings: of its app.
        home: of the daemon.
        directory: of the configuration, to which ``cwd`` is relative.
        environ: of the daemon.
    """
    cwd = directory / Path(settings.cwd).expanduser()
    env = {key: value for key, value in environ.items() if key not in _NOT_FOR_CHILDREN}
    env |= {key: value.reveal() if isinstance(value, Secret) else value for key, value in settings.env.items()}
    env |= _numbered(int(name.rpartition(":")[2]), settings, env)
    env[MARKER] = marker(name, home)
    env["NOTIFY_SOCKET"] = str(home / SOCKET)
    if settings.watchdog:
        env["WATCHDOG_USEC"] = str(round(settings.watchdog * 1e6))
    return Launch(argv=_words(settings.command), cwd=cwd, env=env)


def _numbered(number: int, settings: AppSettings, env: Mapping[str, str]) -> dict[str, str]:
    """What is different from one instance of an app to the next."""
    found = {settings.instance_var: str(number)} if settings.instance_var else {}
    if settings.increment_var:
        first = env.get(settings.increment_var, "0")
        found[settings.increment_var] = str(int(first) + number) if first.isdecimal() else str(number)
    return found


def _words(command: Sequence[str]) -> tuple[str, ...]:
    """``mainstay`` is this installation's own."""
    program, *arguments = command
    return (sys.executable, "-P", "-m", "mainstay", *arguments) if program == "mainstay" else tuple(command)
