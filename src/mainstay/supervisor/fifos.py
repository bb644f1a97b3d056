"""Does what was written into a pipe stay when nobody reads it?

A FIFO is emptied when the last one who has it open closes it. So the keeper has it open, too. Run by the keeper, so
as few imports as can be.
"""

import os
from errno import ENOSTR
from fcntl import F_SETPIPE_SZ, fcntl
from stat import S_ISFIFO

__all__ = ["Fifos"]

_BYTES = 1 << 20


class Fifos:
    """The FIFOs that are held, by path."""

    def __init__(self) -> None:
        self._open: dict[bytes, int] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def items(self) -> "list[tuple[bytes, int]]":
        """Their paths, and the file descriptors by which they are held."""
        return list(self._open.items())

    def take(self, path: bytes, fd: int) -> None:
        """This one is held already."""
        os.set_inheritable(fd, False)  # noqa: FBT003
        self._open[path] = fd

    def hold(self, path: bytes) -> None:
        """Hold the FIFO that is at this path now; make one if there is none. An empty path is no FIFO.

        Raises:
            OSError: what is there is no FIFO, or there can be none.
        """
        if not path:
            return
        if not os.path.lexists(path):
            os.mkfifo(path, 0o600)
        fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        there, before = os.fstat(fd), self._open.get(path)
        if not S_ISFIFO(there.st_mode):
            os.close(fd)
            raise OSError(ENOSTR, "no FIFO")
        if before is not None and os.path.samestat(there, os.fstat(before)):
            os.close(fd)
            return
        if before is not None:
            os.close(before)
        self._open[path] = fd
        try:
            fcntl(fd, F_SETPIPE_SZ, _BYTES)
        except OSError:
            return  # all the pipes of this user together are large enough

    def release(self, path: bytes) -> None:
        """Hold it no longer; what is in it is gone once nobody else has it open."""
        fd = self._open.pop(path, None)
        if fd is not None:
            os.close(fd)
