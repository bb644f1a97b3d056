"""How does a keeper become one of other code, and what does it hand on?

The process executes that, and stays the same. What it hands on are lines, each a list of byte strings without NUL,
in memory that has no name (memfd_create(2)). The first one is the version. What else there is: ``listening FD``,
``child NAME PID MARK STATUS TOLD``, ``fifo PATH FD`` and ``held NAME FD…``; file descriptors are the process's.
"""

import os
from _signal import SIG_BLOCK, SIG_UNBLOCK, pthread_sigmask  # type: ignore[import-not-found]

from mainstay.supervisor.launch import CAUGHT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["VERSION", "become", "read", "write"]

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


def become(executable: bytes, program: bytes, home: bytes, lock: int, lines: "list[tuple[bytes, ...]]") -> None:
    """Execute `mainstay.supervisor.boot` of other code, which gets these lines.

    Raises:
        OSError: that can not be done; all is as it was.
    """
    written = write(lines)
    handed = [lock, written, *(int(fd) for kind, *rest in lines for fd in _fds(kind, rest))]
    pthread_sigmask(SIG_BLOCK, CAUGHT)  # none of them may find a process without handlers
    for fd in handed:
        os.set_inheritable(fd, True)  # noqa: FBT003
    try:
        words = [executable, b"-I", b"-S", program, b"again", home]
        os.execve(executable, [*words, b"%d" % lock, b"%d" % written], os.environ)  # noqa: S606, TID251
    except OSError:
        for fd in handed:
            os.set_inheritable(fd, False)  # noqa: FBT003
        pthread_sigmask(SIG_UNBLOCK, CAUGHT)
        os.close(written)
        raise


def _fds(kind: bytes, fields: "list[bytes]") -> "list[bytes]":
    """The file descriptors in a line of the table."""
    if kind == b"held":
        return fields[1:]
    return [] if fields[-1] == b"-1" else fields[-1:]
