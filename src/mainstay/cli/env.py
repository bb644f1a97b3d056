"""``mainstay env``: what is in the environment of an app?"""

import argparse
import json
import os
from typing import Any

from mainstay.cli.running import configured, home_of
from mainstay.cli.supervised import daemon
from mainstay.cli.terminal import table
from mainstay.config.model import Config
from mainstay.errors import ConfigError, nearest
from mainstay.logs.redact import redact
from mainstay.supervisor.client import NoDaemon

__all__ = ["add", "run"]

_HIDDEN = "***"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("env", help="what is in the environment of an app, and from where? hides secrets")
    parser.add_argument("names", nargs="+", metavar="NAME", help="an app (web), or one instance of it (web:0)")
    parser.add_argument("--json", action="store_true", help="for programs; a value that is hidden is null")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show what they have, or would be started with."""
    try:
        with daemon(home_of(args)) as talk:
            answer = talk.ask("env", names=args.names)
    except NoDaemon:
        answer = _from_here(configured(args), args.names)
    for each in answer:
        for variable in each["variables"]:
            variable["value"] = redact(variable["value"]) if variable["value"] is not None else None
    print(json.dumps(answer, indent=2, ensure_ascii=False) if args.json else "\n\n".join(map(_shown, answer)))
    return 0


def _from_here(config: Config, names: list[str]) -> list[dict[str, Any]]:
    """What they would get from a supervisor that was started here and now."""
    from dataclasses import asdict

    from mainstay.supervisor.command import launch
    from mainstay.supervisor.environment import variables
    from mainstay.supervisor.naming import instance_name

    answer = []
    known = {instance_name(app, at): app for app, each in config.apps.items() for at in range(each.instances)}
    for wanted in names:
        if not any(wanted in ("all", name, app) for name, app in known.items()):
            raise ConfigError(f"there is no app {wanted}{nearest(wanted, config.apps)}")
    for name, app in known.items():
        if not {"all", name, app} & set(names):
            continue
        settings = config.apps[app]
        gets = launch(name, 0.0, settings, home=config.home, directory=config.directory, environ=os.environ).env
        found = variables(None, gets, settings=settings.env, inherited=os.environ)
        answer.append({"name": name, "running": False, "variables": [asdict(each) for each in found]})
    return answer


def _shown(each: dict[str, Any]) -> str:
    has = "has" if each["running"] else "does not run, and would be started with"
    rows = [
        (
            variable["name"],
            variable["origin"],
            "changes" if variable["changes"] else "",
            _HIDDEN if variable["value"] is None else variable["value"],
        )
        for variable in each["variables"]
    ]
    return f"{each['name']} {has}\n{table([('NAME', 'FROM', 'NEXT START', 'VALUE'), *rows])}"
