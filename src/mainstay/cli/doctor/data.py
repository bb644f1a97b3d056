"""Is what is kept there, whole, and kept twice?"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from mainstay.cli.backup import LAST
from mainstay.cli.doctor.model import Finding, Project, configured, failed, ok, skipped, warning
from mainstay.cli.services import services
from mainstay.clock import SystemClock
from mainstay.config.model import Config
from mainstay.errors import StorageUnavailable
from mainstay.schema import SCHEMA
from mainstay.storage.file import connected, path_of, reached, scripts
from mainstay.units import format_duration

__all__ = ["backup", "database"]

_OLD: Final = timedelta(days=1)


@configured
def database(_: Project, config: Config) -> Finding:
    """There, of this version, and whole."""
    path = path_of(config.storage.url)
    if not path.exists():
        if not services(config):
            return skipped("no app needs it")
        return warning(f"there is none at {path} yet: `mainstay start` makes it, and so does `mainstay migrate`")
    try:
        there = reached(path)
        with connected(path) as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(1)")]
    except StorageUnavailable as error:
        return failed(str(error))
    if found != ["ok"]:
        return failed(f"{path} is damaged ({found[0]}): `mainstay restore` a backup")
    history = [scripts(room) for room in SCHEMA]
    newer = sorted(there - {revision for known in history for revision in known})
    if newer:
        return failed(f"{path} was written by a newer version of this program ({', '.join(newer)}): install that")
    lacking = [known[-1] for known in history if known[-1] not in there]
    if lacking:
        return failed(f"{path} is of an older version: run `mainstay migrate` ({', '.join(lacking)})")
    return ok(f"{path}, {path.stat().st_size / 2**20:.1f} MiB, whole and of this version")


@configured
def backup(project: Project, config: Config) -> Finding:
    """When the last one was made, wherever it is now."""
    if not path_of(config.storage.url).exists():
        return skipped("there is no database yet")
    try:
        last = json.loads((project.home / LAST).read_bytes())
        made_at, where, size_bytes = datetime.fromisoformat(last["at"]), Path(last["path"]), int(last["size_bytes"])
    except FileNotFoundError:
        return warning("there is none: run `mainstay backup` each day (docs/how-to/deploy.md)")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return failed(f"{project.home / LAST} can not be read ({type(error).__name__}): run `mainstay backup`")
    age = SystemClock().now() - made_at
    says = f"the last one is {format_duration(max(0, round(age.total_seconds())))} old: {where}"
    if age > _OLD:
        return warning(f"{says}; run `mainstay backup` each day")
    if not where.exists():
        return warning(f"{says} is not there now: moved, or lost? `mainstay backup` makes another")
    if (there := where.stat().st_size) != size_bytes:
        return failed(f"{says} has {there} bytes and had {size_bytes}: it is damaged; run `mainstay backup`")
    return ok(says)
