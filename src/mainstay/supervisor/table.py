"""What does a keeper hand to the one that it becomes?

Lines, each a list of byte strings without NUL, in memory that has no name (memfd_create(2)). The first one is the
version. What else there is: ``listening FD``, ``child NAME PID MARK STATUS TOLD``, ``fifo PATH FD`` and
``held NAME FD…``; file descriptors are those of the process, which stays the same.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["VERSION", "read", "write"]

VERSION = 1
_KINDS = (b"listening", b"child", b"fifo", b"held")


def write(lines: "Iterable[tuple[bytes, ...]]") -> int:
    """A file descriptor of it, to be closed by the caller. Raises OSError."""
    fd = os.memfd_create("table")
    try:
        for line in ((b"table", b"%d" % VERSION), *lines):
            body = b"\0".join(line)
            _write(fd, len(body).to_bytes(4, "big") + body)
    except OSError:
        os.close(fd)
        raise
    return fd


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def read(fd: int) -> "list[tuple[bytes, ...]]":
    """The lines but the first.

    Raises:
        ValueError: it is no table, or one of another version.
    """
    data = os.pread(fd, os.fstat(fd).st_size, 0)
    lines, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        lines.append(tuple(data[at + 4 : end].split(b"\0")))
        at = end
    if at != len(data) or lines[:1] != [(b"table", b"%d" % VERSION)]:
        raise ValueError("the keeper's table is of another version")
    if unknown := [line[0] for line in lines[1:] if line[0] not in _KINDS]:
        raise ValueError(f"the keeper's table has something unknown in it: {unknown[0]!r}")
    return lines[1:]
