"""Which processes of a home live? Each holds a lock for as long as it does."""

import fcntl
import os
from pathlib import Path
from typing import Final

from mainstay.supervisor.boot import LOCK as KEEPER

__all__ = ["DAEMON", "KEEPER", "is_held"]

DAEMON: Final = "supervisor.lock"


def is_held(path: Path) -> bool:
    """Whether somebody holds this lock. Raises OSError."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
