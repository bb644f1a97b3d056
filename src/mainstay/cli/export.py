"""``mainstay export``: how would others keep what is configured here?"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from mainstay.cli.importing import looks_secret, report
from mainstay.cli.running import configured
from mainstay.cli.startup import directory, unit
from mainstay.config.model import Config
from mainstay.config.schema import SECTIONS
from mainstay.deploy.pm2.export import ecosystem
from mainstay.deploy.pm2.model import Entry, Export
from mainstay.deploy.systemd.machine import unit_text
from mainstay.errors import ConfigError
from mainstay.settings import Secret
from mainstay.supervisor.app import AppSettings

__all__ = ["add", "run"]

_MAPPED: Final = frozenset(Export.__dataclass_fields__)


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "export", help="show the apps as an ecosystem file of PM2, or the supervisor as a unit of systemd"
    )
    parser.add_argument(
        "what",
        choices=("pm2", "systemd"),
        help="pm2: each app, and what PM2 can not have of it; systemd: the unit that `startup` writes",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write it there; it must not exist yet")
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument(
        "--user", action="store_true", help="systemd: a unit of this user; the default, but for root"
    )
    whose.add_argument("--system", action="store_true", help="systemd: a unit of the system")
    parser.add_argument("--run-as", metavar="USER", help="systemd: as whom a unit of the system runs")
    parser.add_argument("--json", action="store_true", help="pm2: file and report, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write it to standard output or into the file; the report goes to standard error."""
    config = configured(args)
    if args.what == "systemd":
        return _give(args, unit_text(unit(config, args)), [])
    file, entries = ecosystem([_exported(config, name) for name in config.apps])
    if args.json:
        print(json.dumps({"ecosystem": file, "report": [asdict(each) for each in entries]}, indent=2))
        return 0
    return _give(args, json.dumps(file, indent=2, ensure_ascii=False) + "\n", entries)


def _give(args: argparse.Namespace, text: str, entries: Sequence[Entry]) -> int:
    if args.output is None:
        print(text, end="")
    else:
        _write(args.output, text)
        print(f"written: {args.output}")
    if entries:
        print(report(entries), file=sys.stderr)
    return 0


def _write(path: Path, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} is there already: choose another name, or remove it") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)


def _exported(config: Config, name: str) -> Export:
    app = config.apps[name]
    command = tuple(app.command)
    if command[0] == "mainstay":
        command = (sys.executable, "-P", "-m", *command)
    env = {
        key: value
        for key, value in app.env.items()
        if not isinstance(value, Secret) and not looks_secret(key, value)
    }
    values = {
        key: getattr(app, key)
        for key in _MAPPED & SECTIONS["apps"].keys.keys()
        if key not in ("command", "cwd", "env")
    }
    return Export(
        name=name,
        command=command,
        directory=str(directory(config)),
        cwd=str(Path(app.cwd).expanduser()),
        env=env,
        secrets=tuple(key for key in app.env if key not in env),
        others=tuple(_others(app)),
        **values,
    )


def _others(app: AppSettings) -> list[str]:
    """What was set, and PM2 can not have."""
    return [
        name
        for name, key in SECTIONS["apps"].keys.items()
        if name not in _MAPPED and getattr(app, name) != key.default
    ]
