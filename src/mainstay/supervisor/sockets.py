"""Who opens the sockets at which the apps are reached, and keeps them open?

The daemon opens each once, and hands it to every run of its app. It has the keeper hold it as well: so it is open
while nothing runs and while there is no daemon, and whoever connects meanwhile waits instead of being refused.
"""

import asyncio
import errno
import os
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final

from mainstay.errors import MainstayError
from mainstay.supervisor.address import reachable
from mainstay.supervisor.keeping import Keeper

__all__ = ["Sockets"]

_BACKLOG: Final = 1024
_RESOLVED_WITHIN_S: Final = 5.0
_UNIX: Final = "unix:"


class Sockets:
    """Those of all apps of one home.

    Args:
        keeper: holds them as well, by ``"APP ADDRESS"``.
        directory: what paths are relative to.
    """

    def __init__(self, keeper: Keeper, directory: Path) -> None:
        self._keeper = keeper
        self._directory = directory
        self._open: dict[str, int] = {}
        self._seen: set[str] = set()
        self._turn = asyncio.Lock()

    async def of(self, app: str, addresses: tuple[str, ...]) -> list[int]:
        """The app's sockets, in that order; they stay ours. Those that it had and has no more are closed.

        Raises:
            MainstayError: one can not be opened, or the keeper is gone and does not come back.
        """
        wanted = {f"{app} {address}": address for address in addresses}
        if not wanted and app in self._seen:
            return []
        async with self._turn:  # two of its instances are not to open it twice
            held = await self._held()
            for name, address in wanted.items():
                if name not in self._open:
                    given = await self._keeper.give(name) if name in held else []
                    self._open[name] = given[0] if given else await self._opened(address)
                if name not in held:
                    await self._keeper.hold(name, [self._open[name]])
            await self._close([name for name in {*held, *self._open} if _app(name) == app and name not in wanted])
            self._seen = self._seen - {app} if wanted else self._seen | {app}
            return [self._open[name] for name in wanted]

    async def keep(self, apps: Collection[str]) -> None:
        """Close those of all other apps. Raises MainstayError."""
        async with self._turn:
            held = await self._held()
            await self._close([name for name in {*held, *self._open} if _app(name) not in apps])

    async def hold_again(self) -> None:
        """There is another keeper. Raises MainstayError."""
        async with self._turn:
            for name, fd in self._open.items():
                await self._keeper.hold(name, [fd])

    async def _held(self) -> list[str]:
        """The keeper holds other things, too."""
        return [name for name in await self._keeper.held() if " " in name]

    async def _close(self, names: list[str]) -> None:
        for name in names:
            if name in self._open:
                os.close(self._open.pop(name))
            await self._keeper.drop(name)

    async def _opened(self, address: str) -> int:
        try:
            if address.startswith(_UNIX):
                return _listening_at(self._directory / address.removeprefix(_UNIX))
            return await _listening_on(address)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", "") or str(error) or "its name is not found in time"
            what = "end who has it, or set" if getattr(error, "errno", 0) == errno.EADDRINUSE else "set"
            raise MainstayError(f"can not listen on {address}: {why}: {what} another `listen`") from None


def _app(name: str) -> str:
    return name.partition(" ")[0]


async def _listening_on(address: str) -> int:
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(_RESOLVED_WITHIN_S):
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    family, kind, protocol, _, where = found[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(_BACKLOG)
        return listener.detach()


def _listening_at(path: Path) -> int:
    """In place of what nobody listens at any more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller, suppress(FileNotFoundError):
        try:
            caller.setblocking(False)  # noqa: FBT003
            caller.connect(reachable(path))
        except ConnectionRefusedError:
            path.unlink()
        except BlockingIOError:
            pass  # its queue is full: somebody listens, and bind(2) says so
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(reachable(path))
        listener.listen(_BACKLOG)
        return listener.detach()
