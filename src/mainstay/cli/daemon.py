"""``mainstay daemon``: the supervisor itself; ``mainstay start`` starts it."""

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from mainstay.cli.running import configured
from mainstay.supervisor.model import AppSettings

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("daemon", help="the supervisor itself, for systemd and the like; `start` starts it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Supervise until SIGTERM."""
    from mainstay.supervisor.daemon import Plan
    from mainstay.supervisor.life import supervise

    config = configured(args)
    directory = config.file.parent if config.file else Path.cwd()

    def apps() -> Mapping[str, AppSettings]:
        return configured(args).apps

    plan = Plan(home=config.home, directory=directory, apps=config.apps, environ=dict(os.environ))
    asyncio.run(supervise(plan, apps=apps))
    return 0
