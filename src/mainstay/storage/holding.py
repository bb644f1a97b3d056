"""Who has the database open, so that it can not be exchanged under them?

A lock on a file beside the database: shared by all who use it, for as long as they do, and of one alone who puts
another file in its place. The kernel gives it back, however a process ends. SQLite's own locks are no help here:
whoever waits for one would go on with the file that was moved away.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mainstay.errors import MainstayError, StorageUnavailable

__all__ = ["alone", "hold", "holding"]


def hold(path: Path) -> int:
    """Take a share in the use of the database; close what is returned to give it back.

    Raises:
        StorageUnavailable: while it is being exchanged, or where the disk does not let us.
    """
    return _lock(path, fcntl.LOCK_SH, "a backup is being restored: try again")


@contextmanager
def holding(path: Path) -> Iterator[None]:
    """See `hold`."""
    lock = hold(path)
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Nobody else has the database open while the block runs.

    Raises:
        MainstayError: if somebody has; names the process where that can be seen.
    """
    lock = _lock(path, fcntl.LOCK_EX, f"it is in use{_by(path)}: stop what uses it first")
    try:
        yield
    finally:
        os.close(lock)


def _lock(path: Path, how: int, refusal: str) -> int:
    name = _file(path)
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageUnavailable(f"database {path}: {name.name} can not be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        kind = StorageUnavailable if how == fcntl.LOCK_SH else MainstayError
        raise kind(f"database {path}: {refusal}") from None
    return lock


def _file(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _by(path: Path) -> str:
    """Which process that is, where the kernel tells."""
    try:
        inode = _file(path).stat().st_ino
        found = re.search(rf"FLOCK +\w+ +\w+ +(\d+) [0-9a-f]+:[0-9a-f]+:{inode} ", Path("/proc/locks").read_text())
    except OSError:
        return ""
    return f" by process {found[1]}" if found else ""
