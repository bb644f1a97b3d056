"""Which models are there, and how does one more come into being?

Each has a listener, faults and a record of its own, under the name that the service's configuration gives it. One
that is there stays as long as the sandbox, with all that is known about it.
"""

import asyncio
import re
from collections.abc import Callable, Iterable
from socket import socket

from mainstay.clock import Clock
from mainstay.sandbox.listener import Listener, bind
from mainstay.sandbox.provider.faults import FaultPlan
from mainstay.sandbox.provider.http import provider_app
from mainstay.sandbox.provider.model import ProviderSettings
from mainstay.sandbox.provider.record import ProviderRecord

__all__ = ["Models"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")
_MOST = 50


class Models:
    """The pretended models.

    Args:
        token: the API key that they take.
        settings: how they behave.
        clock: dates their answers and records.
        port_of: the port asked for and the port before, by name; 0 for any free one.
    """

    def __init__(
        self,
        *,
        token: str,
        settings: ProviderSettings,
        clock: Clock,
        port_of: Callable[[str], tuple[int, int]],
    ) -> None:
        self._token = token
        self._settings = settings
        self._clock = clock
        self._port_of = port_of
        self._group: asyncio.TaskGroup | None = None
        self._reserved: dict[str, socket] = {}
        self._listeners: list[Listener] = []
        self.urls: dict[str, str] = {}
        """The base URL of each that answers."""
        self.faults: dict[str, FaultPlan] = {}
        self.records: dict[str, ProviderRecord] = {}

    def reserve(self, names: Iterable[str]) -> None:
        """Give a port to each of these models that is not there yet.

        Raises:
            ValueError: if a name is none, or there would be too many.
            OSError: if a port that was asked for is taken.
        """
        missing = [name for name in dict.fromkeys(names) if name not in self.urls and name not in self._reserved]
        for name in missing:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name of a model: begin with a letter, then letters, digits, - or _"
                )
        if len(self.urls) + len(self._reserved) + len(missing) > _MOST:
            raise ValueError(f"there can not be more than {_MOST} models")
        for name in missing:
            self._reserved[name] = bind(*self._port_of(name))

    async def serve(self, group: asyncio.TaskGroup) -> None:
        """Answer for those that have a port, in this group; returns when they do."""
        self._group = group
        for name, listening in self._reserved.items():
            self._start(group, name, listening)
        self._reserved.clear()
        for listener in list(self._listeners):
            await listener.listening.wait()

    async def add(self, names: Iterable[str]) -> None:
        """Let there be these models too; returns when they answer. Raises ValueError and OSError; see `reserve`."""
        assert self._group is not None, "serve() has not begun"
        self.reserve(names)
        await self.serve(self._group)

    def stop(self) -> None:
        """Let every listener end."""
        for listener in self._listeners:
            listener.should_exit = True

    def _start(self, group: asyncio.TaskGroup, name: str, listening: socket) -> None:
        faults, record = FaultPlan(self._clock), ProviderRecord()
        app = provider_app(
            name, faults=faults, record=record, clock=self._clock, token=self._token, settings=self._settings
        )
        listener = Listener(app)
        group.create_task(listener.serve(sockets=[listening]))
        self._listeners.append(listener)
        self.faults[name], self.records[name] = faults, record
        self.urls[name] = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
