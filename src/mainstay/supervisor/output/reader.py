"""What do the logs say: the last lines, those since a time, and those that are still to come?

It reads files, and asks nobody: it works while no daemon runs. Nothing is read into memory as a whole, be it a file
or a line. Whoever follows polls, because the standard library can not wait for a change of a file.
"""

import gzip
import heapq
import io
import os
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from re import Pattern
from typing import Final, Protocol

from mainstay.supervisor.output.asides import GZ, Aside, asides
from mainstay.supervisor.output.lines import Splitter, start_of_last, time_of
from mainstay.supervisor.output.model import Line, Source

__all__ = ["Reader"]

_BLOCK: Final = 256 * 1024
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class _File(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Reader:
    """The lines of some logs.

    Args:
        sources: the logs; one that does not exist yet is empty so far.
        since: leaves out lines that say they are older, and files that were last written before it. A line that
            says no time has that of the one before it; one before which no line says any is not left out.
        grep: leaves out lines of which the first `LONGEST` bytes do not match.
    """

    def __init__(
        self, sources: Sequence[Source], *, since: datetime | None = None, grep: Pattern[bytes] | None = None
    ) -> None:
        self._logs = [_Log(source, since, grep) for source in sources]

    def last(self, count: int | None, *, follow: bool = False) -> list[Line]:
        """The last ``count`` lines of each log, all of them for None; by time as far as they say it.

        Args:
            count: of those that are not left out.
            follow: whether `poll` is going to be asked for what comes next; then a line that has not ended yet is
                left to it.
        """
        each = [log.last(count, follow=follow) for log in self._logs]
        return [line for _, line in heapq.merge(*map(_in_order, each), key=lambda entry: entry[0])]

    def poll(self) -> list[Line]:
        """What has come since, a bounded part of it: ask again at once while `behind`.

        Without a `last` before it, it begins at the very beginning: the way to read all there is in little memory.
        """
        return [line for log in self._logs for line in log.poll()]

    @property
    def behind(self) -> bool:
        """Whether the latest `poll` has read anything, asked for or not; there may be more."""
        return any(log.behind for log in self._logs)

    def close(self) -> None:
        """Close the files."""
        for log in self._logs:
            log.close()


def _in_order(lines: Sequence[Line]) -> Iterator[tuple[datetime, Line]]:
    """Each with a time that is not before that of the one before it."""
    latest = _LONG_AGO
    for line in lines:
        latest = max(latest, line.at or latest)
        yield latest, line


class _Log:
    """One log, through all its files.

    A file that is written now has, or will have when it is put aside, the number after the newest of those that
    were put aside. That number is how one goes on when more were put aside and compressed between two polls.
    """

    def __init__(self, source: Source, since: datetime | None, grep: Pattern[bytes] | None) -> None:
        self._source = source
        self._since = since
        self._grep = grep
        self._file: _File | None = None
        self._number = 0
        self._put_aside = False
        self._splitter = Splitter()
        self._at: datetime | None = None
        self._missed = 0
        self.behind = False

    def last(self, count: int | None, *, follow: bool) -> list[Line]:
        self.close()
        older = self._open_current()
        lines: deque[Line] = deque(self._of_current(count, follow=follow), maxlen=count)
        at = self._at
        for aside in reversed(older):
            wanted = None if count is None else count - len(lines)
            if wanted == 0 or self._is_too_old(aside.path):
                break
            lines.extendleft(reversed(self._of_aside(aside, wanted)))
        self._at = at
        if not follow:
            self.close()
        return list(lines)

    def poll(self) -> list[Line]:
        self.behind = self._file is not None or self._go_on()
        if self._file is None:
            return []
        ended = self._put_aside or self._is_put_aside()
        data = self._file.read(_BLOCK)
        if data:
            return list(self._lines(self._splitter.feed(data)))
        lines = []
        if ended:
            lines = list(self._lines(self._splitter.rest()))
            self.close()
            self._number += 1
        self.behind = ended and self._go_on()
        return lines

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._splitter, self._at = None, Splitter(), None

    def _open_current(self) -> list[Aside]:
        """Open what is written now, and tell what was put aside before it."""
        while True:
            before = asides(self._source.path)
            newest = before[-1].number if before else 0
            try:
                file = self._source.path.open("rb", buffering=0)
            except FileNotFoundError:
                file = None
            if _newest(self._source.path) == newest:
                self._file, self._number, self._put_aside = file, newest + 1, False
                return before
            if file is not None:
                file.close()

    def _go_on(self) -> bool:
        """Open the file with this number; a later one, if that is gone."""
        wanted, seen = self._number, self._number - 1
        while True:
            for aside in asides(self._source.path):
                seen = max(seen, aside.number)
                if aside.number < wanted or self._is_too_old(aside.path):
                    continue
                if (file := _opened(aside)) is not None:
                    self._missed += aside.number - wanted if wanted else 0
                    self._file, self._number, self._put_aside = file, aside.number, True
                    return True
            older = self._open_current()
            if not older or older[-1].number <= seen:
                return self._file is not None
            self.close()  # more was put aside in between

    def _is_put_aside(self) -> bool:
        """Whether the name means another file by now; begins again if this one was emptied."""
        assert isinstance(self._file, io.FileIO)
        here = os.fstat(self._file.fileno())
        if here.st_size < self._file.tell():
            self._file.seek(0)
            self._splitter, self._at = Splitter(), None
            self._number = _newest(self._source.path) + 1
        try:
            there = self._source.path.stat()
        except FileNotFoundError:
            return True
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def _of_current(self, count: int | None, *, follow: bool) -> list[Line]:
        if self._file is None:
            return []
        assert isinstance(self._file, io.FileIO)
        end = os.fstat(self._file.fileno()).st_size
        if follow:  # what has not ended is left to `poll`
            end = start_of_last(self._file.fileno(), 1, end) if not _ends(self._file.fileno(), end) else end
        if count is not None and not self._filters():
            self._file.seek(start_of_last(self._file.fileno(), count, end))
        return self._read(self._file, count, end - self._file.tell(), rest=not follow)

    def _of_aside(self, aside: Aside, count: int | None) -> list[Line]:
        file = _opened(aside)
        if file is None:
            return []
        self._at = None
        try:
            if count is not None and isinstance(file, io.FileIO) and not self._filters():
                file.seek(start_of_last(file.fileno(), count, os.fstat(file.fileno()).st_size))
            return self._read(file, count, None, rest=True)
        finally:
            file.close()

    def _read(self, file: _File, count: int | None, size: int | None, *, rest: bool) -> list[Line]:
        """The last lines of a file from here on, as far as ``size`` bytes of it go."""
        splitter, lines = Splitter(), deque[Line](maxlen=count)
        while data := file.read(_BLOCK if size is None else min(size, _BLOCK)):
            size = None if size is None else size - len(data)
            lines.extend(self._lines(splitter.feed(data)))
        if rest:
            lines.extend(self._lines(splitter.rest()))
        return list(lines)

    def _lines(self, found: Iterator[tuple[bytes, int]]) -> Iterator[Line]:
        for text, omitted in found:
            self._at = time_of(text) or self._at
            if self._since is not None and self._at is not None and self._at < self._since:
                continue
            if self._grep is not None and not self._grep.search(text):
                continue
            missed, self._missed = self._missed, 0
            yield Line(source=self._source, text=text, omitted=omitted, at=self._at, missed=missed)

    def _filters(self) -> bool:
        return self._since is not None or self._grep is not None

    def _is_too_old(self, path: Path) -> bool:
        if self._since is None:
            return False
        try:
            return path.stat().st_mtime < self._since.timestamp()
        except FileNotFoundError:
            return False


def _newest(log: Path) -> int:
    known = asides(log)
    return known[-1].number if known else 0


def _ends(fd: int, end: int) -> bool:
    return end == 0 or os.pread(fd, 1, end - 1) == b"\n"


def _opened(aside: Aside) -> _File | None:
    """The file, or what it was compressed to in the meantime; None if it is gone."""
    packed = aside.path if aside.compressed else aside.path.with_name(aside.path.name + GZ)
    try:
        if not aside.compressed:
            return aside.path.open("rb", buffering=0)
    except FileNotFoundError:
        pass
    try:
        return _Packed(packed)
    except FileNotFoundError:
        return None


class _Packed:
    """A compressed file; where it is damaged, it says so and ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = gzip.GzipFile(path)
        self._damaged = False

    def read(self, size: int, /) -> bytes:
        if self._damaged:
            return b""
        try:
            return self._file.read(size)
        except (EOFError, OSError, zlib.error) as error:
            self._damaged = True
            return f"\nmainstay: the rest of {self._path} can not be read: {error}\n".encode()

    def close(self) -> None:
        self._file.close()
