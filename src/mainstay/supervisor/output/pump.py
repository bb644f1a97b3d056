"""How does a child's output get from its FIFO to its log, whoever is killed on the way?

The kernel moves it: splice(2) takes bytes out of the FIFO as it writes them to the file, and no signal comes
between. What was not moved yet is still in the FIFO, which others hold open. So a kill of this process at any
moment loses nothing, writes nothing twice and cuts no line; with timestamps too, see
`mainstay.supervisor.output.stamps`.

Where a file system can not splice, bytes are read and then written: a kill between the two loses what was read, 64
KiB of each log at most, and the rest of a line whose beginning was lost looks like a line. Nothing here survives a
loss of power: what the kernel has not written to the disk yet is gone then.

Bytes stay bytes. Only newlines mean something.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.clock import Clock
from mainstay.supervisor.output.fifo import open_fifo, peek
from mainstay.supervisor.output.file import LogFile
from mainstay.supervisor.output.losses import Losses
from mainstay.supervisor.output.model import Dropping, Flushed, Notice, Policy, Resumed
from mainstay.supervisor.output.stamps import Stamps, stamped

__all__ = ["Pump"]

_STEP: Final = 256 * 1024
"""So much of one child's output is moved before it is the next one's turn."""
_CHUNK: Final = 64 * 1024
_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0


@dataclass(slots=True)
class _Dropped:
    """What could not be written so far, and why."""

    reason: str
    retry_at_s: float
    in_line: bool  # what comes next is the rest of a line whose beginning is written or dropped
    losses: Losses
    size: int = 0
    lines: int = 0

    def count(self, data: bytes) -> None:
        if data:
            self.size += len(data)
            self.lines += data.count(b"\n")
            self.in_line = not data.endswith(b"\n")
            self.losses.count(data)


class Pump:
    """One FIFO and its log. Not thread-safe; and one process at a time pumps one FIFO.

    Args:
        fifo: somebody else has to hold it open while nobody pumps, or what is in it is gone.
        notice: is told when output is dropped and written again.
        put_aside: is told the log's path when there may be something to compress.
        losses: what is lost is counted there.
        splice: whether to try; what the file system says comes second.

    Raises:
        OSError: if the FIFO can not be opened. Whatever is wrong with the log is no error, but drops output.
    """

    def __init__(
        self,
        fifo: Path,
        log: Path,
        policy: Policy,
        *,
        clock: Clock,
        notice: Callable[[Notice], None] = lambda _: None,
        put_aside: Callable[[Path], None] = lambda _: None,
        losses: Losses | None = None,
        splice: bool = True,
    ) -> None:
        self.fifo = open_fifo(fifo)
        self.log = log
        self.policy = policy
        self.losses = losses or Losses()
        self._clock = clock
        self._notice = notice
        self._file = LogFile(log, policy, clock=clock, notice=notice, put_aside=put_aside)
        self._stamps = Stamps(self._file)
        self._splice = splice
        self._recovered = False
        self._dropped: _Dropped | None = None
        self._resumed_at_s = float("-inf")
        self._pause_s = _RETRY_S

    @property
    def dropping(self) -> bool:
        """Whether output is thrown away just now; then `step` is called once a second even if there is none."""
        return self._dropped is not None

    def reads_like(self, other: "Pump") -> bool:
        """Whether the other one reads the same FIFO, and writes in the same way."""
        return self.policy == other.policy and os.path.samestat(os.fstat(self.fifo), os.fstat(other.fifo))

    def step(self) -> int:
        """Move some bytes, a bounded number of them; returns how many, 0 if there are none.

        It never waits for a child, and never fails for what is wrong with the log.
        """
        if self._dropped is not None:
            taken = self._drop(self._dropped)
            if taken or self._dropped is not None:
                return taken
        try:
            return self._move()
        except BlockingIOError:
            return 0
        except Exception as error:  # noqa: BLE001  the room's border: the error becomes a notice, the child goes on
            return self._begin_dropping(_reason(error))

    def rotate(self) -> None:
        """Put the log aside at once, if it ends with a whole line and holds anything.

        Raises:
            OSError: if a new one can not be begun.
        """
        end = self._file.end()
        if end and self._file.ends_line(end):
            self._file.rotate()

    def discard(self) -> None:
        """Throw away what has come, a bounded part of it, so that the child does not wait. Raises OSError."""
        with suppress(BlockingIOError):
            for _ in range(_STEP // _CHUNK):
                self.losses.count(os.read(self.fifo, _CHUNK))

    def flush(self) -> Flushed:
        """Delete what was written so far.

        Raises:
            OSError: if that can not be done.
        """
        return self._file.flush()

    def reopen(self) -> None:
        """Go on in a file of the log's name; of use to those who have renamed it themselves."""
        self._file.close()

    def close(self) -> None:
        """Let go of both."""
        self._file.close()
        self._stamps.close(remove=True)
        os.close(self.fifo)

    def _move(self) -> int:
        if not self._recovered:
            self._stamps.recover()
            self._recovered = True
        end = self._file.end()
        limit = min(_STEP, self._file.room(end))
        if self._file.due(end):
            limit = self._to_line_end()
            if not limit:
                return 0
            if self._file.ends_line(end):
                end = self._file.rotate()
                limit = min(_STEP, self._file.room(end))
        if self._splice:
            try:
                return self._by_kernel(end, limit)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self._splice = False
        return self._by_hand(end, limit)

    def _by_kernel(self, end: int, limit: int) -> int:
        if self.policy.timestamps:
            return self._stamps.move(self.fifo, end, limit, self._clock.now())
        return os.splice(self.fifo, self._file.fd, limit, offset_dst=end, flags=os.SPLICE_F_NONBLOCK)

    def _by_hand(self, end: int, limit: int) -> int:
        data = os.read(self.fifo, min(limit, _CHUNK))
        text = data
        if self.policy.timestamps:
            text = stamped(data, self._clock.now(), begins_line=self._file.ends_line(end))
        try:
            self._file.write(text, end)
        except OSError as error:
            self._begin_dropping(_reason(error), lost=data)
        return len(data)

    def _to_line_end(self) -> int:
        seen = peek(self.fifo)
        return seen.find(b"\n") + 1 or len(seen)

    def _begin_dropping(self, reason: str, *, lost: bytes = b"") -> int:
        now = self._clock.monotonic()
        again = now - self._resumed_at_s < _LONGEST_RETRY_S  # a little room, now and then, is not worth many words
        self._pause_s = min(2 * self._pause_s, _LONGEST_RETRY_S) if again else _RETRY_S
        self._dropped = dropped = _Dropped(
            reason=reason, retry_at_s=now + self._pause_s, in_line=self._is_in_line(), losses=self.losses
        )
        self.losses.trouble = reason
        dropped.count(lost)
        with suppress(OSError):
            dropped.count(self._stamps.lost())
        self._notice(Dropping(path=self.log, reason=reason))
        return self._drop(dropped)

    def _is_in_line(self) -> bool:
        try:
            return not self._file.ends_line(self._file.end())
        except OSError:
            return False

    def _drop(self, dropped: _Dropped) -> int:
        """Take something out of the FIFO, or begin to write again; then there is nothing left of `_dropped`."""
        if self._clock.monotonic() < dropped.retry_at_s:
            return self._take(dropped, _CHUNK)
        try:
            if dropped.in_line:
                return self._take(dropped, self._to_line_end())
            if dropped.size:
                self._say(dropped)
        except OSError as error:
            self.losses.trouble = dropped.reason = _reason(error)
            dropped.retry_at_s = self._clock.monotonic() + self._pause_s
            return self._take(dropped, _CHUNK)
        self._dropped, self.losses.trouble = None, ""
        self._resumed_at_s = self._clock.monotonic()
        self._notice(
            Resumed(path=self.log, reason=dropped.reason, dropped_bytes=dropped.size, dropped_lines=dropped.lines)
        )
        return 0

    def _take(self, dropped: _Dropped, limit: int) -> int:
        try:
            data = os.read(self.fifo, limit)
        except BlockingIOError:
            return 0
        dropped.count(data)
        return len(data)

    def _say(self, dropped: _Dropped) -> None:
        """Write into the log itself that something is missing here."""
        end = self._file.end()
        text = (
            f"mainstay: {dropped.size} bytes of output ({dropped.lines} lines) "
            f"could not be written here: {dropped.reason}\n"
        ).encode()
        if self.policy.timestamps:
            text = stamped(text, self._clock.now(), begins_line=True)
        self._file.write(text if self._file.ends_line(end) else b"\n" + text, end)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or repr(error)
