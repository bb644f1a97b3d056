"""What do the children say of themselves?

The other end of `mainstay.notify`: a datagram socket on which the kernel says which process has sent. Whatever a
child sends is data of a stranger: what makes no sense is dropped.
"""

import array
import asyncio
import os
import socket
import struct
from _imp import source_hash
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mainstay.supervisor import events
from mainstay.supervisor.address import reachable
from mainstay.supervisor.events import Event

__all__ = ["SOCKET", "abroad", "listening", "listening_abroad", "meant"]

SOCKET: Final = "notify.sock"
_LONGEST: Final = 4096
_AT_ONCE: Final = 100
_MORE: Final = "EXTEND_TIMEOUT_USEC"
_LONGEST_NUMBER: Final = 16  # three centuries; the numbers that are none have no end
_MOST_S: Final = 3600.0
"""For so long one message may ask; who needs more says so again, and is alive then."""
_CREDENTIALS: Final = struct.Struct("3i")

Heard = Callable[[int, dict[str, str]], object]


@contextmanager
def listening(home: Path, heard: Heard, *, inherited: int | None = None) -> Iterator[int]:
    """Call ``heard`` with the sender's pid and what it says, by name, while the block runs.

    Args:
        home: where the socket is; what an earlier daemon has left there is replaced.
        heard: what is to be called.
        inherited: the socket that is there already; what was said to it meanwhile is heard.
    """
    loop = asyncio.get_running_loop()
    with _bound(home / SOCKET) if inherited is None else socket.socket(fileno=inherited) as way:
        loop.add_reader(way.fileno(), _receive, way, heard)
        try:
            yield way.fileno()
        finally:
            loop.remove_reader(way.fileno())


def abroad(home: Path) -> str:
    """The name of the socket for those who may not enter the home, because they are other users."""
    status = home.stat()
    place = source_hash(0, b"%d %d" % (status.st_dev, status.st_ino)).hex()
    return f"mainstay-{place}"


@contextmanager
def listening_abroad(home: Path, heard: Heard) -> Iterator[None]:
    """The same for them: on a name that is no file; where somebody else has it, they are not heard."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as way:
        way.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        try:
            way.bind(f"\0{abroad(home)}")
        except OSError:
            yield
            return
        loop.add_reader(way.fileno(), _receive, way, heard)
        try:
            yield
        finally:
            loop.remove_reader(way.fileno())


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    way = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o177)
    try:
        way.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        way.bind(reachable(path))
    except OSError:
        way.close()
        raise
    finally:
        os.umask(before)
    return way


def _receive(way: socket.socket, heard: Heard) -> None:
    """What is there; not for ever, so that one who floods keeps nobody from being heard."""
    for _ in range(_AT_ONCE):
        try:
            text, extra, _, _ = way.recvmsg(_LONGEST, 1024)
        except (BlockingIOError, InterruptedError):
            return
        pid = 0
        for level, kind, data in extra:
            if level != socket.SOL_SOCKET:
                continue
            if kind == socket.SCM_CREDENTIALS:
                pid, _, _ = _CREDENTIALS.unpack(data[: _CREDENTIALS.size])
            elif kind == socket.SCM_RIGHTS:
                _close(data)
        if pid:
            heard(pid, _said(text))


def _close(data: bytes) -> None:
    """Nobody has asked for descriptors."""
    fds = array.array("i")
    fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    for fd in fds:
        os.close(fd)


def _said(text: bytes) -> dict[str, str]:
    lines = text.decode("utf-8", "replace").splitlines()
    said = {name: value for name, is_pair, value in (line.partition("=") for line in lines) if is_pair}
    if len(said.get(_MORE, "")) > _LONGEST_NUMBER:
        del said[_MORE]
    return said


def meant(said: Mapping[str, str]) -> Iterator[Event]:
    """What it means, in the order in which it is to be taken."""
    if _MORE in said and said[_MORE].isdecimal():
        yield events.SaidMore(seconds=min(int(said[_MORE]) / 1e6, _MOST_S))
    if "STATUS" in said:
        yield events.SaidStatus(text=said["STATUS"])
    if said.get("READY") == "1":
        yield events.SaidReady()
    if said.get("STOPPING") == "1":
        yield events.SaidStopping()
    if said.get("WATCHDOG") == "1":
        yield events.SaidAlive()
