"""``mainstay import``: what does an ecosystem file of PM2 mean here?"""

import argparse
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from mainstay.cli.terminal import table
from mainstay.config.defaults import SERVICE
from mainstay.config.load import FILE_NAME, load
from mainstay.config.schema import SECTIONS
from mainstay.config.toml import read_text, read_toml
from mainstay.config.values import fit
from mainstay.config.variables import read_variables
from mainstay.deploy.pm2.machine import translate
from mainstay.deploy.pm2.model import Entry, Imported, Place, Setting, Verdict
from mainstay.deploy.pm2.reading import CANDIDATES, look, read
from mainstay.deploy.toml import app_table
from mainstay.errors import ConfigError
from mainstay.logs.redact import redact_fields

__all__ = ["add", "looks_secret", "report", "run"]

_DOTENV: Final = ".env"
_REFERENCE: Final = "env:"
_NEXT: Final = "next: mainstay config check, then mainstay start"
_TO_WRITE: Final = "next: mainstay import --write adds this to mainstay.toml"


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "import",
        help="read an ecosystem file of PM2, show it as apps of mainstay.toml, and say what became of each setting",
    )
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help=f"{', '.join(CANDIDATES[:3])} or .json; found if absent"
    )
    parser.add_argument("--env", metavar="NAME", help="with env_NAME, as pm2 start --env NAME")
    parser.add_argument(
        "--write", action="store_true", help="add the apps to mainstay.toml, and their secrets to .env"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, show, and write if that is asked for."""
    target: Path = getattr(args, "config", None) or Path(FILE_NAME)
    apps, entries = _read(args, target.absolute().parent)
    apps, secrets = _without_secrets(apps)
    text = "\n".join(app_table(app.name, app.settings) for app in apps)
    notes = [f"from .env, as they look like secrets or references: {', '.join(secrets)}"] if secrets else []
    if args.write:
        notes += _write(target, text, apps, secrets)
    if args.json:
        named = {app.name: app.settings for app in apps}
        said = {"apps": named, "toml": text, "report": [asdict(entry) for entry in entries], "notes": notes}
        print(json.dumps(said, indent=2, ensure_ascii=False))
        return 0
    if not args.write:
        print(text)
    print(report(entries))
    for note in (*notes, _NEXT if args.write else _TO_WRITE):
        print(note)
    return 0


def report(entries: Sequence[Entry]) -> str:
    """One line for each setting."""
    rows = [(each.app or "-", each.key, each.verdict, each.becomes or "-", each.note) for each in entries]
    return table([("APP", "SETTING", "IS", "AS", "NOTE"), *rows])


def _read(args: argparse.Namespace, directory: Path) -> tuple[list[Imported], list[Entry]]:
    here = Path.cwd()
    place = Place(
        directory="" if here == directory else str(here), home=str(Path.home()), cores=os.cpu_count() or 1
    )
    apps, entries = translate(read(args.file or _found(here)), place=place, look=look, env=args.env)
    return _fitting(apps, entries)


def _found(directory: Path) -> Path:
    for name in CANDIDATES:
        if (directory / name).exists():
            return Path(name)
    raise ConfigError(f"there is no {CANDIDATES[0]} here, nor one of another ending: name the file")


def _fitting(apps: Sequence[Imported], entries: Sequence[Entry]) -> tuple[list[Imported], list[Entry]]:
    """Without what PM2 takes and this version does not; the report says so."""
    refused: dict[tuple[str, str], str] = {}
    nameless: dict[str, str] = {}
    for app in apps:
        for name, value in app.settings.items():
            if isinstance(value, dict):
                if names := [each for each, text in value.items() if _flaw(name, {each: text})]:
                    nameless[app.name] = ", ".join(names)
            elif flaw := _flaw(name, value):
                refused[app.name, name] = flaw

    def kept(app: Imported) -> Mapping[str, Setting]:
        return {
            name: {each: text for each, text in value.items() if not _flaw(name, {each: text})}
            if isinstance(value, dict)
            else value
            for name, value in app.settings.items()
            if (app.name, name) not in refused
        }

    def true(entry: Entry) -> Entry:
        if flaw := refused.get((entry.app, entry.becomes)):
            return replace(entry, verdict=Verdict.UNSUPPORTED, becomes="", note=flaw)
        if entry.becomes == "env" and entry.app in nameless:
            note = f"left out, as no variable is called so here: {nameless[entry.app]}"
            return replace(entry, verdict=Verdict.CHANGED, note=note)
        return entry

    return [replace(app, settings=kept(app)) for app in apps], [true(entry) for entry in entries]


def _flaw(name: str, value: Setting) -> str:
    key = SECTIONS["apps"].keys.get(name)
    if key is None:
        return f"this version has no setting {name}"
    try:
        fit(value, key)
    except ValueError as error:
        return str(error)
    return ""


def _without_secrets(apps: Sequence[Imported]) -> tuple[list[Imported], dict[str, str]]:
    """Values that look like secrets, or would be read as references, are those of variables in ``.env``."""
    secrets: dict[str, str] = {}
    cleaned = []
    for app in apps:
        env = app.settings.get("env")
        written = dict(env) if isinstance(env, dict) else {}
        for name, value in written.items():
            if looks_secret(name, value) or _REFERENCE in value:
                variable = (
                    name if secrets.get(name, value) == value else f"{app.name}_{name}".replace("-", "_").upper()
                )
                secrets[variable], written[name] = value, f"env:{variable}"
        cleaned.append(replace(app, settings={**app.settings, **({"env": written} if written else {})}))
    return cleaned, secrets


def looks_secret(name: str, value: str) -> bool:
    """Whether a variable of this name and value is one that nobody should read."""
    return bool(value) and redact_fields({name: value}) != {name: value}


def _write(target: Path, text: str, apps: Sequence[Imported], secrets: Mapping[str, str]) -> list[str]:
    """Add it to what is there, which stays as it is; nothing is written if the whole would be wrong."""
    target = target.resolve()
    there = target.exists()
    known = read_toml(target).data.get("apps", {}) if there else {}
    for app in apps:
        if app.name in known:
            raise ConfigError(f"{target.name}: [apps.{app.name}] is there already: rename one, or take it out")
    dotenv = target.with_name(_DOTENV)
    added, kept = _assignments(dotenv, secrets)
    before = f"{read_text(target).rstrip()}\n\n" if there else ""
    _check(target, before + text, secrets)
    if added:
        _replace(dotenv, added, 0o600)
    _replace(target, before + text, 0o600)
    notes = [f"written: {target}", *kept]
    if not known and SERVICE not in (app.name for app in apps):
        notes.append(
            f"the built-in app {SERVICE} is there no more: where a file names apps, they are all there are"
        )
    return notes


def _assignments(dotenv: Path, secrets: Mapping[str, str]) -> tuple[str, list[str]]:
    """What ``.env`` is to be, empty if it may stay as it is; and what was there already."""
    known = read_variables({}, dotenv)
    fresh = {name: value for name, value in secrets.items() if name not in known}
    kept = [f".env has {name} already; left as it is" for name in secrets if name in known]
    if not fresh:
        return "", kept
    before = read_text(dotenv).rstrip("\n") + "\n" if dotenv.exists() else ""
    quoted = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in fresh.items()}
    return before + "".join(f"{name}='{value}'\n" for name, value in quoted.items()), kept


def _check(target: Path, text: str, secrets: Mapping[str, str]) -> None:
    trial = target.with_suffix(".new")
    try:
        tomllib.loads(text)
        _replace(trial, text, 0o600)
        load(trial, environ={**os.environ, **secrets})
    except ConfigError as error:
        raise ConfigError(*(problem.replace(trial.name, target.name) for problem in error.problems)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{target.name}: this can not be added to it: {error}; show it without --write") from None
    finally:
        trial.unlink(missing_ok=True)


def _replace(path: Path, text: str, mode: int) -> None:
    """Whole or not at all; whoever could read it still can."""
    fresh = path.with_name(f"{path.name}.fresh")
    mode = path.stat().st_mode & 0o777 if path.exists() else mode
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    fresh.replace(path)
