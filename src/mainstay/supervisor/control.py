"""How is the daemon spoken to?

A unix socket in the project's home, which only its owner may open, and on which the kernel says who calls. One line
of JSON asks, one line answers: ``{"v": 1, "do": "stop", "names": ["web"]}`` and ``{"ok": …}`` or
``{"error": "…", "code": 1}``. Any number of callers at once; each asks as often as it likes. With an error that has
``"again": true`` nothing was looked at, as the daemon was just replaced: the next one listens on the same socket.
"""

import asyncio
import json
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mainstay.errors import MainstayError
from mainstay.supervisor.address import SOCKET, VERSION, reachable

__all__ = ["LATER", "Request", "Served", "serving"]

_LONGEST: Final = 4_000_000
_BACKLOG: Final = 100
_ACCEPTED: Final = 10
_CREDENTIALS: Final = struct.Struct("3i")

LATER: Final = object()
"""In place of an answer: whoever comes next in this process will give it."""
_BUSY: Final = {
    "error": "the supervisor was updated while it did this: `mainstay list` says how it went on",
    "code": 1,
}
_IDLE: Final = {"error": "the supervisor was just updated: ask again", "code": 1, "again": True}

Request = Mapping[str, Any]
Handler = Callable[[Request], Awaitable[object]]


@asynccontextmanager
async def serving(home: Path, handle: Handler, *, inherited: int | None = None) -> "AsyncIterator[Served]":
    """Answer on the socket of that home.

    Args:
        home: must not be served by anybody else; what an earlier daemon has left there is replaced.
        handle: gives the answer, which is made JSON; a `MainstayError` is told to the caller, with its exit code.
        inherited: the socket that is bound there already.
    """
    path = home / SOCKET
    with _bound(path) if inherited is None else socket.socket(fileno=inherited) as listener:
        served = Served(listener, handle)
        # By Python 3.13 it would be unlinked by this, which is done below, unless it is handed over.
        kept: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        server = await asyncio.start_unix_server(
            served.hold, sock=listener, limit=_LONGEST, backlog=_BACKLOG, **kept
        )
        ours = path.stat()
        try:
            yield served
        finally:
            server.close()
            await served.end()
            if served.handed is None:
                with suppress(FileNotFoundError):
                    if os.path.samestat(path.stat(), ours):  # not another's, made after the home was deleted
                        path.unlink()


def _bound(path: Path) -> socket.socket:
    """So that nobody else may open it, at any moment."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(reachable(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


class Served:
    """The conversations with everybody who has called.

    Attributes:
        handed: the listening socket, once it was handed over.
        callers: the sockets of those who are answered later.
    """

    def __init__(self, listener: socket.socket, handle: Handler) -> None:
        self.handed: int | None = None
        self.callers: list[int] = []
        self._listener = listener
        self._handle = handle
        self._held: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._busy: set[asyncio.Task[None]] = set()

    def hand_over(self) -> int:
        """A copy of the listening socket, which is not taken away when this ends; nor is anybody refused."""
        # Not by closing the server: that would hang up on whoever was just let in.
        asyncio.get_running_loop().remove_reader(self._listener)
        self.handed = os.dup(self._listener.fileno())
        return self.handed

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one caller."""
        task = asyncio.current_task()
        assert task is not None
        self._held[task] = writer
        try:
            if _caller(writer) not in (os.getuid(), 0):
                return
            while line := await reader.readline():
                self._busy.add(task)
                answer = await self._answer(line)
                if answer.get("ok") is LATER:
                    self.callers.append(os.dup(writer.get_extra_info("socket").fileno()))
                    return
                writer.write(json.dumps(answer).encode() + b"\n")
                self._busy.discard(task)
                await writer.drain()
        except (OSError, ValueError):
            pass  # a caller who has gone, or whose line has no end
        finally:
            del self._held[task]
            self._busy.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> Mapping[str, object]:
        try:
            request = json.loads(line)
        except ValueError:
            return {"error": "this is not a line of JSON", "code": 2}
        if not isinstance(request, dict) or request.get("v") != VERSION:
            return {"error": f"the running daemon speaks version {VERSION} only: `mainstay update`", "code": 1}
        names = request.get("names", [])
        if not isinstance(request.get("do"), str) or not isinstance(names, list):
            return {"error": 'write it like {"v": 1, "do": "stop", "names": ["web"]}', "code": 2}
        try:
            return {"ok": await self._handle(request)}
        except MainstayError as error:
            return {"error": str(error), "code": error.exit_code}

    async def end(self) -> None:
        """Hang up; where it goes on with other code, everybody is told."""
        if self.handed is not None:
            for _ in range(_ACCEPTED):
                await asyncio.sleep(0)  # who has just been let in is told so, too
        for task, writer in list(self._held.items()):
            if self.handed is not None:
                writer.write(json.dumps(_BUSY if task in self._busy else _IDLE).encode() + b"\n")
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)


def _caller(writer: asyncio.StreamWriter) -> int:
    """The user who has called, as the kernel says."""
    connection: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)
