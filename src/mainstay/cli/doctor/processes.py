"""Is what should run kept running, also after the machine was started again?"""

import os
import pwd
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mainstay.cli.doctor.model import Finding, Project, configured, failed, ok, skipped, warning
from mainstay.cli.services import services
from mainstay.config.model import Config
from mainstay.errors import MainstayError
from mainstay.supervisor.client import Daemon, NoDaemon
from mainstay.supervisor.model import ACTIVE, State
from mainstay.supervisor.output.model import sources
from mainstay.supervisor.procfs import boot_id
from mainstay.supervisor.state import load
from mainstay.units import format_size

__all__ = ["apps", "instances", "logs", "memory", "startup", "supervisor"]

_WITHIN_S: Final = 3.0
_SYSTEM: Final = ("etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system")
_CGROUPS: Final = "sys/fs/cgroup"
_STARTS: Final = re.compile(r"ExecStart=.*\bmainstay\b.*\s(daemon|run|start|resurrect|serve)\b")
"""A backup each day works in the same directory, and keeps nothing running."""


def instances(project: Project) -> list[dict[str, Any]]:
    """What the supervisor says. Raises MainstayError, NoDaemon where none runs."""
    with Daemon(project.home, timeout_s=_WITHIN_S) as daemon:
        listed: list[dict[str, Any]] = daemon.ask("list", names=[])
        return listed


def supervisor(project: Project) -> Finding:
    """Whether there is one, and it answers."""
    try:
        listed = instances(project)
    except NoDaemon:
        kept = load(project.home)
        was_busy = kept is not None and any(each.state in ACTIVE for each in kept.instances.values())
        if kept is not None and was_busy:
            since = "it has ended" if kept.boot == boot_id() else "the machine was started again"
            return failed(f"it does not run, and did not end its apps: {since}; run `mainstay start`")
        return warning("it does not run: `mainstay start` starts it")
    except MainstayError as error:
        return failed(f"{error}")
    return ok(f"it runs, and keeps {len(listed)} instance{'' if len(listed) == 1 else 's'}")


@configured
def apps(project: Project, config: Config) -> Finding:
    """Whether they are as they were asked to be."""
    try:
        listed = instances(project)
    except NoDaemon:
        return skipped("no supervisor runs")
    except MainstayError:
        return skipped("the supervisor does not answer")
    wanted = {f"{name}:{number}" for name, app in config.apps.items() for number in range(app.instances)}
    if unknown := sorted(wanted - {each["name"] for each in listed}):
        return warning(f"{', '.join(unknown)}: configured since; `mainstay start` takes it up")
    errored = [each for each in listed if each["state"] == State.ERRORED]
    if errored:
        why = "; ".join(f"{each['name']}: {each['detail'] or 'no reason known'}" for each in errored)
        return failed(f"given up: {why}; `mainstay logs` says more, `mainstay start` tries again")
    shaky = [each for each in listed if each["state"] in (State.BACKOFF, State.UNHEALTHY, State.STARTING)]
    if shaky:
        return warning("; ".join(f"{each['name']} is in {each['state']}: {each['detail']}" for each in shaky))
    return ok(", ".join(f"{each['name']} {each['state']}" for each in listed) or "none is configured")


def startup(project: Project) -> Finding:
    """Whether a unit of systemd starts this project with the machine."""
    units = list(_units(project))
    if not units:
        if not (project.root / "run/systemd/system").is_dir():
            return skipped("systemd does not run here: let what starts this container start it again")
        return warning("nothing starts it with the machine: run `mainstay startup`")
    for unit, is_users in units:
        if not _is_enabled(unit, project, is_users=is_users):
            how = "systemctl --user" if is_users else "systemctl"
            return failed(f"{unit} is there and not switched on: {how} enable {unit.name}")
        user = pwd.getpwuid(os.geteuid()).pw_name
        if is_users and not (project.root / "var/lib/systemd/linger" / user).exists():
            return failed(f"{unit} waits until {user} logs in: loginctl enable-linger {user}")
    return ok(f"{', '.join(str(unit) for unit, _ in units)} starts it with the machine")


def _places(project: Project) -> Mapping[Path, bool]:
    """Where units are, and whether those there are a user's own."""
    own = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"
    places = {project.root / place: False for place in _SYSTEM}
    return {**places, project.root / "etc/systemd/user": True, own: True}


def _units(project: Project) -> Iterator[tuple[Path, bool]]:
    """The units that start something of ours in the project's directory, and whether they are a user's own."""
    for place, is_users in _places(project).items():
        for unit in sorted(place.glob("*.service")):
            try:
                lines = unit.read_text(errors="replace").splitlines()
            except OSError:
                continue
            directories = [line.partition("=")[2].strip() for line in lines if line.startswith("WorkingDirectory=")]
            is_here = any(Path(each.replace("%%", "%")) == project.directory for each in directories if each)
            if is_here and any(_STARTS.match(line) for line in lines):
                yield unit, is_users


def _is_enabled(unit: Path, project: Project, *, is_users: bool) -> bool:
    """Links of `systemctl enable` are in the place of the administrator, wherever the unit is."""
    places = [place for place, is_theirs in _places(project).items() if is_theirs is is_users]
    return any(any(place.glob(f"*.wants/{unit.name}")) for place in places)


@configured
def memory(project: Project, config: Config) -> Finding:
    """Whether a leak of the service is ended before it takes the machine along."""
    ours = {name: config.apps[name] for name in services(config)}
    if not ours:
        return skipped("no app is this project's service")
    there = _memory_bytes(project)
    for name, app in ours.items():
        if not app.memory_limit:
            return warning(f'{name} has no limit: write memory_limit = "500MiB" into [apps.{name}]')
        if app.memory_limit * app.instances > there:
            return warning(
                f"{name} may take {format_size(app.memory_limit * app.instances)}, and there are "
                f"{there / 2**20:.0f} MiB: the kernel would end it before the supervisor does"
            )
    return ok(", ".join(f"{name}: {format_size(app.memory_limit or 0)}" for name, app in ours.items()))


def _memory_bytes(project: Project) -> int:
    """Of the machine, or what the control group allows if that is less."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        group = (project.root / "proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
        allowed = (project.root / _CGROUPS / group / "memory.max").read_text().strip()
    except OSError:
        return there
    return min(there, int(allowed)) if allowed.isdecimal() else there


@configured
def logs(project: Project, config: Config) -> Finding:
    """Whether they can be written; that they end before the disk does, is no setting."""
    for name, app in config.apps.items():
        for source in sources(name, 0, app, logs=config.home / "logs", base=project.directory):
            place = source.path.parent
            while not place.exists():
                place = place.parent
            if not os.access(place, os.W_OK | os.X_OK) or not place.is_dir():
                return failed(f"{source.path} can not be written: check who may write in {place}")
    return ok("they can be written, and each is put aside when it has reached log_max_size")
