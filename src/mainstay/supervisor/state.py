"""What does a daemon leave to the one that comes after it?

One file, replaced whole and synced, so that there is always the last state or the one before it; and a log of what
happened, one line of JSON each, which is only ever added to. Neither holds what the apps' environment says.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mainstay.clock import Clock, iso
from mainstay.errors import MainstayError
from mainstay.supervisor.model import Child, Ended, Instance, Reason, Restart, State
from mainstay.supervisor.rolling import Roll
from mainstay.supervisor.roster import Remains, Roster, Scaled

__all__ = ["LeftBehind", "Lifecycle", "load", "save"]

FILE: Final = "supervisor.json"
_VERSION: Final = 1
_LOG: Final = "lifecycle.log"
_LONGEST_LOG: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftBehind:
    """What is kept.

    Attributes:
        boot: of which start of the machine the pids and times in it are.
        instances: all runs, by their names, ``"web:0"``.
        rolls: the reloads that go on.
        roster: which instances there are to be, where that is not what the configuration says.
        wanted_at_end: those that were wanted when the daemon was told to end, and all of them with it.
    """

    boot: str
    instances: Mapping[str, Instance] = field(default_factory=dict)
    rolls: tuple[Roll, ...] = ()
    roster: Roster = field(default_factory=Roster)
    wanted_at_end: tuple[str, ...] = ()


def load(home: Path) -> LeftBehind | None:
    """What the last daemon of that home has left; None if there is nothing.

    Raises:
        MainstayError: if the file can not be read as what it should be.
    """
    path = home / FILE
    try:
        written = json.loads(path.read_bytes())
        return _kept(written)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MainstayError(f"{path} can not be read: {error}; move it away to begin anew") from error


def save(home: Path, kept: LeftBehind) -> None:
    """Replace what was kept before; when this returns, it is on the disk. Raises OSError."""
    path = home / FILE
    fresh = path.with_suffix(".new")
    text = json.dumps({"v": _VERSION, **dataclasses.asdict(kept)}, allow_nan=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    directory = os.open(home, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _kept(written: dict[str, Any]) -> LeftBehind:
    if written["v"] != _VERSION:
        raise ValueError(f"it has version {written['v']}, this program reads {_VERSION}")
    instances = {name: _instance(each) for name, each in written["instances"].items()}
    rolls = tuple(Roll(**{**each, "left": tuple(each["left"])}) for each in written.get("rolls", ()))
    roster = written.get("roster", {})
    kept = Roster(
        scaled={app: Scaled(**each) for app, each in roster.get("scaled", {}).items()},
        deleted=tuple(roster.get("deleted", ())),
        remains={app: Remains(**each) for app, each in roster.get("remains", {}).items()},
    )
    at_end = tuple(written.get("wanted_at_end", ()))
    return LeftBehind(boot=written["boot"], instances=instances, rolls=rolls, roster=kept, wanted_at_end=at_end)


def _instance(written: dict[str, Any]) -> Instance:
    child, ended, stop_for = written["child"], written["ended"], written["stop_for"]
    restarts = tuple(Restart(**{**each, "reason": Reason(each["reason"])}) for each in written["restarts"])
    typed = {
        "state": State(written["state"]),
        "child": Child(**child) if child else None,
        "ended": Ended(**ended) if ended else None,
        "stop_for": Reason(stop_for) if stop_for else None,
        "restarts": restarts,
    }
    return Instance(**{**written, **typed})


class Lifecycle:
    """What has happened, for those who ask afterwards. A disk that is full costs lines, not the supervision."""

    def __init__(self, home: Path, clock: Clock) -> None:
        self._path = home / _LOG
        self._clock = clock
        self.dropped = 0
        with suppress(OSError), self._path.open("r+b") as log:
            log.seek(-1, os.SEEK_END)
            if log.read() != b"\n":  # a loss of power has cut its last line short
                log.write(b"\n")

    def write(self, what: str, **details: object) -> None:
        """Add one line."""
        line = json.dumps({"at": iso(self._clock.now()), "what": what, **details}, ensure_ascii=False)
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                size = os.fstat(fd).st_size
                too_long = size > _LONGEST_LOG
                # A line that was cut, by a full disk or when the power went, must not take this one with it.
                is_cut = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
                # A path need not be text.
                os.write(fd, b"\n" * is_cut + line.encode(errors="backslashreplace") + b"\n")
            finally:
                os.close(fd)
            if too_long:
                self._path.replace(self._path.with_suffix(".log.1"))
        except OSError:
            self.dropped += 1
