"""With which words, where, and in which environment is an instance started?

It gets the environment in which the daemon was started, without what was meant for the daemon itself, then what the
app's settings add, then what it needs to talk to us.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.errors import ConfigError
from mainstay.notify import MARKER, STACKS
from mainstay.settings import Secret
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.evidence import place
from mainstay.supervisor.identity import Identity, identity
from mainstay.supervisor.naming import number_of, run_of
from mainstay.supervisor.notify import SOCKET, abroad

__all__ = ["NOT_INHERITED", "Launch", "launch", "marker"]

NOT_INHERITED: Final = frozenset(
    {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", MARKER, STACKS}
)
"""What the daemon's own environment says of these is meant for the daemon; what an instance has of them is ours."""
_NUMBER: Final = "MAINSTAY_INSTANCE_ID"
"""Which of its app's instances it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What the keeper is asked to start."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    umask: int
    identity: Identity | None


def marker(name: str, begun_s: float, home: Path) -> str:
    """The value that `MARKER` has in the environment of this run of an instance, and of no other one."""
    return f"{run_of(name, begun_s)}@{home}"


def launch(
    name: str, begun_s: float, settings: AppSettings, *, home: Path, directory: Path, environ: Mapping[str, str]
) -> Launch:
    """Work it out.

    Args:
        name: of the run, ``"web:0"``.
        begun_s: see `mainstay.supervisor.model.Instance`.
        settings: of its app.
        home: of the daemon.
        directory: of the configuration, to which ``cwd`` is relative.
        environ: of the daemon.

    Raises:
        ConfigError: it can not run as who it should, or where.
    """
    who = identity(settings.user, settings.group)
    try:
        cwd = directory / Path(settings.cwd).expanduser()
    except RuntimeError:
        raise ConfigError(f"nobody knows where {settings.cwd} is: write the whole path as `cwd`") from None
    env = {key: value for key, value in environ.items() if key not in NOT_INHERITED}
    env |= who.environ() if who is not None else {}
    env |= {key: value.reveal() if isinstance(value, Secret) else value for key, value in settings.env.items()}
    env |= _numbered(number_of(name), settings, env)
    if settings.listen:
        env["LISTEN_FDNAMES"] = ":".join(address.replace(":", "-") for address in settings.listen)
    env[MARKER] = marker(name, begun_s, home)
    env["NOTIFY_SOCKET"] = str(home / SOCKET) if who is None else f"@{abroad(home)}"
    if settings.watchdog:
        env["WATCHDOG_USEC"] = str(round(settings.watchdog * 1e6))
        env[STACKS] = str(place(home, run_of(name, begun_s)))
    umask = int(settings.umask, 8)
    return Launch(argv=_words(settings.command), cwd=cwd, env=env, umask=umask, identity=who)


def _numbered(number: int, settings: AppSettings, env: Mapping[str, str]) -> dict[str, str]:
    """What is different from one instance of an app to the next."""
    found = {_NUMBER: str(number)}
    if settings.instance_var:
        found[settings.instance_var] = str(number)
    if settings.increment_var:
        first = env.get(settings.increment_var, "0")
        found[settings.increment_var] = str(int(first) + number) if first.isdecimal() else str(number)
    return found


def _words(command: Sequence[str]) -> tuple[str, ...]:
    """``mainstay`` is this installation's own."""
    program, *arguments = command
    return (sys.executable, "-P", "-m", "mainstay", *arguments) if program == "mainstay" else tuple(command)
