"""``mainstay kill``: end the supervisor and everything that it runs."""

import argparse
import time

from mainstay.cli.running import home_of
from mainstay.cli.supervised import succeeded
from mainstay.errors import MainstayError
from mainstay.supervisor.client import NoDaemon
from mainstay.supervisor.locks import DAEMON, is_held

__all__ = ["add", "run"]

_PATIENCE_S = 600.0
_ENDS_WITHIN_S = 30.0
_POLL_S = 0.01


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("kill", help="end all apps, each in its time, and the supervisor")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for it, and wait until it is done; also of what a supervisor that was killed has left."""
    home = home_of(args)
    try:
        talk = succeeded(args)
    except NoDaemon:
        print("no supervisor runs")
        return 0
    with talk:
        talk.ask("kill", timeout_s=_PATIENCE_S)
    until_s = time.monotonic() + _ENDS_WITHIN_S
    while is_held(home / DAEMON):  # it has answered, and tidies up
        if time.monotonic() > until_s:
            raise MainstayError(f"the apps have ended, and the supervisor has not: see {home / 'supervisor.log'}")
        time.sleep(_POLL_S)
    print("the supervisor and its apps have ended")
    return 0
