"""How do the keeper and the daemon talk?

By messages on a Unix stream socket, which may carry file descriptors. A message is a list of byte strings without
NUL: its length in four bytes, then the strings with a NUL between each two. The first is its kind, the second the
number of the question. What is added later is added at the end, because a daemon may be newer than its keeper.

The keeper must stay small, and runs this: no ``typing``, no ``socket``, only the half of it that is written in C.
"""

import sys
from _socket import (
    CMSG_SPACE,
    MSG_CMSG_CLOEXEC,
    MSG_DONTWAIT,
    MSG_NOSIGNAL,
    SCM_RIGHTS,
    SO_PEERCRED,
    SOL_SOCKET,
    socket,
)
from os import close, dup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MOST_FDS", "VERSION", "Wire", "peer"]

VERSION = 1
MOST_FDS = 64  # in one message
_LONGEST_BYTES = 8 << 20  # more than the arguments and the environment of a program may have
_UNSENT_BYTES = 1 << 20
_READ_BYTES = 1 << 16


class Wire:
    """One end of a connection; never waits.

    Attributes:
        fds: those that came with the messages and were not taken yet, oldest first.
    """

    def __init__(self, sock: socket) -> None:
        self.sock = sock
        self.fds: list[int] = []
        self._unread = bytearray()
        self._unsent: list[tuple[bytes, tuple[int, ...]]] = []
        sock.setblocking(False)  # noqa: FBT003

    @property
    def behind(self) -> bool:
        """Whether there is something left to send."""
        return bool(self._unsent)

    @property
    def clogged(self) -> bool:
        """Whether the other side leaves so much unread that it should not be listened to."""
        return sum(len(data) for data, _ in self._unsent) > _UNSENT_BYTES

    def receive(self) -> list[tuple[bytes, ...]]:
        """The messages that have come in whole since the last time.

        Raises:
            EOFError: the other side is gone.
            ValueError: what it sends are no messages.
        """
        try:
            data, ancillary, _, _ = self.sock.recvmsg(_READ_BYTES, CMSG_SPACE(4 * MOST_FDS), MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError as error:
            raise EOFError from error
        for level, kind, numbers in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                whole = range(0, len(numbers) - 3, 4)
                self.fds += [int.from_bytes(numbers[at : at + 4], sys.byteorder) for at in whole]
        if len(self.fds) > MOST_FDS:
            raise ValueError("too many file descriptors")
        if not data:
            raise EOFError
        self._unread += data
        return self._whole()

    def _whole(self) -> list[tuple[bytes, ...]]:
        messages = []
        at = 0
        while len(self._unread) - at >= 4:
            length = int.from_bytes(self._unread[at : at + 4], "big")
            if length > _LONGEST_BYTES:
                raise ValueError("too long")
            if len(self._unread) - at - 4 < length:
                break
            messages.append(tuple(bytes(self._unread[at + 4 : at + 4 + length]).split(b"\0")))
            at += 4 + length
        del self._unread[:at]
        return messages

    def take(self, count: int) -> list[int]:
        """File descriptors that belong to the message; fewer, where this process may not have more open."""
        taken, self.fds = self.fds[:count], self.fds[count:]
        return taken

    def send(self, *message: bytes, fds: "Sequence[int]" = ()) -> None:
        """Send a message, now or with the next `flush`; the file descriptors stay the caller's.

        Raises:
            EOFError: the other side is gone.
            OSError: too many files are open.
            ValueError: a string has a NUL in it, or there is too much of it.
        """
        body = b"\0".join(message)
        if body.count(b"\0") != len(message) - 1:
            raise ValueError("NUL in a message")
        if len(body) > _LONGEST_BYTES or len(fds) > MOST_FDS:
            raise ValueError("too long")
        self._unsent.append((len(body).to_bytes(4, "big") + body, tuple(dup(fd) for fd in fds)))
        self.flush()

    def flush(self) -> None:
        """Send what can be sent.

        Raises:
            EOFError: the other side is gone.
        """
        while self._unsent:
            data, fds = self._unsent[0]
            rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
            ancillary = [(SOL_SOCKET, SCM_RIGHTS, rights)] if fds else []
            try:
                sent = self.sock.sendmsg([data], ancillary, MSG_NOSIGNAL | MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                raise EOFError from error
            self._unsent[:1] = [(data[sent:], ())] if sent < len(data) else []
            for fd in fds:
                close(fd)

    def close(self) -> None:
        """Close it, with all that nobody has taken."""
        self.sock.close()
        for fd in (*self.fds, *(fd for _, fds in self._unsent for fd in fds)):
            close(fd)
        self.fds.clear()
        self._unsent.clear()


def peer(sock: socket) -> tuple[int, int]:
    """Who is at the other end: pid and user id, as the kernel has noted them when it connected or listened."""
    packed = sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)
    return int.from_bytes(packed[:4], sys.byteorder), int.from_bytes(packed[4:8], sys.byteorder)
