"""``mainstay save`` and ``resurrect``: what is to run, and how does one get back to that?"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from mainstay.cli.running import configured, home_of
from mainstay.cli.supervised import daemon, done, started
from mainstay.deploy.saved import find, keep
from mainstay.errors import MainstayError
from mainstay.supervisor.client import Daemon

__all__ = ["add"]

_PATIENCE_S = 600.0


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    parser = verbs.add_parser("save", help="remember which instances are to run now, for `resurrect`")
    parser.add_argument("--force", action="store_true", help="even if that is none, and it was some before")
    parser.set_defaults(run=run_save)
    parser = verbs.add_parser(
        "resurrect", help="start what was to run when `save` was typed; starts the supervisor if none runs"
    )
    parser.add_argument("--no-wait", action="store_true", help="do not wait until that is done")
    parser.add_argument("--json", action="store_true", help="what became of them, for programs")
    parser.set_defaults(run=run_resurrect)


def run_save(args: argparse.Namespace) -> int:
    """Write it down."""
    home = home_of(args)
    with daemon(home) as talk:
        wanted = {each["name"]: each["wanted"] for each in talk.ask("list", names=[])}
    path = keep(home, wanted, force=args.force)
    print(f"saved: {sum(wanted.values())} of {len(wanted)} instances are to run ({path})")
    return 0


def run_resurrect(args: argparse.Namespace) -> int:
    """Start them; 1 if one of them can not be had."""
    config = configured(args)
    found = find(config.home)
    if found.flaw:
        print(f"mainstay: {found.flaw}; taking the one before", file=sys.stderr)
    with started(config) as talk:
        problems = list(_as_many(talk, found.wanted))
        known = {each["name"] for each in talk.ask("list", names=[])}
        wanted = [name for name, is_wanted in found.wanted.items() if is_wanted]
        problems += [
            f"{name} is no instance of what is configured: left out" for name in wanted if name not in known
        ]
        names = [name for name in wanted if name in known]
        answer: list[dict[str, Any]] = []
        if names:
            answer = talk.ask("start", names=names, wait=not args.no_wait, timeout_s=_PATIENCE_S)
    for problem in problems:
        print(f"mainstay: {problem}", file=sys.stderr)
    done(answer, as_json=args.json)
    return int(bool(problems) or any(each["state"] == "errored" for each in answer))


def _as_many(talk: Daemon, wanted: Mapping[str, bool]) -> Iterable[str]:
    """As many instances of each app as there were; gives what can not be done."""
    there = _counts(each["name"] for each in talk.ask("list", names=[]))
    running = {name.rpartition(":")[0] for name, is_wanted in wanted.items() if is_wanted}
    for app, count in _counts(wanted).items():
        if app in running and app in there and there[app] != count:
            try:
                talk.ask("scale", names=[app], to=str(count), wait=False)
            except MainstayError as error:
                yield f"{app} had {count} instances and has {there[app]}: {error}"


def _counts(names: Iterable[str]) -> Counter[str]:
    return Counter(name.rpartition(":")[0] for name in names)
