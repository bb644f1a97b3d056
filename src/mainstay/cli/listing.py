"""``mainstay list``, ``describe`` and ``ping``: what runs, and how is it?"""

import argparse
import json
import sys

from mainstay.cli.look import details, listing
from mainstay.cli.names import check_names
from mainstay.cli.running import home_of
from mainstay.cli.supervised import daemon
from mainstay.cli.terminal import shows_colours

__all__ = ["add"]


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    parser = verbs.add_parser(
        "list", help="what runs, and how is it? also: ls, l, ps, status; jlist is list --json"
    )
    parser.add_argument("--json", action="store_true", help="all that is known, for programs")
    parser.set_defaults(run=run_list)
    parser = verbs.add_parser("describe", help="all that is known about an app; also: show, desc, info")
    parser.add_argument("names", nargs="+", metavar="NAME", help="an app (web), or one instance of it (web:0)")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run_describe)
    parser = verbs.add_parser("ping", help="does the supervisor run, and answer? starts none")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run_ping)


def run_list(args: argparse.Namespace) -> int:
    """Show the table."""
    with daemon(home_of(args)) as talk:
        answer = talk.ask("list", names=[])
    if args.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print(listing(answer, colours=shows_colours(sys.stdout)))
    return 0


def run_describe(args: argparse.Namespace) -> int:
    """Show the details of each instance."""
    check_names(args.names)
    with daemon(home_of(args)) as talk:
        answer = talk.ask("list", names=args.names)
    if args.json:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(details(each, colours=shows_colours(sys.stdout)) for each in answer))
    return 0


def run_ping(args: argparse.Namespace) -> int:
    """Say who answers."""
    with daemon(home_of(args)) as talk:
        answer = talk.ask("ping")
    print(json.dumps(answer) if args.json else f"pong: the supervisor runs (pid {answer['pid']})")
    return 0
