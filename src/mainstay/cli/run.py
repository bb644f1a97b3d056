"""``mainstay run`` and ``mainstay daemon``: the supervisor itself, which `mainstay start` starts by itself."""

import argparse
import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from mainstay.cli.running import configured
from mainstay.supervisor.model import AppSettings

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("run", help="keep the configured apps running, in the foreground; Ctrl-C ends them")
    parser.set_defaults(run=run, started=True)
    parser = verbs.add_parser(
        "daemon", help="the same, but starts nothing by itself; `start` has it in the background"
    )
    parser.set_defaults(run=run, started=False)


def run(args: argparse.Namespace) -> int:
    """Supervise until SIGTERM or SIGINT."""
    from mainstay.supervisor.daemon import Plan
    from mainstay.supervisor.life import supervise

    config = configured(args)

    def apps() -> Mapping[str, AppSettings]:
        return configured(args).apps

    directory = config.file.parent if config.file else Path.cwd()
    plan = Plan(home=config.home, directory=directory, apps=config.apps, environ=dict(os.environ))
    asyncio.run(supervise(plan, apps=apps, started=args.started))
    return 0
