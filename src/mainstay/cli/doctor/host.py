"""Is this machine fit for it?"""

import ctypes
import os
import platform
import resource
import shutil
import sys
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from mainstay.cli.doctor.model import Finding, Project, failed, ok, skipped, warning
from mainstay.cli.services import services
from mainstay.clock import SystemClock, iso
from mainstay.units import format_duration

__all__ = ["clock", "disk", "installation", "kernel", "open_files", "python", "space"]

_BUILT_IN: Final = 2026
_FUTURE: Final = timedelta(minutes=1)
_TIME_ERROR: Final = 5
_FULL_BYTES, _NEARLY_FULL_BYTES = 200 * 2**20, 2**30
_FULL_INODES, _NEARLY_FULL_INODES = 1_000, 20_000
_FEWEST_FILES: Final = 1024


def python(_: Project) -> Finding:
    """Version and system."""
    what = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    if sys.version_info < (3, 11):  # noqa: UP036  whoever installs by hand may have another
        return failed(f"{what}: Python 3.11 or newer is needed")
    if not sys.platform.startswith("linux"):
        return warning(f"{what}: the service runs here, its supervisor needs Linux")
    return ok(what)


def kernel(project: Project) -> Finding:
    """What the supervisor is built on."""
    if not sys.platform.startswith("linux"):
        return skipped("the supervisor needs Linux")
    lacking = [name for name in ("pidfd_open", "splice") if not hasattr(os, name)]
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError) as error:
        lacking.append(f"pidfd_open ({error})")
    if not (project.root / "proc/self/stat").exists():
        lacking.append("/proc")
    if lacking:
        return failed(f"the supervisor lacks {', '.join(lacking)}: use Linux 5.4 or newer, with /proc")
    return ok("processes are known by pidfd, output is moved by splice, /proc can be read")


def installation(project: Project) -> Finding:
    """The command and what it needs."""
    config = project.config
    if config is not None and services(config) and find_spec("sqlalchemy") is None:
        return failed("`mainstay serve` needs the whole bot: pip install 'mainstay[bot]'")
    where = shutil.which("mainstay")
    if where is None:
        return ok(f"{sys.executable} has it; `mainstay` itself is not on the PATH of this shell")
    return ok(where)


def disk(project: Project) -> Finding:
    """Room for the database, logs and backups."""
    place = project.home
    while not place.exists():
        place = place.parent
    state = os.statvfs(place)
    if state.f_flag & os.ST_RDONLY:
        return failed(f"{place} is on a disk that can not be written")
    inodes = state.f_favail if state.f_files else None
    return space(str(place), state.f_bavail * state.f_frsize, inodes)


def space(place: str, free_bytes: int, inodes: int | None) -> Finding:
    """Whether that is enough; ``inodes``: files that can still be made, None where nobody counts them."""
    files = "" if inodes is None else f" and {inodes:,} files"
    says = f"{free_bytes / 2**30:.1f} GiB{files} are free for {place}"
    if free_bytes < _FULL_BYTES or (inodes is not None and inodes < _FULL_INODES):
        return failed(f"only {says}: make room before messages are refused")
    if free_bytes < _NEARLY_FULL_BYTES or (inodes is not None and inodes < _NEARLY_FULL_INODES):
        return warning(f"only {says}: make room")
    return ok(says)


def clock(project: Project) -> Finding:
    """What can be known of it without asking anybody else."""
    now = SystemClock().now()
    if now.year < _BUILT_IN:
        return failed(f"it is {iso(now)}, it says: set the clock, or no certificate and no signature is valid")
    if (newest := _newest(project)) and newest[1] > now + _FUTURE:
        ahead = format_duration(round((newest[1] - now).total_seconds()))
        return failed(f"{newest[0].name} was written {ahead} in the future: one of the two clocks was wrong")
    match _synchronized():
        case True:
            return ok(f"{iso(now)}, kept right by a time server")
        case False:
            return warning(
                f"it is {iso(now)}, it says, and nothing keeps it right: switch on systemd-timesyncd or chrony, "
                "or signatures are refused one day"
            )
        case None:
            return ok(f"{iso(now)}; whether anything keeps it right is not known here")


def _newest(project: Project) -> tuple[Path, datetime] | None:
    """The file of the home that was written last."""
    try:
        files = [(each, each.stat().st_mtime) for each in project.home.iterdir()]
    except OSError:
        return None
    if not files:
        return None
    file, at_s = max(files, key=lambda each: each[1])
    return file, datetime.fromtimestamp(at_s, SystemClock().now().tzinfo)


def _synchronized() -> bool | None:
    """What the kernel was told by whoever keeps the clock: adjtimex(2) changes nothing when asked so.

    None where it may not be asked, as in some containers.
    """
    try:
        answer = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    except (AttributeError, OSError):
        return None
    return answer != _TIME_ERROR if answer >= 0 else None


def open_files(_: Project) -> Finding:
    """How many files and connections a process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEWEST_FILES:
        return warning(f"a process may have {soft} open files and connections: allow {_FEWEST_FILES} (ulimit -n)")
    return ok(f"a process may have {soft} open files and connections, {hard} if it asks")
