"""Who asks the apps how they are, and when?

One run of one instance is asked from its start, or from when it was taken over, until it is told to end. What the
answers mean is decided in `mainstay.supervisor.probes.machine`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import Event
from mainstay.supervisor.model import Child, Instance, State
from mainstay.supervisor.probes.machine import Run, Tally, begin, due, is_awaited, learn, probes
from mainstay.supervisor.probes.model import Kind, Result

__all__ = ["Probing"]

_ASKED: Final = frozenset({State.STARTING, State.READY, State.UNHEALTHY})
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 1.0

Ask = Callable[[str, AppSettings, Kind], Awaitable[Result]]


@dataclass(slots=True)
class _Asked:
    """A run that is asked; its settings are those that it was started with."""

    name: str
    child: Child
    app: AppSettings
    started_s: float
    run: Run
    task: asyncio.Task[None] | None = field(default=None)


class Probing:
    """The probes of all instances.

    Args:
        tasks: where they run.
        ask: asks an instance once.
        feed: is told what that says of it.
        now: seconds of ``CLOCK_BOOTTIME``.
    """

    def __init__(
        self,
        *,
        tasks: asyncio.TaskGroup,
        ask: Ask,
        feed: Callable[[str, Event], object],
        now: Callable[[], float],
    ) -> None:
        self._tasks = tasks
        self._ask = ask
        self._feed = feed
        self._now = now
        self._asked: dict[str, _Asked] = {}

    def known(self, name: str) -> Mapping[Kind, Tally]:
        """What is known of the run of this instance; of a probe that was not asked yet an empty tally."""
        asked = self._asked.get(name)
        if asked is None:
            return {}
        return {kind: asked.run.tallies.get(kind, Tally()) for kind in probes(asked.app)}

    def follow(self, name: str, instance: Instance, app: AppSettings) -> None:
        """An instance is like this now."""
        child = instance.child if instance.state in _ASKED else None
        asked = self._asked.get(name)
        if asked is not None and asked.child != child:
            assert asked.task is not None, "it was never asked"
            asked.task.cancel()
            del self._asked[name]
            asked = None
        if asked is None and child is not None and probes(app):
            asked = self._asked[name] = _Asked(name, child, app, instance.started_s, begin(instance, app))
            asked.task = self._tasks.create_task(self._keep_asking(asked))

    def rename(self, names: Mapping[str, str]) -> None:
        """These runs are called otherwise from now on; what is known of them stays."""
        renamed = {new: self._asked.pop(old) for old, new in names.items() if old in self._asked}
        for name, asked in renamed.items():
            asked.name = name
        self._asked |= renamed

    async def _keep_asking(self, asked: _Asked) -> None:
        if Kind.STARTUP in due(asked.run, asked.app):
            await self._ask_for(asked, Kind.STARTUP)
        async with asyncio.TaskGroup() as tasks:
            for kind in due(asked.run, asked.app):
                tasks.create_task(self._ask_for(asked, kind))

    async def _ask_for(self, asked: _Asked, kind: Kind) -> None:
        settings, loop = probes(asked.app)[kind], asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, asked.started_s + settings.initial_delay - self._now()))
        pause_s = _FIRST_PAUSE_S
        while True:
            next_s = loop.time() + settings.period
            self._learn(asked, kind, await self._ask(asked.name, asked.app, kind))
            while is_awaited(asked.run, kind) and kind in due(asked.run, asked.app):
                if loop.time() + pause_s >= next_s:
                    break
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                result = await self._ask(asked.name, asked.app, kind)
                if result.passed:
                    next_s = loop.time() + settings.period
                    self._learn(asked, kind, result)
            if kind not in due(asked.run, asked.app):
                return
            await asyncio.sleep(max(0.0, next_s - loop.time()))

    def _learn(self, asked: _Asked, kind: Kind, result: Result) -> None:
        asked.run, said = learn(asked.run, kind, result, asked.app, self._now())
        for event in said:
            self._feed(asked.name, event)
