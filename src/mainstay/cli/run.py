"""``mainstay run`` and ``mainstay daemon``: the supervisor itself, which `mainstay start` starts by itself.

Both read the configuration, and become `mainstay.cli.daemon`, which has what was read and nothing else of this.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mainstay.cli.daemon import program
from mainstay.cli.running import configured
from mainstay.config.load import FILE_NAME
from mainstay.supervisor.daemon import Plan
from mainstay.supervisor.planning import Asked, marks, write

__all__ = ["add", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("run", help="keep the configured apps running, in the foreground; Ctrl-C ends them")
    parser.set_defaults(run=run, foreground=True)
    parser = verbs.add_parser(
        "daemon", help="the same, but starts nothing by itself; `start` has it in the background"
    )
    parser.set_defaults(run=run, foreground=False)
    for each in verbs.choices["run"], verbs.choices["daemon"]:
        each.add_argument("--plan-to", type=int, help=argparse.SUPPRESS)
        each.add_argument("--check", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Supervise until SIGTERM or SIGINT; or only say what would be supervised, to one who does."""
    asked = _asked(args)
    fd = os.memfd_create("plan") if args.plan_to is None else args.plan_to
    write(asked, fd)
    command = program(shown=args.foreground)
    if args.check:
        print("\n".join(command), flush=True)
        _become([*command, "check", str(fd)], fd)
    if args.plan_to is None:
        _become([*command, *(["started"] if args.foreground else []), str(fd)], fd)
    return 0


def _become(command: Sequence[str], fd: int) -> NoReturn:
    os.set_inheritable(fd, True)  # noqa: FBT003
    os.execv(command[0], list(command))  # noqa: S606  no shell is wanted


def _asked(args: argparse.Namespace) -> Asked:
    file: Path | None = getattr(args, "config", None)
    directory = file.parent if file else Path.cwd()
    before = marks([(file or directory / FILE_NAME).absolute(), (directory / ".env").absolute()])
    config = configured(args)
    plan = Plan(
        home=config.home,
        directory=config.file.parent if config.file else Path.cwd(),
        apps=config.apps,
        environ=dict(os.environ),
    )
    anew = [sys.executable, "-P", "-m", "mainstay", args.verb, *(("--config", str(file)) if file else ())]
    return Asked(plan=plan, command=tuple(anew), read=before)
