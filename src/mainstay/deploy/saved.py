"""Which instances were to run when somebody said: remember this?

One file, and beside it the one before. A new one is whole and on the disk before it takes the old one's name; one
that can not be read, as after a loss of power, is passed over for the one before.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.errors import MainstayError

__all__ = ["Found", "find", "keep"]

_FILE: Final = "saved.json"
_BEFORE: Final = "saved.before.json"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was kept.

    Attributes:
        wanted: by the name of the instance, ``"web:0"``: whether it was to run.
        flaw: why this is the one before and not the last one; empty if it is the last.
    """

    wanted: Mapping[str, bool]
    flaw: str = ""


def keep(home: Path, wanted: Mapping[str, bool], *, force: bool = False) -> Path:
    """Write it down; what was kept until now stays beside it.

    Args:
        home: of the project.
        wanted: see `Found`.
        force: also when nothing is to run, and something was until now.

    Raises:
        MainstayError: without ``force`` an empty list does not replace a full one.
        OSError: it can not be written; what was kept is as it was.
    """
    path, before = home / _FILE, home / _BEFORE
    last, flaw = _read(path)
    known = last if last is not None else _read(before)[0]
    if not force and not any(wanted.values()) and known is not None and any(known.values()):
        raise MainstayError(
            f"nothing is to run now, and {path} has {sum(known.values())} instances that are: start them first, "
            "or write --force"
        )
    fresh = home / f"{_FILE}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        json.dump({"v": _VERSION, "wanted": dict(wanted)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    if last is not None and not flaw:  # one that can not be read is not worth the place of one that can
        path.replace(before)
    fresh.replace(path)
    directory = os.open(home, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return path


def find(home: Path) -> Found:
    """The last one that can be read.

    Raises:
        MainstayError: if there is none.
    """
    last, flaw = _read(home / _FILE)
    if last is not None:
        return Found(wanted=last)
    before, _ = _read(home / _BEFORE)
    if before is not None:
        return Found(wanted=before, flaw=flaw or f"{home / _FILE} is not there")
    raise MainstayError(flaw or f"nothing was saved in {home}: `mainstay save` does")


def _read(path: Path) -> tuple[Mapping[str, bool] | None, str]:
    """What is in it, or why not; neither if it is not there."""
    try:
        written = json.loads(path.read_bytes())
        if written["v"] != _VERSION:
            return None, f"{path} has version {written['v']}, this program reads {_VERSION}"
        return {str(name): bool(each) for name, each in written["wanted"].items()}, ""
    except FileNotFoundError:
        return None, ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, f"{path} can not be read: it is cut short or was changed"
