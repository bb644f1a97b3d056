"""How are the apps kept as they were asked to be?

`Supervisor` brings what happens (a child has ended or has spoken, time has passed, somebody asks) to the machine,
which decides, and does what the machine says. It may be killed at any moment: the keeper has the children, the
FIFOs have their output, and `mainstay.supervisor.state` what was decided.
"""

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Collection, Coroutine, Iterable, Mapping
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, assert_never

from mainstay.clock import Clock
from mainstay.errors import MainstayError
from mainstay.supervisor import events
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.channels import Channels
from mainstay.supervisor.command import Launch, launch, marker
from mainstay.supervisor.cron import keep_cron
from mainstay.supervisor.events import Abort, Command, Event, Kill, Signal, Spawn
from mainstay.supervisor.evidence import discard, found, keep_only, prepare
from mainstay.supervisor.keeping import Keeper, Kept
from mainstay.supervisor.machine import step, succeed
from mainstay.supervisor.model import Child, Ended, Instance, Reason, State, is_wanted
from mainstay.supervisor.naming import Role, app_of, beside, run_of, slot_of
from mainstay.supervisor.notify import meant
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Source, policy
from mainstay.supervisor.outputs import Outputs
from mainstay.supervisor.plan import Plan
from mainstay.supervisor.population import Population
from mainstay.supervisor.probes.asking import ask, ask_health
from mainstay.supervisor.probes.commands import Commands
from mainstay.supervisor.probes.machine import Tally
from mainstay.supervisor.probes.model import Kind, Result
from mainstay.supervisor.probes.probing import Probing
from mainstay.supervisor.processes import send, send_group
from mainstay.supervisor.procfs import environment
from mainstay.supervisor.recognition import begun_s, marker_of, may_be_of
from mainstay.supervisor.reloads import Reloads
from mainstay.supervisor.roster import Roster
from mainstay.supervisor.saving import Saving
from mainstay.supervisor.sockets import Sockets
from mainstay.supervisor.state import LeftBehind, Lifecycle, boot_id
from mainstay.supervisor.trees import Trees, Usage
from mainstay.supervisor.usages import Usages

__all__ = ["Plan", "Supervisor", "boottime"]

_MEASURE_EVERY_S: Final = 1.0
_MEASURE_AGAIN_S: Final = 0.5
_SWEEP_S: Final = 5.0
_DRAIN_S: Final = 5.0
_LAST_WORDS_S: Final = 1.0
_EARLY: Final = 100
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
        self.saving = Saving(plan.home, lifecycle, left_behind=self._left_behind, forget=self._forget)
        self._keeper = keeper
        self._lifecycle = lifecycle
        self._clock = clock
        self._boot = boot_id()
        self._trees = Trees()
        self._trees.spared |= {keeper.pid, os.getpid()}
        self._usages = Usages(self._trees)
        self._names: dict[Child, str] = {}
        self._aborted: dict[Child, int] = {}
        self._ended_early: dict[Child, Ended] = {}
        self._said_early: deque[tuple[int, Mapping[str, str]]] = deque(maxlen=_EARLY)
        self._turns: dict[str, asyncio.Lock] = {}
        self._time, self._moved = asyncio.Event(), asyncio.Event()
        self.has_taken_over = asyncio.Event()
        """Set once it is known of each instance whether it is to run."""
        self._wanted_at_end: tuple[str, ...] = ()
        self._tasks = asyncio.TaskGroup()
        self._channels = Channels(keeper, self._said_ready)
        self._commands = Commands(keeper, plan.home, self._tasks, self._ended_early)
        self._probing = Probing(tasks=self._tasks, ask=self._ask, feed=self.feed, now=boottime)
        known = kept.instances if kept is not None and kept.boot == self._boot else {}
        self._revived = frozenset(
            name
            for name, each in (kept.instances if kept is not None and not known else {}).items()
            if is_wanted(each)
        ) | frozenset(kept.wanted_at_end if kept is not None and boot else ())
        self.population.recall(known)
        if kept is None:
            self.population.suppose([each.name for each in keeper.children])
        rolls = kept.rolls if kept is not None and known else ()
        self.reloads = Reloads(
            self,
            [roll for roll in rolls if all(app_of(slot) in self.population.plan.apps for slot in roll.left)],
            now=boottime,
            over=lambda roll: lifecycle.write("reload over", failed=roll.failed, left=list(roll.left)),
        )

    def settings(self, name: str) -> AppSettings:
        """Of the app of this run."""
        return self.population.settings(name)

    def usage(self, name: str) -> tuple[Usage, float | None] | None:
        """What it takes, and how much of a core in percent; None while nobody has looked."""
        child = self.instances[name].child
        return self._usages.of(child) if child is not None else None

    def environment(self, name: str) -> tuple[Mapping[str, str] | None, Mapping[str, str]]:
        """What it was started with, None if it does not run; and what it is started with the next time."""
        child, order = self.instances[name].child, self._order(name, self.settings(name))
        if child is None or not any(there := environment(child.pid)):
            return None, order.env
        pairs = (os.fsdecode(each).partition("=") for each in there)
        return {key: value for key, _, value in pairs if key}, order.env

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
                self._names[child] = name
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
        with closing(self._channels):
            async with self._tasks as tasks:
                tasks.create_task(self._keeper.stay())
                await self._take_over()
                self.has_taken_over.set()
                tasks.create_task(self._hear_of_ends())
                tasks.create_task(self._keep_time())
                tasks.create_task(self._keep_order())
                tasks.create_task(self._keep_measuring())
                tasks.create_task(keep_cron(self._planned_by_clock, self._restart_by_clock, self._clock))
                await self.saving.keep()

    async def quiet(self) -> None:
        """What was begun, such as a sweep, is done; or it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SWEEP_S + _DRAIN_S):
                for turn in list(self._turns.values()):
                    async with turn:
                        pass

    def _left_behind(self) -> LeftBehind:
        return LeftBehind(
            boot=self._boot,
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
            self._perform(name, command)
        self._probing.follow(name, self.instances[name], self.settings(name))

    def _planned_by_clock(self) -> dict[str, str]:
        return {app: each.cron_restart for app, each in self.population.plan.apps.items() if each.cron_restart}

    def _restart_by_clock(self, app: str, expression: str) -> None:
        for name in [name for name in self.instances if app_of(name) == app and name == slot_of(name)]:
            self.feed(name, events.RestartAsked(reason=Reason.CRON, detail=f"cron: {expression}"))

    def probes(self, name: str) -> Mapping[Kind, Tally]:
        """What is known of the probes of what runs."""
        return self._probing.known(name)

    async def _ask(self, name: str, app: AppSettings, kind: Kind) -> Result:
        if kind is Kind.HEALTH:
            assert app.health is not None, "nobody asks for what is not there"
            return await ask_health(app.health)
        probe = {Kind.STARTUP: app.startup, Kind.LIVENESS: app.liveness, Kind.READINESS: app.readiness}[kind]
        assert probe is not None, "nobody asks for what is not there"
        order = partial(self._order, name, replace(app, command=probe.command))
        return await ask(f"{name}:{kind}", probe, commands=self._commands, order=order)

    def _order(self, name: str, app: AppSettings) -> Launch:
        plan, begun_s = self.population.plan, self.instances[name].begun_s
        return launch(name, begun_s, app, home=plan.home, directory=plan.directory, environ=plan.environ)

    def heard(self, pid: int, said: Mapping[str, str]) -> None:
        """A process says something; it counts for the instance whose child it is, or in whose session it is."""
        child = self._child_of(pid)
        if child is None:
            self._said_early.append((pid, said))  # before we have heard that it was started
            return
        name = self._names[child]
        if name in self.instances and self.instances[name].child == child:
            for event in meant(said):
                self.feed(name, event)

    def _child_of(self, pid: int) -> Child | None:
        try:
            leader = os.getsid(pid)
        except ProcessLookupError:
            leader = pid
        return next((child for child in self._names if child.pid in (pid, leader)), None)

    def signal(self, name: str, number: int) -> bool:
        """Send it to the child's group; False if there is none."""
        child = self.instances[name].child
        return child is not None and send_group(child, number)

    async def _take_over(self) -> None:
        """What earlier daemons have started goes on; whatever has no place in the plan any more is ended."""
        keep_only(self.population.plan.home, [run_of(name, each.begun_s) for name, each in self.instances.items()])
        listed = {kept.child: kept for kept in self._keeper.children}
        for name, instance in list(self.instances.items()):
            if instance.child is not None:
                self._adopted(name, instance.begun_s, instance.child)
                if instance.child not in listed:
                    await self._keeper.adopt(
                        name, instance.child, [self.outputs.fifo(each) for each in self.population.sources(name)]
                    )
        others = self._commands.take_over(listed)
        for child in others.keys() - self._names.keys():
            name = others[child].name  # of one that was reloaded: as it was called before it had the slot
            if not self._found(name if name in self.instances else slot_of(name), child, others):
                self._names[child] = ""
                self._trees.watch(child, marker_of(child))
                self._tasks.create_task(self._sweep(child))
        await self._channels.resume(
            run_of(name, each.begun_s) for name, each in self.instances.items() if each.child is not None
        )
        self._resume(others)
        with suppress(MainstayError):  # then they stay open
            await self.sockets.keep(self.population.plan.apps)

    def _resume(self, listed: Mapping[Child, Kept]) -> None:
        """Nobody was looking for a while."""
        self.reloads.resume()
        for name, instance in list(self.instances.items()):
            if instance.child is not None:
                self.feed(name, events.Resumed())
                self._collect(name)
            elif instance.state is State.STARTING:
                self._perform(name, Spawn())  # the last daemon did not come to it
            elif instance.state is State.STOPPING:
                self.feed(name, events.NotSpawned(detail="nobody has come to it"))
            if name in self._revived:
                self.feed(name, events.Wanted())
            if self.is_surplus(name):
                self.feed(name, events.Unwanted())
        for child, kept in listed.items():
            name = self._names[child]
            if kept.ended is not None and name != slot_of(name):
                self.feed(name, events.ChildEnded(child=child, ended=kept.ended))
        # Before other ends are heard of: what has a successor that is well is not started again.
        self.reloads.look()

    def _found(self, name: str, child: Child, listed: Mapping[Child, Kept]) -> bool:
        """Whether this child of the keeper is what is to run; that may not have been written down any more."""
        instance = self.instances.get(name)
        if instance is None or not may_be_of(instance, child):
            return False
        if instance.child is not None:
            before = listed.get(instance.child)
            if before is None or before.ended is None:
                return False
            self._has_ended(name, instance.child, before.ended)  # this one was started after that
        self.instances[name] = replace(self.instances[name], begun_s=begun_s(child) or self.instances[name].begun_s)
        self._adopted(name, self.instances[name].begun_s, child)
        self.feed(name, events.Spawned(child=child))
        return True

    def _adopted(self, name: str, begun_s: float, child: Child) -> None:
        self._names[child] = name
        self._trees.watch(child, marker(name, begun_s, self.population.plan.home))

    def _perform(self, name: str, command: Command) -> None:
        match command:
            case Spawn():
                self._tasks.create_task(self._in_turn(name, self._spawn(name)))
            case Signal(child=child, name=signal_name):
                with suppress(OSError):
                    send_group(child, signal.Signals[signal_name])
                    send_group(child, signal.SIGCONT)  # one that is stopped hears it only when it goes on
            case Abort(child=child):
                self._aborted[child] = _length(self.population.sources(name)[-1].path)
                with suppress(OSError):
                    send(child, signal.SIGABRT)
                    send(child, signal.SIGCONT)
            case Kill(child=child):
                with suppress(OSError):
                    send_group(child, signal.SIGKILL)
                self._tasks.create_task(self._in_turn(name, self._sweep(child)))
            case _:
                assert_never(command)

    async def _in_turn(self, name: str, work: Coroutine[None, None, None]) -> None:
        """After what was begun before for this instance: a sweep must not find what is started after it."""
        async with self._turns.setdefault(name, asyncio.Lock()):
            await work

    async def _spawn(self, name: str) -> None:
        if self.instances[name].child is not None:
            return  # it was found with the keeper
        event: Event
        plan, settings, begun_s = self.population.plan, self.settings(name), self.instances[name].begun_s
        try:
            order = self._order(name, settings)
            fifos = self._collect(name)
            prepare(plan.home)
            async with AsyncExitStack() as stack:
                channel = None
                if settings.ready == "message":
                    channel = await stack.enter_async_context(self._channels.opened(run_of(name, begun_s)))
                child = await self._keeper.spawn(
                    name,
                    order.argv,
                    env=order.env,
                    cwd=order.cwd,
                    stdout=fifos[0],
                    stderr=fifos[-1],
                    listen=await self.sockets.of(app_of(name), settings.listen),
                    umask=order.umask,
                    identity=order.identity,
                    channel=channel,
                )
        except (MainstayError, OSError) as error:
            event = events.NotSpawned(detail=str(error))
        else:
            self._adopted(name, begun_s, child)
            event = events.Spawned(child=child)
        self.feed(name, event)
        if isinstance(event, events.Spawned):
            self._channels.listen(run_of(name, begun_s))
            self._catch_up(name, event.child)

    def _said_ready(self, run: str) -> None:
        for name in [name for name, each in self.instances.items() if run_of(name, each.begun_s) == run]:
            self.feed(name, events.SaidReady(by="message"))

    def _catch_up(self, name: str, child: Child) -> None:
        """What it has said, and how it has ended, before we had heard that it was started."""
        early, self._said_early = self._said_early, deque(maxlen=_EARLY)
        for pid, said in early:
            self.heard(pid, said)
        if child in self._ended_early:
            self._has_ended(name, child, self._ended_early.pop(child))

    def _collect(self, name: str) -> tuple[Path, ...]:
        return self.outputs.collect(
            self.population.sources(name), policy(self.settings(name)), self.instances[name].child
        )

    async def _sweep(self, child: Child) -> None:
        left = await self._trees.kill(child, _SWEEP_S)
        if left:
            pids = ", ".join(str(each.pid) for each in left)
            self._lifecycle.write("left over", name=self._names.get(child, ""), pids=pids)

    async def _hear_of_ends(self) -> None:
        async for child, ended in self._keeper.ends():
            name = self._names.get(child)
            if name is None and self._commands.has_ended(child, ended):
                continue
            if name is None:
                self._ended_early[child] = ended  # before we have heard that it was started
            else:
                self._has_ended(name, child, ended)

    def _has_ended(self, name: str, child: Child, ended: Ended) -> None:
        instance = self.instances.get(name)
        if instance is not None and instance.child == child:
            run = run_of(name, instance.begun_s)
            self._tasks.create_task(self._in_turn(name, self._channels.shut(run)))
            if instance.stop_for is Reason.HANG:
                self._tasks.create_task(self._has_hung(name, run, child, ended))
                return
        self._feed_end(name, events.ChildEnded(child=child, ended=ended))

    async def _has_hung(self, name: str, run: str, child: Child, ended: Ended) -> None:
        """With what it has left of where it hung, once that is in its log."""
        log = self.population.sources(name)[-1].path
        await self.outputs.drained(log, within_s=_LAST_WORDS_S)
        stacks = found(self.population.plan.home, run, log, self._aborted.pop(child, 0))
        self._feed_end(self._names.get(child, name), events.ChildEnded(child=child, ended=ended, stacks=stacks))

    def _feed_end(self, name: str, event: events.ChildEnded) -> None:
        self.feed(name, event)
        self.saving.has_ended(event.child)

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
            if self._keeper.pid not in self._trees.spared:  # it is another one by now
                self._trees.spared.add(self._keeper.pid)
                with suppress(MainstayError):  # it is gone as well: the next one gets them
                    await self.sockets.hold_again()
            for child, usage in self._usages.look(boottime()):
                name = self._names.get(child)
                if name and self.settings(name).memory_limit is not None:
                    self.feed(name, events.UsesMemory(size_bytes=usage.memory_bytes))
            suspected = any(each.over_limit for each in self.instances.values())
            await asyncio.sleep(_MEASURE_AGAIN_S if suspected else _MEASURE_EVERY_S)

    def _forget(self, child: Child) -> None:
        self._keeper.acknowledge(child)
        self._aborted.pop(child, None)
        self._usages.forget(child)
        self._names.pop(child, None)
        self._trees.forget(child)

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


def _length(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
