"""How is the daemon spoken to?

A unix socket in the project's home, which only its owner may open, and on which the kernel says who calls. One line
of JSON asks, one line answers: ``{"v": 1, "do": "stop", "names": ["web"]}`` and ``{"ok": …}`` or
``{"error": "…", "code": 1}``. Any number of callers at once; each asks as often as it likes.
"""

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from mainstay.errors import MainstayError
from mainstay.supervisor.address import SOCKET, VERSION, reachable

__all__ = ["Request", "serving"]

_LONGEST: Final = 4_000_000
_BACKLOG: Final = 100
_CREDENTIALS: Final = struct.Struct("3i")

Request = Mapping[str, Any]
Handler = Callable[[Request], Awaitable[object]]


@asynccontextmanager
async def serving(home: Path, handle: Handler) -> AsyncIterator[None]:
    """Answer on the socket of that home.

    Args:
        home: must not be served by anybody else; what an earlier daemon has left there is replaced.
        handle: gives the answer, which is made JSON; a `MainstayError` is told to the caller, with its exit code.
    """
    path = home / SOCKET
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        _bind(listener, path)
        conversations = _Conversations(handle)
        server = await asyncio.start_unix_server(
            conversations.hold, sock=listener, limit=_LONGEST, backlog=_BACKLOG
        )
        try:
            yield
        finally:
            server.close()
            await conversations.end()
            path.unlink(missing_ok=True)


def _bind(listener: socket.socket, path: Path) -> None:
    """So that nobody else may open it, at any moment."""
    before = os.umask(0o177)
    try:
        listener.bind(reachable(path))
    finally:
        os.umask(before)


class _Conversations:
    """With everybody who has called."""

    def __init__(self, handle: Handler) -> None:
        self._handle = handle
        self._held: set[asyncio.Task[None]] = set()

    async def hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._held.add(task)
        try:
            if _caller(writer) not in (os.getuid(), 0):
                return
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):
            pass  # a caller who has gone, or whose line has no end
        finally:
            self._held.discard(task)
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
        for task in list(self._held):
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)


def _caller(writer: asyncio.StreamWriter) -> int:
    """The user who has called, as the kernel says."""
    connection: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)
