"""Which files were put aside from a log, and which of them go?

``web-0.out.log`` is written; ``web-0.out.log.000007`` was put aside, and is ``web-0.out.log.000007.gz`` once it is
compressed. A number never changes and is never given to two files that both exist, and the names sort as they were
written, whatever the clock did; when a file was last written is its time of modification, compressed or not.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.supervisor.output.model import Flushed

__all__ = ["GZ", "PART", "Aside", "asides", "next_aside", "remove_asides", "retain"]

GZ: Final = ".gz"
PART: Final = ".part"
"""The ending of a compressed file that is not whole yet."""

_NUMBER: Final = re.compile(r"\.(\d{6,})(\.gz)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """One file that was put aside."""

    number: int
    path: Path
    compressed: bool


def asides(log: Path) -> list[Aside]:
    """What was put aside, oldest first.

    A file that was just compressed exists twice for a moment; it counts once, as what it was.
    """
    found: dict[int, Aside] = {}
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(log.parent) as entries:
        for entry in entries:
            if not entry.name.startswith(log.name):
                continue
            match = _NUMBER.fullmatch(entry.name, len(log.name))
            if match is None:
                continue
            aside = Aside(number=int(match[1]), path=log.with_name(entry.name), compressed=bool(match[2]))
            if not aside.compressed or aside.number not in found:
                found[aside.number] = aside
    return [found[number] for number in sorted(found)]


def next_aside(log: Path) -> Path:
    """The name for the next one."""
    known = asides(log)
    return log.with_name(f"{log.name}.{(known[-1].number if known else 0) + 1:06}")


def retain(log: Path, keep: int) -> None:
    """Delete the oldest, but for the newest `keep`.

    Raises:
        OSError: if one can not be deleted.
    """
    known = asides(log)
    for aside in known[: max(0, len(known) - keep)]:
        _remove(aside)


def remove_asides(log: Path) -> Flushed:
    """Delete all of them, and tell what that has freed. Raises OSError."""
    flushed = Flushed()
    for aside in asides(log):
        flushed += _remove(aside)
    return flushed


def _remove(aside: Aside) -> Flushed:
    packed = aside.path.with_name(aside.path.name + GZ)  # it may have a compressed twin
    return _unlink(aside.path) + (Flushed() if aside.compressed else _unlink(packed))


def _unlink(path: Path) -> Flushed:
    try:
        size_bytes = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return Flushed()
    return Flushed(files=1, size_bytes=size_bytes)
