"""How are the apps kept as they were asked to be?

`Supervisor` brings what happens (a child has ended or has spoken, time has passed, somebody asks) to the machine,
which decides, and does what the machine says. It may be killed at any moment: the keeper has the children, the
FIFOs have their output, and `mainstay.supervisor.state` what was decided.
"""

import asyncio
import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from typing import Final

from mainstay.clock import Clock
from mainstay.errors import MainstayError
from mainstay.supervisor import events
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.children import Children
from mainstay.supervisor.cron import keep_cron
from mainstay.supervisor.events import Event
from mainstay.supervisor.evidence import discard
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.machine import step, succeed
from mainstay.supervisor.model import Instance, Reason, State, is_wanted
from mainstay.supervisor.naming import Role, app_of, beside, run_of, slot_of
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Source
from mainstay.supervisor.outputs import Outputs
from mainstay.supervisor.plan import Plan
from mainstay.supervisor.population import Population
from mainstay.supervisor.probes.machine import Tally
from mainstay.supervisor.probes.model import Kind
from mainstay.supervisor.probes.probing import Probing
from mainstay.supervisor.procfs import boot_id
from mainstay.supervisor.reloads import Reloads
from mainstay.supervisor.roster import Roster
from mainstay.supervisor.saving import Saving
from mainstay.supervisor.sockets import Sockets
from mainstay.supervisor.state import LeftBehind, Lifecycle
from mainstay.supervisor.takeover import TakeOver

__all__ = ["Supervisor", "boottime"]

_MEASURE_EVERY_S: Final = 1.0
_MEASURE_AGAIN_S: Final = 0.5
_DRAIN_S: Final = 5.0
_UP: Final = frozenset({State.READY, State.UNHEALTHY})
_AT_REST: Final = frozenset({State.STOPPED, State.ERRORED, State.EXITED})


def _chance() -> float:
    """From 0 to 1; the library's own way to it takes 4 MB of memory."""
    return int.from_bytes(os.urandom(7), "big") / (1 << 56)


def boottime() -> float:
    """Seconds since the machine was started, sleep included; the same for every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Supervisor:
    """All instances of one home; `run` keeps them, the rest may be called while it does.

    Args:
        plan: what is asked for.
        keeper: has the children.
        collector: writes their output to their logs.
        lifecycle: is told what happens.
        kept: what the last daemon has left; None if there was none.
        clock: says when it is time for cron.
        boot: whether the machine has started this daemon: what the last one has ended with itself goes on then.

    Attributes:
        population: which instances there are, and are to be.
        instances: of the population: all runs, by name.
        children: of these instances.
        reloads: those that go on.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        keeper: Keeper,
        collector: Collector,
        lifecycle: Lifecycle,
        kept: LeftBehind | None,
        clock: Clock,
        boot: bool = False,
    ) -> None:
        self.population = Population(plan, kept.roster if kept is not None else Roster())
        self.instances = self.population.instances
        self.sockets = Sockets(keeper, plan.directory)
        self.outputs = Outputs(plan.home, keeper=keeper, collector=collector)
        self._keeper = keeper
        self._lifecycle = lifecycle
        self._clock = clock
        self._time, self._moved = asyncio.Event(), asyncio.Event()
        self.has_taken_over = asyncio.Event()
        """Set once it is known of each instance whether it is to run."""
        self._wanted_at_end: tuple[str, ...] = ()
        self._tasks = asyncio.TaskGroup()
        self.children = Children(
            self.population,
            keeper=keeper,
            sockets=self.sockets,
            outputs=self.outputs,
            lifecycle=lifecycle,
            tasks=self._tasks,
            feed=self.feed,
            ended=self._ended,
        )
        self.saving = Saving(plan.home, lifecycle, left_behind=self._left_behind, forget=self.children.forget)
        self._probing = Probing(tasks=self._tasks, ask=self.children.ask, feed=self.feed, now=boottime)
        self._take_over = TakeOver(
            kept,
            self.population,
            keeper=keeper,
            children=self.children,
            outputs=self.outputs,
            feed=self.feed,
            boot=boot,
        )
        self.reloads = Reloads(
            self,
            self._take_over.rolls,
            now=boottime,
            over=lambda roll: lifecycle.write("reload over", failed=roll.failed, left=list(roll.left)),
        )

    def settings(self, name: str) -> AppSettings:
        """Of the app of this run."""
        return self.population.settings(name)

    def replan(self, apps: Mapping[str, AppSettings]) -> None:
        """See `Population.replan`."""
        self.population.replan(apps)
        self.changed()

    def reform(self, roster: Roster) -> None:
        """See `Population.reform`."""
        self.population.reform(roster)
        self.changed()

    def is_surplus(self, name: str) -> bool:
        """Whether there is to be no such run."""
        if name != slot_of(name):
            return not self.reloads.concern(slot_of(name))
        return not self.population.has_place(name)

    def begin(self, name: str) -> None:
        """Let there be a run of this name, and start it."""
        self.instances[name] = Instance()
        self.feed(name, events.Wanted())

    def swap(self, slot: str) -> None:
        """Let the successor have the slot, and what had it be the old one."""
        old, before = beside(slot, Role.OLD), self.instances[slot]
        successor = self.instances.pop(beside(slot, Role.NEXT))
        self.instances[slot] = succeed(successor, before, self.settings(slot), boottime())
        self.instances[old] = before
        for name in (slot, old):
            child = self.instances[name].child
            if child is not None:
                self.children.names[child] = name
        self._probing.rename({beside(slot, Role.NEXT): slot, slot: old})
        pids = [each.child.pid for each in (before, successor) if each.child is not None]
        self._lifecycle.write("reloaded", name=slot, pids=pids)
        self.changed()

    def forget(self, name: str) -> None:
        """This run has ended, and nobody asks for it any more."""
        gone, slot = self.instances.pop(name), self.instances.get(slot_of(name))
        if name == beside(slot_of(name), Role.OLD) and slot is not None and slot.ended is None:
            self.instances[slot_of(name)] = replace(slot, ended=gone.ended)
        self.changed()

    async def run(self) -> None:
        """Keep them, until cancelled; that leaves the children alone."""
        with closing(self.children.channels):
            async with self._tasks as tasks:
                tasks.create_task(self._keeper.stay())
                await self._take_over.do(self.reloads, self.is_surplus)
                with suppress(MainstayError):  # then they stay open
                    await self.sockets.keep(self.population.plan.apps)
                self.has_taken_over.set()
                tasks.create_task(self.children.hear_of_ends())
                tasks.create_task(self._keep_time())
                tasks.create_task(self._keep_order())
                tasks.create_task(self._keep_measuring())
                tasks.create_task(keep_cron(self._planned_by_clock, self._restart_by_clock, self._clock))
                await self.saving.keep()

    def _left_behind(self) -> LeftBehind:
        return LeftBehind(
            boot=boot_id(),
            instances=dict(self.instances),
            rolls=self.reloads.rolls,
            roster=self.population.remembered(),
            wanted_at_end=self._wanted_at_end,
        )

    def remember(self) -> None:
        """All is about to be ended: what is wanted now is what a daemon that the machine starts begins with."""
        slots = ((name, each) for name, each in self.instances.items() if name == slot_of(name))
        wanted = tuple(name for name, instance in slots if is_wanted(instance))
        self._wanted_at_end = self._wanted_at_end or wanted

    async def drained(self) -> None:
        """What the apps have said is in their logs, and what was decided is written down, as far as that can be."""
        await self.outputs.drained()
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                self.changed()
                await self.saving.saved()

    async def let_go(self, apps: Collection[str], sources: Iterable[Source]) -> None:
        """Close the sockets and the pipes of what was deleted. Raises MainstayError."""
        await self.sockets.keep(self.population.plan.apps.keys() - apps)
        await self.outputs.let_go(sources)

    async def moved(self) -> None:
        """Return when something has changed."""
        await self._moved.wait()

    def feed(self, name: str, event: Event) -> None:
        """Something has happened to this instance, if it is not forgotten."""
        before = self.instances.get(name)
        if before is None:
            return
        after, commands = step(before, event, self.settings(name), boottime(), _chance)
        self.instances[name] = after
        if after != before:
            self._note(name, before, after)
        for command in commands:
            self.children.perform(name, command)
        self._probing.follow(name, self.instances[name], self.settings(name))

    def _ended(self, name: str, event: events.ChildEnded) -> None:
        self.feed(name, event)
        self.saving.has_ended(event.child)

    def _planned_by_clock(self) -> dict[str, str]:
        return {app: each.cron_restart for app, each in self.population.plan.apps.items() if each.cron_restart}

    def _restart_by_clock(self, app: str, expression: str) -> None:
        for name in [name for name in self.instances if app_of(name) == app and name == slot_of(name)]:
            self.feed(name, events.RestartAsked(reason=Reason.CRON, detail=f"cron: {expression}"))

    def probes(self, name: str) -> Mapping[Kind, Tally]:
        """What is known of the probes of what runs."""
        return self._probing.known(name)

    async def _keep_time(self) -> None:
        while True:
            self._time.clear()
            now = boottime()
            for name in [name for name, each in self.instances.items() if each.due_s <= now]:
                self.feed(name, events.Due())
            due_s = min((each.due_s for each in self.instances.values()), default=float("inf"))
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due_s == float("inf") else max(0.0, due_s - boottime())):
                    await self._time.wait()

    async def _keep_order(self) -> None:
        """Go on with the reloads, and forget what has ended for good."""
        while True:
            before = self.reloads.rolls
            due_s = self.reloads.look()
            over = [name for name, each in self.instances.items() if each.state in _AT_REST]
            for name in filter(self.is_surplus, over):
                self.forget(name)
            if self.reloads.rolls != before:
                self.changed()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due_s == float("inf") else max(0.0, due_s - boottime())):
                    await self.moved()

    async def _keep_measuring(self) -> None:
        while True:
            await self.children.follow_keeper()
            for name, usage in self.children.measure(boottime()):
                if self.settings(name).memory_limit is not None:
                    self.feed(name, events.UsesMemory(size_bytes=usage.memory_bytes))
            suspected = any(each.over_limit for each in self.instances.values())
            await asyncio.sleep(_MEASURE_AGAIN_S if suspected else _MEASURE_EVERY_S)

    def _note(self, name: str, before: Instance, after: Instance) -> None:
        if after.state in _UP and after.due_s >= before.due_s and replace(after, due_s=before.due_s) == before:
            return  # it is alive, as before: whoever comes after us gives it its time anew
        if (before.state, before.child) != (after.state, after.child):
            self._lifecycle.write(
                after.state, name=name, pid=after.child.pid if after.child else None, detail=after.detail
            )
        if before.child is not None and after.child is None:
            discard(self.population.plan.home, run_of(name, before.begun_s))
        self._time.set()
        self.changed()

    def changed(self) -> None:
        """What is kept is not what it was: it is written down, and whoever waits looks again."""
        self.saving.changed()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
