"""With which words, where, and in which environment is an instance started?

It gets the environment in which the daemon was started, without what was meant for the daemon itself, then what the
app's settings add, then what it needs to talk to us.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.errors import ConfigError
from mainstay.settings import Secret
from mainstay.supervisor.model import AppSettings
from mainstay.supervisor.notify import SOCKET

__all__ = ["MARK", "Launch", "launch"]

MARK: Final = "MAINSTAY_INSTANCE"
"""The variable by which a process is known as ours, wherever it has gone; see `mainstay.supervisor.processes`."""

_NOT_FOR_CHILDREN: Final = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", MARK}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the keeper is asked to start."""

    argv: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]


def launch(name: str, settings: AppSettings, *, home: Path, directory: Path, environ: Mapping[str, str]) -> Launch:
    """Work it out.

    Args:
        name: of the instance, ``"web:0"``.
        settings: of its app.
        home: of the daemon.
        directory: of the configuration, to which ``cwd`` is relative.
        environ: of the daemon.

    Raises:
        ConfigError: if there is no such command or directory.
    """
    cwd = directory / Path(settings.cwd).expanduser()
    if not cwd.is_dir():
        raise ConfigError(f"apps.{name.partition(':')[0]}.cwd: {cwd} is not a directory")
    env = {key: value for key, value in environ.items() if key not in _NOT_FOR_CHILDREN}
    env |= {key: value.reveal() if isinstance(value, Secret) else value for key, value in settings.env.items()}
    env[MARK] = f"{name}@{home}"
    env["NOTIFY_SOCKET"] = str(home / SOCKET)
    if settings.watchdog:
        env["WATCHDOG_USEC"] = str(round(settings.watchdog * 1e6))
    return Launch(argv=_resolved(name, settings.command, env, cwd), cwd=str(cwd), env=env)


def _resolved(name: str, command: tuple[str, ...], env: Mapping[str, str], cwd: Path) -> tuple[str, ...]:
    """With the whole path of the program; ``mainstay`` is this installation's own."""
    program, *arguments = command
    if program == "mainstay":
        return (sys.executable, "-P", "-m", "mainstay", *arguments)
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((env.get("PATH", os.defpath), beside))
    found = shutil.which(str(cwd / program) if os.sep in program else program, path=path)
    if found is None:
        raise ConfigError(f"apps.{name.partition(':')[0]}.command: there is no program {program}")
    return (found, *arguments)
