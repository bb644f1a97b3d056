"""``mainstay backup``: a copy of the database, while the service writes it."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Final

from mainstay.cli.running import configured
from mainstay.clock import SystemClock, iso
from mainstay.config.model import Config
from mainstay.errors import ConfigError
from mainstay.storage.backup import Copy, back_up, copy_file, database_of, dated, prune

__all__ = ["LAST", "add", "run"]

LAST: Final = "backup.json"
"""In the home: what the last backup was, wherever it is now."""

_DIRECTORY: Final = "backups"
_SETTINGS: Final = ".toml"
_SECRETS: Final = ".env"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("backup", help="copy the database while the service writes it, and check the copy")
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        metavar="FILE",
        help="a new file, or a directory that is there; a dated file in the home's backups if absent",
    )
    parser.add_argument(
        "--keep", type=_count, metavar="N", help="remove all but the newest N dated backups of this service there"
    )
    parser.add_argument("--with-secrets", action="store_true", help="copy .env too: whoever has it has your keys")
    parser.add_argument(
        "--timeout", type="duration", default=600.0, metavar="10m", help="how long the copying may take"
    )
    parser.add_argument("--json", action="store_true", help="what was made, for programs")
    parser.set_defaults(run=run)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of backups: write 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Copy, put the configuration beside it, and remove what is too much."""
    config, clock = configured(args), SystemClock()
    database, at = database_of(config.storage.url), clock.now()
    named: Path | None = args.file
    is_dated = named is None or named.is_dir()
    if args.keep is not None and not is_dated:
        raise ConfigError("--keep N goes with dated backups: name a directory in place of a file, or nothing")
    directory = config.home / _DIRECTORY if named is None else named
    target = directory / dated(config.service.name, at) if is_dated else directory
    copy = back_up(database, target, within_s=args.timeout)
    inside = [database.name, *_beside(config, target, secrets=args.with_secrets)]
    about = _about(copy, iso(at), inside)
    _remember(config.home / LAST, about)
    removed: list[Path] = []
    if args.keep is not None:
        removed = prune(directory, config.service.name, args.keep, beside=(_SETTINGS, _SECRETS))
    if args.json:
        print(json.dumps({**about, "removed": [str(each) for each in removed]}, indent=2, ensure_ascii=False))
    else:
        beside = f"; with {', '.join(inside[1:])}" if inside[1:] else ""
        print(f"backed up: {copy.path} ({copy.size_bytes / 2**20:.1f} MiB), whole{beside}")
        if ".env" not in inside and (config.directory / ".env").exists():
            print("without .env, which holds secrets: keep them where you keep passwords, or use --with-secrets")
        for each in removed:
            print(f"removed: {each}")
    return 0


def _beside(config: Config, target: Path, *, secrets: bool) -> list[str]:
    """Copy what the database does not have: the configuration, and secrets if asked to; returns their names."""
    files = [(config.file, _SETTINGS)] if config.file else []
    dotenv = config.directory / ".env"
    if secrets and dotenv.exists():
        files.append((dotenv, _SECRETS))
    for source, suffix in files:
        copy_file(source, target.with_name(target.name + suffix))
    return [source.name for source, _ in files]


def _about(copy: Copy, at: str, inside: list[str]) -> dict[str, object]:
    about = dataclasses.asdict(copy)
    return {**about, "path": str(copy.path.absolute()), "at": at, "inside": inside}


def _remember(path: Path, about: dict[str, object]) -> None:
    fresh = path.with_suffix(".new")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh.write_text(json.dumps(about), "utf-8")
    fresh.replace(path)
