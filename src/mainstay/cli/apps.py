"""``mainstay start``, ``stop``, ``restart``, ``reset`` and ``signal``: what is to be done with the apps?"""

import argparse

from mainstay.cli.running import configured
from mainstay.cli.supervised import daemon, done, started

__all__ = ["add"]

_NAMES = "an app (web), one instance of it (web:0), or all, which is also meant by none"
_PATIENCE_S = 600.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    for verb, help in (
        ("start", "keep the configured apps running; starts the supervisor if none runs"),
        ("stop", "end apps, and keep them ended"),
        ("restart", "end apps and start them again, each instance by itself"),
        ("reset", "forget how often apps were restarted; one that was given up is started by `start` then"),
    ):
        parser = verbs.add_parser(verb, help=help)
        parser.add_argument("names", nargs="*", metavar="NAME", help=_NAMES)
        parser.add_argument("--no-wait", action="store_true", help="do not wait until that is done")
        parser.add_argument("--json", action="store_true", help="what became of them, for programs")
        parser.set_defaults(run=run)
    parser = verbs.add_parser("signal", help="send a signal to an app's processes")
    parser.add_argument("signal", metavar="SIGNAL", help="e.g. SIGHUP")
    parser.add_argument("names", nargs="+", metavar="NAME", help=_NAMES)
    parser.add_argument("--json", action="store_true", help="what became of them, for programs")
    parser.set_defaults(run=run, no_wait=True)


def run(args: argparse.Namespace) -> int:
    """Ask, wait until it is done, and show how the instances are then; 1 if one is not as it was asked to be."""
    config = configured(args)
    details = {"signal": args.signal} if args.verb == "signal" else {}
    with started(config) if args.verb == "start" else daemon(config) as talk:
        answer = talk.ask(args.verb, names=args.names, wait=not args.no_wait, timeout_s=_PATIENCE_S, **details)
    done(answer, as_json=args.json)
    failed = {"errored", "backoff"} if args.verb in ("start", "restart") else {"errored"}
    return int(any(each["state"] in failed for each in answer))
