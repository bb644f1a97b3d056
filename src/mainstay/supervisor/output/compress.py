"""How does what was put aside become smaller, while everything else goes first?

In a thread of the lowest priority, one file at a time. A file has its ending ``.gz`` only when it is whole and on
the disk; what a kill leaves behind is done again.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mainstay.supervisor.output.asides import GZ, PART, asides
from mainstay.supervisor.output.model import Notice, NotRotated

__all__ = ["Compressor", "compress_asides"]

_CHUNK: Final = 256 * 1024
_LEVEL: Final = 6


class _Stopped(Exception):
    """The process is ending; nothing is left but a file that is not whole."""


class Compressor:
    """The thread; it is told of logs and looks for itself what there is to do."""

    def __init__(self, notice: Callable[[Notice], None]) -> None:
        self._notice = notice
        self._logs: set[Path] = set()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="compress", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End soon, even in the middle of a file."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def look_at(self, log: Path) -> None:
        """There may be something to do for this log. From any thread; never waits."""
        with self._changed:
            self._logs.add(log)
            self._changed.notify()

    def _run(self) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)  # on Linux, of this thread alone
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._logs or self._stopping)
                if self._stopping:
                    return
                log = self._logs.pop()
            try:
                compress_asides(log, stop=self._check)
            except _Stopped:
                return
            except Exception as error:  # noqa: BLE001  the room's border: it becomes a notice, and the next log's turn comes
                reason = getattr(error, "strerror", None) or repr(error)
                self._notice(NotRotated(path=log, reason=f"not compressed: {reason}"))

    def _check(self) -> None:
        if self._stopping:
            raise _Stopped


def compress_asides(log: Path, *, stop: Callable[[], None] = lambda: None) -> None:
    """Compress what was put aside from a log, all but the newest; tidy up after one that was killed.

    Args:
        log: the file that is written now.
        stop: is asked now and then; what it raises ends this.

    Raises:
        OSError: if something can not be read, written or deleted.
    """
    for left in log.parent.glob(f"{_literal(log.name)}.*{GZ}{PART}"):
        left.unlink(missing_ok=True)
    for aside in asides(log)[:-1]:
        if not aside.compressed:
            _compress(aside.path, stop)


def _compress(path: Path, stop: Callable[[], None]) -> None:
    whole = path.with_name(path.name + GZ)
    part = path.with_name(path.name + GZ + PART)
    try:
        if not whole.exists():
            _write(path, part, stop)
            part.rename(whole)
            _sync(path.parent)
        path.unlink()
    except FileNotFoundError:  # deleted in the meantime, because others are newer or nobody wants any of it
        part.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    except OSError:
        part.unlink(missing_ok=True)  # on a full disk, what it takes matters
        raise


def _write(path: Path, part: Path, stop: Callable[[], None]) -> None:
    import gzip  # only where there is something to do

    with path.open("rb") as source, part.open("wb") as target:
        status = os.fstat(source.fileno())
        os.fchmod(target.fileno(), status.st_mode & 0o777)
        with gzip.GzipFile(path.name, "wb", _LEVEL, target, mtime=status.st_mtime) as packed:
            while data := source.read(_CHUNK):
                stop()
                packed.write(data)
        target.flush()
        os.utime(target.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(target.fileno())
        path.stat()  # is it still wanted?


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _literal(name: str) -> str:
    """The name as a pattern that matches itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)
