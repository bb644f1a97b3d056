"""``mainstay restore``: make a backup the database again."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Final

from mainstay.cli.running import configured
from mainstay.cli.services import services
from mainstay.cli.supervised import daemon
from mainstay.clock import SystemClock
from mainstay.config.model import Config
from mainstay.errors import MainstayError
from mainstay.supervisor.client import NoDaemon

__all__ = ["add", "run"]

_AT_REST: Final = frozenset({"stopped", "errored", "exited"})


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "restore", help="make a backup the database again; the one that is there is kept beside it"
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="what `mainstay backup` has made")
    parser.add_argument("--json", action="store_true", help="what became of it, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exchange the file, while nobody uses it."""
    from mainstay.schema import SCHEMA
    from mainstay.storage.backup import database_of, restore

    config = configured(args)
    path = database_of(config.storage.url)
    _refuse_while_kept_running(config)
    restored = restore(args.file, path, rooms=SCHEMA, at=SystemClock().now())
    if args.json:
        print(json.dumps(dataclasses.asdict(restored), indent=2, default=str, ensure_ascii=False))
        return 0
    print(f"restored: {path} from {args.file} ({restored.copy.size_bytes / 2**20:.1f} MiB), whole")
    if restored.kept:
        print(f"kept: {restored.kept} is the database that was there before; remove it when all is well")
    if restored.lacking:
        print(f"it is of an older version: run `mainstay migrate` ({', '.join(restored.lacking)})")
    return 0


def _refuse_while_kept_running(config: Config) -> None:
    """Also between two starts: whoever waits for a restart would come back in the middle."""
    try:
        with daemon(config.home) as talk:
            instances = talk.ask("list", names=[])
    except NoDaemon:
        return
    ours = set(services(config))
    busy = [
        each["name"]
        for each in instances
        if each["name"].rpartition(":")[0] in ours and each["state"] not in _AT_REST
    ]
    if busy:
        apps = " ".join(dict.fromkeys(name.rpartition(":")[0] for name in busy))
        raise MainstayError(f"the service is kept running ({', '.join(busy)}): run `mainstay stop {apps}` first")
