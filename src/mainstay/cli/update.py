"""``mainstay update``: have the supervisor that runs go on with the code that is installed now."""

import argparse
import json

from mainstay.cli.running import home_of
from mainstay.cli.supervised import daemon

__all__ = ["add", "run"]

_PATIENCE_S = 120.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "update", help="after an upgrade: let the supervisor go on with the new code; no app is touched"
    )
    parser.add_argument("--json", action="store_true", help="what became of it, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask for it, and wait until the new code answers; 1 if the keeper has not followed."""
    with daemon(home_of(args)) as talk:
        done = talk.ask("update", timeout_s=_PATIENCE_S)
    if args.json:
        print(json.dumps(done, indent=2))
    else:
        keeper = done["failed"] or f"so does its keeper (process {done['keeper']})"
        print(f"the supervisor (process {done['pid']}) runs the installed code now; {keeper}")
    return int(bool(done["failed"]))
