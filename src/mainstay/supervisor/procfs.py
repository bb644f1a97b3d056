"""What does the kernel say about the processes of this machine?"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["Stat", "boot_id", "environment", "numbered", "pids", "stat", "zombies"]

_GONE: Final = frozenset({b"Z", b"X"})


@dataclass(frozen=True, slots=True)
class Stat:
    """What is in ``/proc/PID/stat``.

    Attributes:
        parent, session: as pids.
        cpu_ticks: its own, and those of the children that it has waited for.
        started: when, in ticks since the machine was started.
        pages: that are resident.
    """

    parent: int
    session: int
    cpu_ticks: int
    started: int
    pages: int

    @property
    def mark(self) -> str:
        """See `mainstay.alive.started_mark`."""
        return f"{boot_id()}:{self.started}"


@cache
def boot_id() -> str:
    """Of the run of this machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def pids() -> set[int]:
    """Of all processes, zombies too."""
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}  # noqa: PTH208  a third of the time


def numbered() -> dict[int, int]:
    """The pids of all processes, zombies too, each with a number that no other process with this pid has.

    It is that of the inode, which costs nothing here: what `stat` says costs three calls for each of them. That a
    number changes says nothing.
    """
    with os.scandir("/proc") as entries:
        return {int(entry.name): entry.inode() for entry in entries if entry.name.isdecimal()}


def stat(pid: int) -> Stat | None:
    """None where there is no process, or only a zombie.

    Raises:
        OSError: too many files are open.
    """
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        read = os.read(file, 1024)
    except ProcessLookupError:
        return None
    finally:
        os.close(file)
    # The name, in parentheses, may hold anything; what follows the last one is fields 3 and on.
    fields = read.rpartition(b")")[2].split()
    if fields[0] in _GONE:
        return None
    return Stat(int(fields[1]), int(fields[3]), sum(map(int, fields[11:15])), int(fields[19]), int(fields[21]))


def zombies(parent: int) -> frozenset[int]:
    """Those children of a process that have ended, and that it has not waited for."""
    found = set()
    for pid in pids():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123  half the time of pathlib
                state, its_parent, *_ = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == b"Z" and int(its_parent) == parent:
            found.add(pid)
    return frozenset(found)


def environment(pid: int) -> Sequence[bytes]:
    """Its entries; one that is empty where it is not ours to see."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: PTH123  half the time of pathlib
            return environ.read().split(b"\0")[:-1]
    except PermissionError:
        return (b"",)
    except (FileNotFoundError, ProcessLookupError):
        return ()
