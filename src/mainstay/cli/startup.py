"""``mainstay startup`` and ``unstartup``: who starts the supervisor when the machine starts?"""

import argparse
import os
import pwd
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mainstay.cli.running import configured
from mainstay.config.load import load
from mainstay.config.model import Config
from mainstay.deploy.systemd.install import Manager, booted, install, remove
from mainstay.deploy.systemd.machine import unit_text
from mainstay.deploy.systemd.model import Unit, unit_name
from mainstay.errors import ConfigError

__all__ = ["add", "directory", "is_user_unit", "run", "unit"]

_SYSTEM: Final = "etc/systemd/system"
_PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ")
"""What the apps need of the environment in which they were tried; systemd's own is almost empty."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verbs."""
    for verb, help in (
        ("startup", "have systemd start the supervisor of this directory when the machine starts"),
        ("unstartup", "remove what `startup` has written; what runs goes on"),
    ):
        parser = verbs.add_parser(verb, help=help)
        whose = parser.add_mutually_exclusive_group()
        whose.add_argument("--user", action="store_true", help="as a unit of this user; the default, but for root")
        whose.add_argument("--system", action="store_true", help="as a unit of the system")
        parser.add_argument("--name", help="of the unit; by default mainstay-DIRECTORY")
        parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
        parser.add_argument(
            "--root", type=Path, metavar="DIR", help="write into the system whose root this is; tells no systemd"
        )
        if verb == "startup":
            _add_user(parser)
        parser.set_defaults(run=run)


def _add_user(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run-as", metavar="USER", help="with --system: as whom it runs; by default as the directory's owner"
    )


def run(args: argparse.Namespace) -> int:
    """Write or remove the unit, and say what remains to be done."""
    config = configured(args)
    project, manager = directory(config), _manager(args)
    name = f"{args.name.removesuffix('.service')}.service" if args.name else unit_name(project.name)
    if "/" in name or name.startswith("."):
        raise ConfigError(f"{name!r} can not be the name of a unit: write letters, digits, '-', '_' and '.'")
    if args.verb == "unstartup":
        return _unstartup(args, name, project, manager)
    made = unit(config, args)
    text = unit_text(made)
    for line in _lacking(config, made):
        print(f"mainstay: {line}", file=sys.stderr)
    if args.dry_run:
        print(f"# {manager.directory / name}\n{text}", end="")
        return 0
    path, left = install(text, name, str(project), manager)
    print(f"written: {path}")
    _say(left)
    whose = "systemctl --user" if manager.is_user else "systemctl"
    print(f"to start it now: {whose} start {name} (after `mainstay kill`, if a supervisor runs)")
    if manager.is_user:
        print(f"a user's units run while that user is logged in; always: loginctl enable-linger {_whoami()}")
    return 0


def _unstartup(args: argparse.Namespace, name: str, project: Path, manager: Manager) -> int:
    if args.dry_run:
        for command in manager.commands(("disable", name), ("daemon-reload",)):
            print(shlex.join(command))
        print(f"would be removed: {manager.directory / name}")
        return 0
    path, left = remove(name, str(project), manager)
    print(f"removed: {path}")
    _say(left)
    return 0


def _say(left: list[list[str]]) -> None:
    if left:
        print("no systemd can be told from here; where it runs, type:")
        for command in left:
            print(f"  {shlex.join(command)}")


def is_user_unit(args: argparse.Namespace) -> bool:
    """Whether a unit of a user is meant."""
    return bool(args.user or not (args.system or os.geteuid() == 0))


def _manager(args: argparse.Namespace) -> Manager:
    is_user = is_user_unit(args)
    if args.root and is_user:
        raise ConfigError("--root is for units of the system: add --system")
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"
    place = own if is_user else (args.root or Path("/")).absolute() / _SYSTEM
    return Manager(directory=place, is_user=is_user, reachable=booted() and args.root is None)


def directory(config: Config) -> Path:
    """Of the project."""
    return _plain(config.directory)


def _plain(path: Path) -> Path:
    """Absolute, and without steps back."""
    return Path(os.path.abspath(path))  # noqa: PTH100  resolve() would leave the directory that was typed


def unit(config: Config, args: argparse.Namespace) -> Unit:
    """The unit of this project."""
    project = directory(config)
    if "\n" in str(project):
        raise ConfigError(f"{str(project)!r}: systemd can not have a directory with a line break in its name")
    return Unit(
        directory=str(project),
        command=(sys.executable, "-P", "-m", "mainstay"),
        arguments=("--config", str(_plain(config.file))) if config.file else (),
        user="" if is_user_unit(args) else args.run_as or _owner(project),
        stop_s=max((app.stop_timeout for app in config.apps.values()), default=0.0),
        environment=_environment(config, project),
    )


def _environment(config: Config, project: Path) -> Mapping[str, str]:
    found = {name: os.environ[name] for name in _PASSED_ON if os.environ.get(name)}
    home = _plain(config.home)
    if home != project / ".mainstay":
        found["MAINSTAY_HOME"] = str(home)
    return found


def _lacking(config: Config, made: Unit) -> Iterator[str]:
    """What this shell has, and systemd will not have: the machine would start something else, or nothing."""
    try:
        there = load(config.file, directory=Path(made.directory), environ=made.environment).origins
    except ConfigError as error:
        yield from (f"when the machine starts it: {problem}" for problem in error.problems)
        return
    origins = [origin for key, origin in config.origins.items() if there.get(key) != origin]
    for name in sorted({origin.split()[1] for origin in origins if origin.startswith("environment ")}):
        yield f"{name} is set in this shell only, and lost at the next boot: write it into {made.directory}/.env"


def _owner(project: Path) -> str:
    """A name, or a number that has none; systemd takes both."""
    try:
        return project.owner()
    except KeyError:
        return str(project.stat().st_uid)


def _whoami() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name
