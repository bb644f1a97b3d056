"""What is in a FIFO, without taking it out?

Whatever a process has taken out is lost when it is killed. So one looks at a copy: tee(2) copies from one pipe to
another and takes nothing out. The standard library has splice(2), but not tee(2).
"""

import errno
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["open_fifo", "peek", "written_by"]

_PEEKED: Final = 64 * 1024  # what a new pipe holds


@cache
def _tee() -> Callable[[int, int, int, int], int]:
    """How many bytes were copied, or the error's number, negative."""
    import ctypes  # only where it is needed: it is large

    tee = ctypes.CDLL(None, use_errno=True).tee
    tee.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, ctypes.c_uint)
    tee.restype = ctypes.c_ssize_t

    def call(source: int, target: int, length: int, flags: int) -> int:
        copied = int(tee(source, target, length, flags))
        return copied if copied >= 0 else -ctypes.get_errno()

    return call


def open_fifo(path: Path) -> int:
    """A descriptor to read it by, that never waits.

    It is opened for writing as well, so that it has no end when its writers come and go.
    """
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def written_by(pid: int, fd: int, path: Path) -> Path:
    """The FIFO that a process got from us as this descriptor, by a name under which it can be opened.

    That is ``path``, but when somebody has deleted that, so that by now it means another FIFO or none.
    """
    held = Path(f"/proc/{pid}/fd/{fd}")
    try:
        deleted = os.readlink(held) == f"{path.resolve()} (deleted)"  # noqa: PTH115  says what the kernel says
    except OSError:
        return path
    return held if deleted else path


def peek(fifo: int) -> bytes:
    """What comes next in it, 64 KiB at most; empty if there is nothing."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        copied = _tee()(fifo, writer, _PEEKED, os.SPLICE_F_NONBLOCK)
        if copied < 0:
            if -copied in (errno.EAGAIN, errno.EINTR):
                return b""
            raise OSError(-copied, os.strerror(-copied))
        return os.read(reader, copied) if copied else b""
    finally:
        os.close(reader)
        os.close(writer)
