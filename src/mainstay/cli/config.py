"""``mainstay config``: what is configured, from where, and is it right?"""

import argparse
import json

from mainstay.cli.running import configured
from mainstay.cli.terminal import table

__all__ = ["add", "run"]

_LONGEST = 60


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("config", help="check the configuration, or show each value and where it came from")
    parser.add_argument(
        "what",
        choices=("check", "show", "schema"),
        help="check: one line for each problem; show: every value with its origin, secrets as ***; "
        "schema: the JSON Schema of mainstay.toml, for editors",
    )
    parser.add_argument("--json", action="store_true", help="with show: as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do one of the three."""
    from mainstay.config.show import settings
    from mainstay.config.written import json_schema

    if args.what == "schema":
        print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return 0
    config = configured(args)
    if args.what == "check":
        for warning in config.warnings:
            print(f"warning: {warning}")
        print(f"{config.file or 'the defaults'}: right")
        if config.sandbox_needed:
            print(f"the sandbox stands in for {', '.join(config.sandbox_users) or 'nothing'}")
        return 0
    shown = settings(config)
    if args.json:
        values = {each.key: {"value": each.value, "origin": each.origin} for each in shown}
        print(json.dumps(values, indent=2, ensure_ascii=False))
    else:
        rows = [(each.key, _cut(each.text), each.origin) for each in shown]
        print(table([("SETTING", "VALUE", "FROM"), *rows]))
    return 0


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
