"""``mainstay kill``: end the supervisor and everything that it runs."""

import argparse

from mainstay.cli.supervised import succeeded
from mainstay.supervisor.client import NoDaemon

__all__ = ["add", "run"]

_PATIENCE_S = 600.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("kill", help="end all apps, each in its time, and the supervisor")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for it, and wait until it is done."""
    try:
        with succeeded(args) as talk:
            talk.ask("kill", timeout_s=_PATIENCE_S)
    except NoDaemon:
        print("no supervisor runs")
    else:
        print("the supervisor and its apps have ended")
    return 0
