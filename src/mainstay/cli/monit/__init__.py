"""``mainstay monit``: how are the apps, now and from now on?"""

import argparse
import os
import sys

from mainstay.cli.running import home_of
from mainstay.errors import ConfigError

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("monit", help="watch the apps on the terminal: state, CPU, memory, logs; q ends it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Watch until somebody has seen enough."""
    import asyncio

    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") == "dumb":
        raise ConfigError("monit draws on a terminal, and here is none: `mainstay list --json` is for programs")

    from mainstay.cli.monit.monitor import Monitor

    monitor = Monitor(home_of(args))
    try:
        return asyncio.run(monitor.run())
    finally:
        monitor.close()
