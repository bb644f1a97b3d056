"""``mainstay start``, ``stop``, ``restart``, ``reload``, …: what is to be done with the apps?"""

import argparse
import sys

from mainstay.cli.look import why_not
from mainstay.cli.names import check_names
from mainstay.cli.running import configured
from mainstay.cli.services import migrated
from mainstay.cli.supervised import done, started, succeeded
from mainstay.cli.terminal import safe
from mainstay.supervisor.client import Daemon

__all__ = ["add"]

_NAMES = "an app (web), one instance of it (web:0), or all, which is also meant by none"
_PATIENCE_S = 600.0
_TO_RUN = ("start", "restart")
_STARTING = frozenset({"start", "restart", "reload"})
"""Perhaps in another version than before."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    for verb, help in (
        ("start", "keep the configured apps running; starts the supervisor if none runs"),
        ("stop", "end apps, and keep them ended"),
        ("restart", "end apps and start them again, each instance by itself"),
        ("reload", "start successors, and end what ran before once they are ready; stops at the first failure"),
        ("delete", "end apps, and show them no more until they are started again"),
        ("reset", "forget how often apps were restarted; one that was given up is started by `start` then"),
    ):
        parser = verbs.add_parser(verb, help=help)
        parser.add_argument("names", nargs="*", metavar="NAME", help=_NAMES)
        parser.add_argument("--no-wait", action="store_true", help="do not wait until that is done")
        parser.add_argument("--json", action="store_true", help="what became of them, for programs")
        parser.set_defaults(run=run)
    parser = verbs.add_parser("scale", help="have more or fewer instances of an app")
    parser.add_argument("names", nargs=1, metavar="NAME", help="an app (web)")
    parser.add_argument("to", metavar="N", help="how many (3), how many more (+1), or how many fewer (-1)")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until that is done")
    parser.add_argument("--json", action="store_true", help="what became of them, for programs")
    parser.set_defaults(run=run)
    parser = verbs.add_parser("signal", help="send a signal to an app's processes")
    parser.add_argument("signal", metavar="SIGNAL", help="e.g. SIGHUP")
    parser.add_argument("names", nargs="+", metavar="NAME", help=_NAMES)
    parser.add_argument("--json", action="store_true", help="what became of them, for programs")
    parser.set_defaults(run=run, no_wait=True)


def run(args: argparse.Namespace) -> int:
    """Ask, wait until it is done, and show how the instances are then; 1 if one does not run that was to."""
    check_names(args.names)
    details = {name: getattr(args, name) for name in ("signal", "to") if hasattr(args, name)}
    with _daemon(args) as talk:
        answer = talk.ask(args.verb, names=args.names, wait=not args.no_wait, timeout_s=_PATIENCE_S, **details)
    done(answer, as_json=args.json)
    failed = list(why_not(answer, waited=not args.no_wait)) if args.verb in _TO_RUN else []
    for line in failed:
        print(f"mainstay: {safe(line)}", file=sys.stderr)
    return int(bool(failed))


def _daemon(args: argparse.Namespace) -> Daemon:
    """Who is asked. What is to run is looked at before; what is to end may end whatever is written."""
    if args.verb in _STARTING:
        config = configured(args)
        migrated(config, args.names)
        if args.verb == "start":
            return started(config)
    return succeeded(args)
