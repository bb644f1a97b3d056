"""Who has claimed a message, and is that process still there?

An owner is ``host:pid:starttime``. The start time tells a process from a later one with the same number; it is the
kernel's (field 22 of ``/proc/PID/stat``, in ticks since boot), or 0 where there is no /proc.
"""

import os
import socket
from pathlib import Path

__all__ = ["is_alive", "owner_name"]


def owner_name() -> str:
    """The owner under which this process claims."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_started(pid) or '0'}"


def is_alive(owner: str) -> bool:
    """Whether the owner's process may still be running.

    A process of another host can not be seen from here and counts as alive: its lease decides.
    """
    host, _, rest = owner.rpartition(":")[0].rpartition(":")
    started = owner.rpartition(":")[2]
    if host != socket.gethostname() or not rest.isdecimal():
        return True
    pid = int(rest)
    if Path("/proc/self/stat").exists():
        return _started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _started(pid: int) -> str | None:
    """The process's start time; None if there is no such process, or only its exit status is left of it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    return None if state in "ZX" else fields[18]
