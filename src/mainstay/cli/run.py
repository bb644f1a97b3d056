"""``mainstay run`` and ``mainstay daemon``: the supervisor itself, which `mainstay start` starts by itself."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from mainstay.cli.logs import configured_sources, show
from mainstay.cli.running import configured
from mainstay.config.model import Config
from mainstay.errors import only_told
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.output.reader import Reader

__all__ = ["add", "run"]

_POLL_S = 0.1


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

    async def supervised() -> None:
        async with asyncio.TaskGroup() as tasks:
            showing = tasks.create_task(_show(config)) if args.started else None
            await supervise(plan, apps=apps, started=args.started)
            if showing is not None:
                showing.cancel()

    directory = config.file.parent if config.file else Path.cwd()
    plan = Plan(home=config.home, directory=directory, apps=config.apps, environ=dict(os.environ))
    try:
        asyncio.run(supervised())
    except BaseExceptionGroup as group:
        told = only_told(group)
        if told is None:
            raise
        raise told from None
    return 0


async def _show(config: Config) -> None:
    """What the apps say from now on, also the last of it."""
    reader = Reader(configured_sources(config))
    reader.last(0, follow=True)
    try:
        while True:
            show(reader.poll())
            sys.stdout.flush()
            await asyncio.sleep(0.0 if reader.behind else _POLL_S)
    finally:
        while lines := reader.poll():
            show(lines)
        reader.close()
