"""Which daemon does a command talk to, and how is one started?

The one of this directory: the configuration says where its home is.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mainstay.cli.running import configured, home_of
from mainstay.errors import ConfigError, MainstayError
from mainstay.supervisor.client import Daemon, NoDaemon

if TYPE_CHECKING:
    from mainstay.config.model import Config
    from mainstay.supervisor.plan import Asked

__all__ = ["daemon", "done", "started", "succeeded"]

_LOG: Final = "supervisor.log"
_READY_WITHIN_S: Final = 10.0


def daemon(home: Path) -> Daemon:
    """The one that runs in this home. Raises NoDaemon."""
    try:
        return Daemon(home)
    except NoDaemon:
        if not _is_left(home):
            raise
        died = f"the supervisor of {home} has died, and what it kept goes on: `mainstay start` starts another"
        raise NoDaemon(died) from None


def succeeded(args: argparse.Namespace) -> Daemon:
    """The one that runs; where it has died, one that takes over what it has left, whatever is configured now.

    Raises:
        NoDaemon: nothing is left.
    """
    home = home_of(args)
    try:
        return Daemon(home)
    except NoDaemon:
        if not _is_left(home):
            raise
    try:
        config = configured(args)
    except ConfigError:
        from mainstay.config.model import Config

        config = Config(home=home)
    return started(config)


def started(config: "Config") -> Daemon:
    """The one that runs, or a new one, which goes on when this command has ended."""
    from mainstay.cli.run import asked

    try:
        return Daemon(config.home)
    except NoDaemon:
        return _new(asked(config))


def _new(asked: "Asked") -> Daemon:
    from mainstay.supervisor.locks import DAEMON, is_held

    home, pid, ended = asked.plan.home, _spawn(asked), False
    until_s = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < until_s:
        try:
            return Daemon(home)
        except NoDaemon:
            ended = ended or os.waitpid(pid, os.WNOHANG)[0] == pid
            if ended and not is_held(home / DAEMON):  # else somebody else's was there first, and is about to answer
                break
            time.sleep(0.01)
    raise MainstayError(f"the supervisor did not start: {_last_line(home / _LOG)}")


def _is_left(home: Path) -> bool:
    """Whether anything runs that a daemon has started, which is gone; be it a keeper with nothing under it."""
    from mainstay.alive import is_alive
    from mainstay.supervisor.locks import KEEPER, is_held
    from mainstay.supervisor.state import load

    if is_held(home / KEEPER):
        return True
    kept = load(home)
    children = [each.child for each in kept.instances.values() if each.child] if kept else []
    return any(is_alive(each.pid, each.mark) for each in children)


def _spawn(asked: "Asked") -> int:
    from mainstay.cli.daemon import program
    from mainstay.notify import MARKER
    from mainstay.supervisor.plan import write

    asked.plan.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    plan = os.memfd_create("plan")
    write(asked, plan)
    os.set_inheritable(plan, True)  # noqa: FBT003
    command = (*program(shown=""), str(plan))
    log = str(asked.plan.home / _LOG)
    # Not subprocess: its object would have to be kept, and a daemon that outlives this command is the intention.
    pid = os.posix_spawn(
        command[0],
        command,
        {name: value for name, value in os.environ.items() if name != MARKER},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    os.close(plan)
    return pid


def _last_line(log: Path) -> str:
    try:
        said = log.read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        said = []
    return said[-1] if said else f"see {log}"


def done(answer: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """Print what became of the instances that a command was about."""
    import json

    from mainstay.cli.look import listing
    from mainstay.cli.terminal import shows_colours

    colours = shows_colours(sys.stdout)
    print(json.dumps(answer, indent=2, ensure_ascii=False) if as_json else listing(answer, colours=colours))
