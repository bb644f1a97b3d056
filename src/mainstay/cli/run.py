"""``mainstay run``: the supervisor in the foreground, for a terminal or as the first process of a container."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mainstay.cli.running import configured
from mainstay.supervisor.model import AppSettings

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("run", help="keep the configured apps running, in the foreground; Ctrl-C ends them")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start what is configured, and supervise until SIGTERM or SIGINT."""
    from mainstay.supervisor.daemon import Plan
    from mainstay.supervisor.life import supervise

    config = configured(args)

    def apps() -> Mapping[str, AppSettings]:
        return configured(args).apps

    directory = config.file.parent if config.file else Path.cwd()
    plan = Plan(home=config.home, directory=directory, apps=config.apps, environ=dict(os.environ))
    asyncio.run(supervise(plan, apps=apps, started=True))
    print("stopped", file=sys.stderr)
    return 0
