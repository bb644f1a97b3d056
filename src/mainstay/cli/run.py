"""``mainstay run`` and ``mainstay daemon``: the supervisor itself, which `mainstay start` starts by itself.

Both read the configuration, and become `mainstay.cli.daemon`, which has what was read and nothing else of this.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from mainstay.cli.daemon import program
from mainstay.cli.lines import Form, add_forms, form_of
from mainstay.cli.running import configured
from mainstay.cli.services import migrated
from mainstay.config.load import FILE_NAME
from mainstay.config.model import Config
from mainstay.supervisor.plan import Asked, Plan, marks, write

__all__ = ["add", "asked", "run"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("run", help="keep the configured apps running, in the foreground; Ctrl-C ends them")
    add_forms(parser)
    parser.set_defaults(run=run, foreground=True, boot=False)
    parser = verbs.add_parser(
        "daemon", help="the same, but starts nothing by itself; `start` has it in the background"
    )
    parser.add_argument(
        "--boot",
        action="store_true",
        help="the machine starts it: what ran when the last one was told to end goes on",
    )
    parser.set_defaults(run=run, foreground=False)
    for each in verbs.choices["run"], verbs.choices["daemon"]:
        each.add_argument("--plan-to", type=int, help=argparse.SUPPRESS)
        each.add_argument("--check", action="store_true", help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Supervise until SIGTERM or SIGINT; or only say what would be supervised, to one who does."""
    fd = os.memfd_create("plan") if args.plan_to is None else args.plan_to
    form = form_of(args) if args.foreground else None
    config = configured(args)
    if (args.foreground or args.boot) and args.plan_to is None and not args.check:
        migrated(config, ())
    write(asked(config, args.verb, form), fd)
    command = program(shown=form.name.lower() if form else "")
    if args.check:
        print("\n".join(command), flush=True)
        _become([*command, "check", str(fd)], fd)
    if args.plan_to is None:
        words = ["started"] if args.foreground else ["boot"] if args.boot else []
        _become([*command, *words, str(fd)], fd)
    return 0


def _become(command: Sequence[str], fd: int) -> NoReturn:
    os.set_inheritable(fd, True)  # noqa: FBT003
    os.execv(command[0], list(command))  # noqa: S606  no shell is wanted


def asked(config: Config, verb: str = "daemon", form: Form | None = None) -> Asked:
    """What this configuration says, which was read just now, to who supervises by this verb, and shows lines so."""
    file = config.file or config.directory / FILE_NAME
    anew = [sys.executable, "-P", "-m", "mainstay", verb, *(("--config", str(file)) if config.file else ())]
    anew += [f"--{form.name.lower()}"] if form in (Form.JSON, Form.RAW) else []
    plan = Plan(home=config.home, directory=config.directory, apps=config.apps, environ=dict(os.environ))
    return Asked(plan=plan, command=tuple(anew), read=marks([file, config.directory / ".env"]))
