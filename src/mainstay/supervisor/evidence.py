"""What has a hung process left, that says where it hung?

One that can has written its stacks to the file that `MAINSTAY_STACKS` names; `mainstay serve` does. Of any other
there is what it has said on standard error since it was told to abort, if that is Python's own dump; else at least
where in its log one has to look.
"""

import os
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from mainstay.notify import STACKS

__all__ = ["STACKS", "discard", "found", "keep_only", "place", "prepare"]

_DIRECTORY: Final = "stacks"
_LONGEST: Final = 16_000
_DUMP: Final = "Fatal Python error"


def place(home: Path, run: str) -> Path:
    """Where this run of an instance is to write them."""
    return home / _DIRECTORY / run.replace(":", "-")


def prepare(home: Path) -> None:
    """There is a place to write them to. Raises OSError."""
    (home / _DIRECTORY).mkdir(mode=0o700, exist_ok=True)


def discard(home: Path, run: str) -> None:
    """What this run has written was read, or is of no interest."""
    written = place(home, run)
    for path in (written, written.with_name(f"{written.name}.part")):
        with suppress(OSError):
            path.unlink()


def keep_only(home: Path, runs: Collection[str]) -> None:
    """Discard what all other runs have left."""
    kept = {place(home, run) for run in runs}
    with suppress(OSError):
        for path in (home / _DIRECTORY).iterdir():
            if path not in kept:
                with suppress(OSError):  # a program may have put anything there
                    path.unlink()


def found(home: Path, run: str, log: Path, since_bytes: int) -> str:
    """The stacks, or where to look.

    Args:
        home: of the daemon.
        run: of the instance, see `mainstay.supervisor.naming.run_of`.
        log: of its standard error.
        since_bytes: how long that was when it was told to abort.
    """
    try:
        written = _read(place(home, run), 0)
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
