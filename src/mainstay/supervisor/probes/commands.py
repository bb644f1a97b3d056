"""How is a command run that is to tell how an app is?

By the keeper, like the apps: so it is reaped whoever dies, and what a daemon that was killed has left is found by
the next one. With its marker it has a tree of its own, of which nothing is left when it has ended or its time is
over.
"""

import asyncio
import os
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final

from mainstay.errors import MainstayError
from mainstay.notify import MARKER, STACKS
from mainstay.supervisor.command import Launch
from mainstay.supervisor.endings import Kept
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.probes.model import Kind
from mainstay.supervisor.trees import Trees

__all__ = ["Commands", "Order"]

_AT_ONCE: Final = 8
_SWEEP_S: Final = 5.0
_PARTS: Final = 4  # of "web:0:liveness:1f2e3d4c"
_NOT_THEIRS: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDNAMES", STACKS})

Order = Callable[[], Launch]


class Commands:
    """The commands of all probes of one daemon.

    Args:
        keeper: starts them.
        home: of the daemon.
        tasks: has what goes on when nobody waits for an answer any more.
        early: ends that were heard of before the start was.
    """

    def __init__(
        self, keeper: Keeper, home: Path, tasks: asyncio.TaskGroup, early: MutableMapping[Child, Ended]
    ) -> None:
        self._keeper = keeper
        self._home = home
        self._tasks = tasks
        self._early = early
        self._trees = Trees()
        self._awaited: dict[Child, asyncio.Future[Ended]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def run(self, name: str, order: Order, timeout_s: float) -> Ended | str | None:
        """How it ended, why it could not be started, or None if its time was over.

        Args:
            name: of the instance and the probe, ``"web:0:liveness"``.
            order: what to run, in the environment of the app.
            timeout_s: after so long it is killed. Waiting for a place among all commands does not count.
        """
        try:
            launch = order()  # before there is a place: by then the instance may have another name, or none
        except (MainstayError, OSError) as error:
            return str(error)
        async with self._places:
            over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            # Not to be cancelled: what was started half way would be nobody's.
            name = f"{name}:{os.urandom(4).hex()}"  # so that no sweep finds another one
            running = self._tasks.create_task(self._run(name, launch, timeout_s, over))
            try:
                return await asyncio.shield(running)
            finally:
                if not over.done():
                    over.set_result(None)

    def has_ended(self, child: Child, how: Ended) -> bool:
        """A process has ended; False if it is none of these."""
        awaited = self._awaited.pop(child, None)
        if awaited is None:
            return False
        awaited.set_result(how)
        self._keeper.acknowledge(child)
        return True

    def take_over(self, listed: Mapping[Child, Kept]) -> dict[Child, Kept]:
        """End what a daemon before this one has asked with; returns the others."""
        others = {}
        for child, kept in listed.items():
            if kept.name.count(":") == _PARTS - 1 and kept.name.split(":")[2] in tuple(Kind):
                self._tasks.create_task(self._end(kept.name, child, self._expect(child)))
            else:
                others[child] = kept
        return others

    async def _run(
        self, name: str, order: Launch, timeout_s: float, over: asyncio.Future[None]
    ) -> Ended | str | None:
        loop = asyncio.get_running_loop()
        until_s = loop.time() + timeout_s
        env = {key: value for key, value in order.env.items() if key not in _NOT_THEIRS}
        env[MARKER] = self._marker(name)
        try:
            child = await self._keeper.spawn(
                name, order.argv, env=env, cwd=order.cwd, umask=order.umask, identity=order.identity
            )
        except (MainstayError, OSError) as error:
            return str(error)
        ended = self._expect(child)
        if child in self._early:
            self.has_ended(child, self._early.pop(child))
        either: set[asyncio.Future[Any]] = {ended, over}
        left_s = max(0.0, until_s - loop.time())
        await asyncio.wait(either, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        how = ended.result() if ended.done() else None
        await self._end(name, child, ended)
        return how

    def _marker(self, name: str) -> str:
        return f"{name}@{self._home}"

    def _expect(self, child: Child) -> asyncio.Future[Ended]:
        awaited = self._awaited[child] = asyncio.get_running_loop().create_future()
        return awaited

    async def _end(self, name: str, child: Child, ended: asyncio.Future[Ended]) -> None:
        """Leave nothing of it."""
        self._trees.spared |= {self._keeper.pid, os.getpid()}
        self._trees.watch(child, self._marker(name))
        await self._trees.kill(child, _SWEEP_S)
        await asyncio.wait({ended}, timeout=_SWEEP_S)
        self._trees.forget(child)
