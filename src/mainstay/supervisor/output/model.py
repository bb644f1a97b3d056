"""Which logs does an instance have, how are they kept, and what can go wrong with them?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

from mainstay.supervisor.app import AppSettings

__all__ = [
    "LONGEST",
    "CollectorFailed",
    "Dropping",
    "Flushed",
    "Line",
    "NotRotated",
    "Notice",
    "Policy",
    "Resumed",
    "Source",
    "Stream",
    "policy",
    "sources",
]

LONGEST: Final = 64 * 1024
"""So many bytes of a line are shown; files hold lines of any length, memory does not."""


class Stream(StrEnum):
    """What a log holds."""

    OUT = "out"
    ERR = "err"
    ALL = "all"
    """Both, through one pipe: the only way in which their order is the order in which they were written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One log of one instance."""

    app: str
    number: int
    stream: Stream
    path: Path

    @property
    def label(self) -> str:
        """How its lines are marked where several logs are shown: ``web:0 out``."""
        return f"{self.app}:{self.number} {self.stream}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a log is written.

    Attributes:
        max_size: a file that has reached it is put aside at the next line's end; 0: files of any size. With
            timestamps a file may be larger, by the timestamps of 64 KiB of lines.
        keep: how many of those that were put aside are kept.
        every_s: a file is put aside at every full multiple of it since the epoch, too; None: by size only.
        compress: whether they are compressed, all but the newest, which others may still be reading.
        timestamps: whether each line begins with the time of its arrival.
    """

    max_size: int = 10_000_000
    keep: int = 5
    every_s: float | None = None
    compress: bool = True
    timestamps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropping:
    """Output is being thrown away, because it can not be written; the child goes on."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """Output is written again; so much of it is missing."""

    path: Path
    reason: str
    dropped_bytes: int
    dropped_lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRotated:
    """A file could not be put aside, deleted or compressed; writing goes on, and this is tried again later."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectorFailed:
    """Something that nobody had thought of has gone wrong with a log, or with all of them.

    What comes meanwhile is thrown away, and this is tried again after a delay.

    Attributes:
        path: of the log; None for all of them.
        again_in_s: the delay.
    """

    path: Path | None
    reason: str
    again_in_s: float


Notice: TypeAlias = Dropping | Resumed | NotRotated | CollectorFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """What was deleted of a log.

    Attributes:
        size_bytes: as it was on the disk, compressed or not.
    """

    files: int = 0
    size_bytes: int = 0

    def __add__(self, other: "Flushed") -> "Flushed":
        return Flushed(files=self.files + other.files, size_bytes=self.size_bytes + other.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a log.

    Attributes:
        text: without its newline, and `LONGEST` bytes of it at most.
        omitted: how many more bytes it has.
        at: when it was written, if the line says so, or one before it in the same file did.
        missed: how many files before it were deleted before they could be read, by a follower that was too slow.
    """

    source: Source
    text: bytes
    omitted: int = 0
    at: datetime | None = None
    missed: int = 0


def policy(settings: AppSettings) -> Policy:
    """How the logs of an app are written."""
    return Policy(
        max_size=settings.log_max_size,
        keep=settings.log_keep,
        every_s=settings.log_rotate_every,
        compress=settings.log_compress,
        timestamps=settings.log_timestamps,
    )


def sources(app: str, number: int, settings: AppSettings, *, logs: Path, base: Path) -> Sequence[Source]:
    """The logs of one instance: one, or standard output's and standard error's.

    Args:
        app: its name.
        number: the instance's.
        settings: the app's.
        logs: the directory of those that were given no name.
        base: what the names that were given are relative to.
    """

    def source(stream: Stream, written: str) -> Source:
        path = _numbered(base / written, number) if written else logs / f"{app}-{number}.{stream}.log"
        return Source(app=app, number=number, stream=stream, path=path)

    if settings.log_combined or (settings.out_file and settings.out_file == settings.error_file):
        return (source(Stream.ALL, settings.out_file),)
    return source(Stream.OUT, settings.out_file), source(Stream.ERR, settings.error_file)


def _numbered(path: Path, number: int) -> Path:
    """The first instance has the very name that was given, the others one beside it: ``web-1.log``."""
    return path.with_name(f"{path.stem}-{number}{path.suffix}") if number else path
