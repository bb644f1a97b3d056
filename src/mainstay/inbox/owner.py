"""Who has claimed a message, and is that process still there?

An owner is ``host:pid:mark``. The mark tells a process from a later one with the same number: it is made from the
time at which the process was started (`mainstay.alive`), or 0 where the operating system does not say.
"""

import os
import socket
from hashlib import blake2s

from mainstay.alive import started_mark

__all__ = ["is_alive", "owner_name"]

_UNKNOWN = "0"


def owner_name() -> str:
    """The owner under which this process claims."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_mark(pid)}"


def is_alive(owner: str) -> bool:
    """Whether the owner's process may still be running.

    One that can not be seen from here, on another host or without a mark, counts as alive: its lease decides.
    """
    host, _, pid = owner.rpartition(":")[0].rpartition(":")
    mark = owner.rpartition(":")[2]
    if host != socket.gethostname() or not pid.isdecimal() or mark == _UNKNOWN:
        return True
    return _mark(int(pid)) == mark


def _mark(pid: int) -> str:
    """Short and without colons, because it is written on every line of the log."""
    started = started_mark(pid)
    return blake2s(started.encode(), digest_size=4).hexdigest() if started else _UNKNOWN
