"""``mainstay doctor``: is everything as it should be, from the machine to the last backup?

Each check looks for itself, at what is there, and changes nothing. It has a thread and a deadline of its own: one
that hangs or breaks is one line that says so, and the others are answered.
"""

import argparse
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Thread
from typing import Final

from mainstay.cli.doctor import data, host, processes, service, settings
from mainstay.cli.doctor.model import Check, Finding, Project, State, failed
from mainstay.cli.terminal import table
from mainstay.config.load import FILE_NAME, load
from mainstay.errors import ConfigError, nearest
from mainstay.logs.redact import redact
from mainstay.units import format_duration

__all__ = ["CHECKS", "add", "examine", "look_at", "run"]

CHECKS: Final[Mapping[str, Check]] = {
    "python": host.python,
    "kernel": host.kernel,
    "installation": host.installation,
    "disk": host.disk,
    "clock": host.clock,
    "open-files": host.open_files,
    "configuration": settings.configuration,
    "environment": settings.environment,
    "credentials": settings.credentials,
    "secrets": settings.secrets,
    "permissions": settings.permissions,
    "database": data.database,
    "backup": data.backup,
    "port": service.port,
    "access": service.access,
    "probes": service.probes,
    "supervisor": processes.supervisor,
    "apps": processes.apps,
    "memory": processes.memory,
    "logs": processes.logs,
    "startup": processes.startup,
    "devtools": service.devtools,
    "alerts": service.alerts,
}
"""By names that stay."""


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "doctor", help="is everything as it should be? exit code 1 when something is not; warnings are none"
    )
    parser.add_argument("names", nargs="*", metavar="CHECK", help=f"only these: {', '.join(CHECKS)}")
    parser.add_argument("--timeout", type="duration", default=10.0, metavar="10s", help="how long a check may take")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and show what was found."""
    for name in args.names:
        if name not in CHECKS:
            raise ConfigError(f"there is no check {name}{nearest(name, CHECKS)}")
    chosen = {name: check for name, check in CHECKS.items() if not args.names or name in args.names}
    found = examine(look_at(getattr(args, "config", None)), chosen, within_s=args.timeout)
    is_well = all(each.state is not State.FAILED for each in found.values())
    if args.json:
        checks = [{"name": name, "state": each.state, "says": each.says} for name, each in found.items()]
        print(json.dumps({"ok": is_well, "checks": checks}, indent=2, ensure_ascii=False))
    else:
        rows = [(name, each.state, each.says) for name, each in found.items()]
        print(table([("CHECK", "STATE", "WHAT IS THERE"), *rows]))
    return 0 if is_well else 1


def look_at(file: Path | None, *, directory: Path | None = None) -> Project:
    """The project, whether its configuration can be read or not."""
    directory = (file.parent if file else directory or Path.cwd()).absolute()
    if file is None and os.path.lexists(directory / FILE_NAME):
        file = directory / FILE_NAME
    try:
        config = load(file, directory=directory)
    except ConfigError as error:
        home = directory / Path(os.environ.get("MAINSTAY_HOME", ".mainstay")).expanduser()
        return Project(directory=directory, home=home, file=file, problems=error.problems)
    return Project(directory=directory, home=config.home, file=file, config=config)


def examine(project: Project, checks: Mapping[str, Check], *, within_s: float) -> dict[str, Finding]:
    """What each of the checks finds, in their order."""
    found: dict[str, Finding] = {}

    def look(name: str, check: Check) -> None:
        try:
            found[name] = check(project)
        except Exception as error:  # noqa: BLE001  a check's border: it is one line among the others
            found[name] = failed(f"could not be checked: {type(error).__name__}: {error}")

    threads = [Thread(target=look, args=each, daemon=True) for each in checks.items()]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
    late = failed(f"could not be checked: it has not ended within {format_duration(within_s)}")
    return {name: _told(found.get(name, late)) for name in checks}


def _told(finding: Finding) -> Finding:
    """In one line, with nothing secret in it."""
    return Finding(state=finding.state, says=" ".join(redact(finding.says).split()))
