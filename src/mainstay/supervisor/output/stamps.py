"""How does each line get the time of its arrival, without one being lost or written twice?

A line can not be moved by the kernel when something is to be put in front of it. So it takes two moves, with a note
between them that a later process understands: the bytes are moved, by the kernel, into a small file beside the log,
behind where the log ended and what time it was; then they are written to the log, with that time, at that place;
then the small file is emptied. Who finds it filled does the second move again, with the same result.

No line waits for its end: what has arrived of it is written, and the rest follows in its place.
"""

import os
import struct
from datetime import UTC, datetime
from typing import Final

from mainstay.clock import iso
from mainstay.supervisor.output.file import LogFile

__all__ = ["Stamps", "stamped"]

_HEADER: Final = struct.Struct("<QQ")  # where the log ended, and milliseconds since the epoch
_MOST: Final = 64 * 1024  # the shortest lines become 26 times as long


def stamped(data: bytes, at: datetime, *, begins_line: bool) -> bytes:
    """The data with the time in front of each line that begins in it."""
    prefix = iso(at).encode() + b" "
    start = prefix if begins_line else b""
    return start + data[:-1].replace(b"\n", b"\n" + prefix) + data[-1:]


class Stamps:
    """The small file beside a log."""

    def __init__(self, log: LogFile) -> None:
        self._log = log
        self._path = log.path.with_name(f".{log.path.name}.moving")
        self._fd: int | None = None

    def recover(self) -> None:
        """Finish what a process before this one has begun; before anything else is done to the log.

        Raises:
            OSError: if the log can not be written; then the bytes are still there.
        """
        if self._fd is None and self._path.exists():
            self._finish(self._open())

    def move(self, fifo: int, end: int, limit: int, at: datetime) -> int:
        """Move some bytes to the log; returns how many were taken out of the FIFO.

        Raises:
            BlockingIOError: if there is nothing in the FIFO.
            OSError: if they can not be written; then nothing was taken out, or `lost` says how much.
        """
        fd = self._open()
        os.pwrite(fd, _HEADER.pack(end, round(at.timestamp() * 1000)), 0)
        moved = os.splice(fifo, fd, min(limit, _MOST), offset_dst=_HEADER.size, flags=os.SPLICE_F_NONBLOCK)
        self._finish(fd)
        return moved

    def lost(self) -> bytes:
        """What was taken out of the FIFO and could not be written; it is forgotten."""
        if self._fd is None:
            return b""
        data = os.pread(self._fd, _MOST, _HEADER.size)
        os.ftruncate(self._fd, 0)
        return data

    def close(self, *, remove: bool = False) -> None:
        """Close it; and delete it, if it is empty."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            if remove and os.fstat(fd).st_size <= _HEADER.size:
                self._path.unlink(missing_ok=True)
            os.close(fd)

    def _open(self) -> int:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fd

    def _finish(self, fd: int) -> None:
        header = os.pread(fd, _HEADER.size, 0)
        data = os.pread(fd, _MOST, _HEADER.size)
        if data:
            begin, at_ms = _HEADER.unpack(header)
            at, end = datetime.fromtimestamp(at_ms / 1000, UTC), self._log.end()
            text = b""
            if begin <= end:
                text = stamped(data, at, begins_line=self._log.ends_line(begin))
            if not begin <= end <= begin + len(text):  # the log is not as this process left it: overwrite nothing
                begin, text = end, stamped(data, at, begins_line=self._log.ends_line(end))
            self._log.write(text, begin)
        os.ftruncate(fd, 0)
