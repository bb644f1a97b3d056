"""How does a Node program say ``process.send('ready')``?

On the channel that Node has with the process that has started it: one end of a pair of sockets, whose number is in
NODE_CHANNEL_FD, with one line of JSON for each message. Our end is held by the keeper, too: so a program is not
disconnected when the daemon dies, and what it says meanwhile waits for the next one.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Final

from mainstay.errors import MainstayError
from mainstay.supervisor.keeping import Keeper

__all__ = ["Channels"]

_READY: Final = b'"ready"'
_LONGEST_BYTES: Final = 1024
"""A longer line is none that means something here."""
_AT_ONCE_BYTES: Final = 1 << 16


class Channels:
    """Those of all runs of one daemon, each by a name that no other run has.

    Args:
        keeper: holds them.
        ready: is called with the name of one that says that it is ready.
    """

    def __init__(self, keeper: Keeper, ready: Callable[[str], object]) -> None:
        self._keeper = keeper
        self._ready = ready
        self._ends: dict[str, socket.socket] = {}

    @asynccontextmanager
    async def opened(self, name: str) -> AsyncIterator[int]:
        """A new channel for what is started in this block: gives the child's end.

        Raises:
            MainstayError: the keeper can not hold it.
            OSError: too many files are open.
        """
        await self.shut(name)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003
        with theirs:
            self._ends[name] = ours
            try:
                await self._keeper.hold(_held(name), (ours.fileno(),))
                yield theirs.fileno()
            except (MainstayError, OSError):  # the next start is another run, and nobody asks for this one again
                await self.shut(name)
                raise

    def listen(self, name: str) -> None:
        """Hear what it says from now on, and what it has said already."""
        ours = self._ends.get(name)
        if ours is not None:
            asyncio.get_running_loop().add_reader(ours, self._hear, name, ours, bytearray())

    async def resume(self, names: Iterable[str]) -> None:
        """Hear those of them that a daemon before this one has started, and that have a channel."""
        known, held = tuple(names), await self._keeper.held()  # others may come while the keeper answers
        for name in known:
            if _held(name) in held:
                [fd] = await self._keeper.give(_held(name))
                self._ends[name] = socket.socket(fileno=fd)
                self.listen(name)

    async def shut(self, name: str) -> None:
        """It has ended."""
        ours = self._ends.pop(name, None)
        if ours is not None:
            _close(ours)
            with suppress(MainstayError):
                await self._keeper.drop(_held(name))

    def close(self) -> None:
        """Here; the keeper holds them on."""
        while self._ends:
            _close(self._ends.popitem()[1])

    def _hear(self, name: str, ours: socket.socket, said: bytearray) -> None:
        """All is read, so that it need not wait; what is not for us is dropped."""
        try:
            part = os.read(ours.fileno(), _AT_ONCE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            asyncio.get_running_loop().remove_reader(ours)
            return
        *lines, rest = (said + part).split(b"\n")
        said[:] = rest if len(rest) <= _LONGEST_BYTES else rest[:_LONGEST_BYTES] + b"..."
        if any(line.strip() == _READY for line in lines):
            self._ready(name)


def _held(name: str) -> str:
    return f"channel:{name}"


def _close(end: socket.socket) -> None:
    asyncio.get_running_loop().remove_reader(end)
    end.close()
