"""How does a log grow, and how is it put aside?

A file is put aside by renaming it, so that whoever reads it goes on reading the same file. Nothing is remembered
between two steps but what the file system says as well: after a kill at any of them the next process goes on.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mainstay.clock import Clock
from mainstay.supervisor.output.asides import next_aside, remove_asides, retain
from mainstay.supervisor.output.model import LONGEST, Flushed, Notice, NotRotated, Policy

__all__ = ["LogFile", "flush"]

_MODE: Final = 0o640  # a log collector is often in the group
_RETRY_S: Final = 60.0


class LogFile:
    """The file that a log is written to now.

    It is not opened for appending, because splice(2) refuses that; its end is asked for before each write, so that
    one who truncates it from outside leaves no hole.
    """

    def __init__(
        self,
        path: Path,
        policy: Policy,
        *,
        clock: Clock,
        notice: Callable[[Notice], None],
        put_aside: Callable[[Path], None],
    ) -> None:
        self.path = path
        self._policy = policy
        self._clock = clock
        self._notice = notice
        self._put_aside = put_aside
        self._fd: int | None = None
        self._period = 0
        self._postponed_to_s = float("-inf")

    @property
    def fd(self) -> int:
        """Its descriptor, after `end`."""
        assert self._fd is not None
        return self._fd

    def end(self) -> int:
        """Where the next byte goes; opens the file if it is not open, or was deleted.

        Raises:
            OSError: if it can not be opened.
        """
        if self._fd is not None:
            status = os.fstat(self._fd)
            if status.st_nlink:
                return status.st_size
            self.close()
        try:
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        except FileExistsError:  # says what is meant by it
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path.parent)) from None
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
        status = os.fstat(self._fd)
        self._period = self._period_of(status.st_mtime if status.st_size else self._clock.now().timestamp())
        return status.st_size

    def close(self) -> None:
        """Until it is needed again: by then its name may mean another file."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.close(fd)

    def ends_line(self, end: int) -> bool:
        """Whether what comes next begins a line."""
        return end == 0 or os.pread(self.fd, 1, end - 1) == b"\n"

    def write(self, data: bytes, end: int) -> None:
        """Write all of it at the end, or nothing.

        Raises:
            OSError: if it can not be written; the file is as it was.
        """
        rest, at = memoryview(data), end
        try:
            while rest:
                written = os.pwrite(self.fd, rest, at)
                rest, at = rest[written:], at + written
        except OSError:
            os.ftruncate(self.fd, end)
            raise

    def due(self, end: int) -> bool:
        """Whether it is to be put aside, as soon as it ends with a whole line."""
        period = self._period_of(self._clock.now().timestamp()) if self._policy.every_s else 0
        if end == 0:
            self._period = period
            return False
        full = 0 < self._policy.max_size <= end
        return (full or period > self._period) and self._clock.monotonic() >= self._postponed_to_s

    def room(self, end: int) -> int:
        """How much may still be written to it before it is full."""
        return max(self._policy.max_size - end, 0) or (1 << 62)

    def rotate(self) -> int:
        """Put it aside and begin a new one; the new one's end.

        Raises:
            OSError: if the new one can not be opened.
        """
        try:
            os.rename(self.path, next_aside(self.path))  # noqa: PTH104  says what it does
            self.close()
            retain(self.path, self._policy.keep)
        except OSError as error:
            self._postponed_to_s = self._clock.monotonic() + _RETRY_S
            self._notice(NotRotated(path=self.path, reason=error.strerror or str(error)))
        end = self.end()
        if self._policy.compress:
            self._put_aside(self.path)
        return end

    def flush(self) -> Flushed:
        """See the function of that name; the new file begins with the line that has not ended. Raises OSError."""
        unended = self._unended()
        self.close()
        flushed = flush(self.path)
        if flushed.files and self.end() == 0 and unended:
            self.write(unended, 0)
        return flushed + Flushed(size_bytes=-len(unended))

    def _unended(self) -> bytes:
        """The line that has not ended, unless it is so long that it looks the same without its beginning."""
        end = self.end()
        if not stat.S_ISREG(os.fstat(self.fd).st_mode):
            return b""
        last = os.pread(self.fd, LONGEST, max(0, end - LONGEST))
        return last[last.rfind(b"\n") + 1 :] if b"\n" in last or end < LONGEST else b""

    def _period_of(self, at: float) -> int:
        return int(at // self._policy.every_s) if self._policy.every_s else 0


def flush(path: Path) -> Flushed:
    """Forget everything that was written to a log, here and in what was put aside.

    A file is deleted and not emptied: who follows it sees it end, and goes on in the next one; of one that was
    emptied and has grown since, nobody can tell. A file elsewhere to which the name is a link is emptied; what is
    no file, like ``/dev/null``, is left alone.

    Raises:
        OSError: if something can not be deleted.
    """
    flushed = remove_asides(path)
    try:
        here, meant = path.lstat(), path.stat()
    except FileNotFoundError:
        return flushed
    if not meant.st_size:
        return flushed
    if stat.S_ISREG(here.st_mode):
        path.unlink()
    elif stat.S_ISREG(meant.st_mode):
        os.truncate(path, 0)
    else:
        return flushed
    return flushed + Flushed(files=1, size_bytes=meant.st_size)
