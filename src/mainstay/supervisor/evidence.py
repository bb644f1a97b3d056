"""What has a hung process left, that says where it hung?

One that can has written its stacks to the file that `MAINSTAY_STACKS` names; `mainstay serve` does. Of any other
there is what it has said on standard error since it was told to abort, if that is Python's own dump; else at least
where in its log one has to look.
"""

import os
from pathlib import Path
from typing import Final

from mainstay.notify import STACKS

__all__ = ["STACKS", "found", "place", "prepare"]

_LONGEST: Final = 16_000
_DUMP: Final = "Fatal Python error"


def place(home: Path, name: str) -> Path:
    """Where this instance is to write them."""
    return home / "stacks" / name.replace(":", "-")


def prepare(home: Path, name: str) -> None:
    """Nothing is there that another run has left. Raises OSError."""
    path = place(home, name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    path.unlink(missing_ok=True)


def found(home: Path, name: str, log: Path, since_bytes: int) -> str:
    """The stacks, or where to look.

    Args:
        home: of the daemon.
        name: of the instance.
        log: of its standard error.
        since_bytes: how long that was when it was told to abort.
    """
    try:
        written = _read(place(home, name), 0)
    except OSError:
        written = ""
    if written:
        return written
    try:
        said = _read(log, since_bytes)
    except OSError:
        said = ""
    _, dump, rest = said.partition(_DUMP)
    return dump + rest if dump else f"no stacks: see {log}, from byte {since_bytes} on"


def _read(path: Path, since_bytes: int) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # it is the program's: it may be anything
    try:
        return os.pread(fd, _LONGEST, since_bytes).decode("utf-8", "replace")
    finally:
        os.close(fd)
