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
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import SystemRandom
from typing import Final, assert_never

from mainstay.errors import MainstayError
from mainstay.supervisor import events
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.command import launch, marker
from mainstay.supervisor.events import Abort, Command, Event, Kill, Signal, Spawn
from mainstay.supervisor.keeping import Keeper, Kept
from mainstay.supervisor.machine import step
from mainstay.supervisor.model import ACTIVE, Child, Ended, Instance, State, instance_name
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Source, policy, sources
from mainstay.supervisor.processes import send, send_group
from mainstay.supervisor.state import LeftBehind, Lifecycle, boot_id, save
from mainstay.supervisor.trees import Trees, Usage

__all__ = ["Plan", "Supervisor", "boottime"]

_CHANCE: Final = SystemRandom().random
_MEASURE_EVERY_S: Final = 1.0
_SWEEP_S: Final = 5.0
_DRAIN_S: Final = 5.0
_EARLY: Final = 100
_SAVE_AGAIN_S: Final = 1.0


def boottime() -> float:
    """Seconds since the machine was started, sleep included; the same for every process."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be kept running.

    Attributes:
        home: where all is kept.
        directory: of the configuration.
        apps: by name.
        environ: what every child gets of the environment.
    """

    home: Path
    directory: Path
    apps: Mapping[str, AppSettings]
    environ: Mapping[str, str]


@dataclass(slots=True)
class _Measured:
    """What a child took at the last look, and how busy it was since the one before."""

    usage: Usage
    at_s: float
    cpu_percent: float | None = None


class Supervisor:
    """All instances of one home; `run` keeps them, the rest may be called while it does.

    Args:
        plan: what is asked for.
        keeper: has the children.
        collector: writes their output to their logs.
        lifecycle: is told what happens.
        kept: what the last daemon has left; None if there was none.
    """

    def __init__(
        self, plan: Plan, *, keeper: Keeper, collector: Collector, lifecycle: Lifecycle, kept: LeftBehind | None
    ) -> None:
        self.plan = plan
        self.instances: dict[str, Instance] = {}
        self._keeper = keeper
        self._collector = collector
        self._lifecycle = lifecycle
        self._boot = boot_id()
        self._trees = Trees()
        self._trees.spared |= {keeper.pid, os.getpid()}
        self._names: dict[Child, str] = {}
        self._measured: dict[Child, _Measured] = {}
        self._ended: list[Child] = []
        self._ended_early: dict[Child, Ended] = {}
        self._said_early: deque[tuple[int, Mapping[str, str]]] = deque(maxlen=_EARLY)
        self._turns: dict[str, asyncio.Lock] = {}
        self._logs: set[Path] = set()
        self._save, self._time = asyncio.Event(), asyncio.Event()
        self._moved = asyncio.Event()
        self._decided, self._tried, self._has_tried = 0, 0, asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        known = kept.instances if kept is not None and kept.boot == self._boot else {}
        self._before_boot = frozenset(
            name
            for name, each in (kept.instances if kept is not None and not known else {}).items()
            if each.state in ACTIVE or each.state is State.BACKOFF
        )
        for name in self._planned():
            self.instances[name] = known.get(name, Instance())

    def _planned(self) -> list[str]:
        return [
            instance_name(app, number)
            for app, settings in self.plan.apps.items()
            for number in range(settings.instances)
        ]

    def settings(self, name: str) -> AppSettings:
        """Of the app of this instance."""
        return self.plan.apps[name.rpartition(":")[0]]

    def sources(self, name: str) -> tuple[Source, ...]:
        """The logs of this instance."""
        app, _, number = name.rpartition(":")
        logs = self.plan.home / "logs"
        return tuple(sources(app, int(number), self.plan.apps[app], logs=logs, base=self.plan.directory))

    def usage(self, name: str) -> tuple[Usage, float | None] | None:
        """What it takes, and how much of a core in percent; None while nobody has looked."""
        child = self.instances[name].child
        measured = self._measured.get(child) if child is not None else None
        return (measured.usage, measured.cpu_percent) if measured is not None else None

    def replan(self, apps: Mapping[str, AppSettings]) -> None:
        """Go on with other settings; what runs keeps its own until it is started again."""
        self.plan = replace(self.plan, apps={**self.plan.apps, **apps})
        for name in self._planned():
            self.instances.setdefault(name, Instance())

    async def run(self) -> None:
        """Keep them, until cancelled; that leaves the children alone."""
        async with self._tasks as tasks:
            tasks.create_task(self._keeper.stay())
            await self._take_over()
            tasks.create_task(self._hear_of_ends())
            tasks.create_task(self._keep_time())
            tasks.create_task(self._keep_measuring())
            await self._keep_saving()

    async def drained(self) -> None:
        """What the apps have said is in their logs, as far as those can be written."""
        for log in self._logs:
            with suppress(KeyError, OSError, TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await asyncio.wrap_future(self._collector.drain(log))

    async def moved(self) -> None:
        """Return when something has changed."""
        await self._moved.wait()

    async def saved(self) -> None:
        """Return when all that was decided until now is on the disk, or could not be written there."""
        decided = self._decided
        while self._tried < decided:
            await self._has_tried.wait()

    def feed(self, name: str, event: Event) -> None:
        """Something has happened to this instance."""
        before = self.instances[name]
        after, commands = step(before, event, self.settings(name), boottime(), _CHANCE)
        self.instances[name] = after
        if after != before:
            self._note(name, before, after)
        for command in commands:
            self._perform(name, command)

    def heard(self, pid: int, said: Mapping[str, str]) -> None:
        """A process says something; it counts for the instance whose child it is, or in whose session it is."""
        child = self._child_of(pid)
        if child is None:
            self._said_early.append((pid, said))  # before we have heard that it was started
            return
        for event in _heard(said):
            self.feed(self._names[child], event)

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
        listed = {kept.child: kept for kept in self._keeper.children}
        for name, instance in list(self.instances.items()):
            if instance.child is not None:
                self._adopted(name, instance.child)
                if instance.child not in listed:
                    await self._keeper.adopt(
                        name, instance.child, [self._fifo(each) for each in self.sources(name)]
                    )
        for child, kept in listed.items():
            if not self._found(kept.name, child, listed):
                self._tasks.create_task(self._sweep(child))
        for name, instance in list(self.instances.items()):
            if instance.child is not None:
                self.feed(name, events.Resumed())
                self._collect(name)
            if name in self._before_boot:
                self.feed(name, events.Wanted())

    def _found(self, name: str, child: Child, listed: Mapping[Child, Kept]) -> bool:
        """Whether this child of the keeper is what is to run; that may not have been written down any more."""
        if name not in self.instances:
            return False
        known = self.instances[name].child
        if known == child:
            return True
        if known is not None:
            before = listed.get(known)
            if before is None or before.ended is None:
                return False
            self._has_ended(name, known, before.ended)  # this one was started after that
        self._adopted(name, child)
        self.feed(name, events.Spawned(child=child))
        return True

    def _adopted(self, name: str, child: Child) -> None:
        self._names[child] = name
        self._trees.watch(child, marker(name, self.plan.home))

    def _perform(self, name: str, command: Command) -> None:
        match command:
            case Spawn():
                self._tasks.create_task(self._in_turn(name, self._spawn(name)))
            case Signal(child=child, name=signal_name):
                with suppress(OSError):
                    send_group(child, signal.Signals[signal_name])
                    send_group(child, signal.SIGCONT)  # one that is stopped hears it only when it goes on
            case Abort(child=child):
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
        plan = self.plan
        try:
            order = launch(
                name, self.settings(name), home=plan.home, directory=plan.directory, environ=plan.environ
            )
            fifos = self._collect(name)
            child = await self._keeper.spawn(
                name, order.argv, env=order.env, cwd=order.cwd, stdout=fifos[0], stderr=fifos[-1]
            )
        except (MainstayError, OSError) as error:
            event = events.NotSpawned(detail=str(error))
        else:
            self._adopted(name, child)
            event = events.Spawned(child=child)
        self.feed(name, event)
        if isinstance(event, events.Spawned):
            self._catch_up(name, event.child)

    def _catch_up(self, name: str, child: Child) -> None:
        """What it has said, and how it has ended, before we had heard that it was started."""
        early, self._said_early = self._said_early, deque(maxlen=_EARLY)
        for pid, said in early:
            self.heard(pid, said)
        if child in self._ended_early:
            self._has_ended(name, child, self._ended_early.pop(child))

    def _collect(self, name: str) -> tuple[Path, ...]:
        """Its FIFOs, which are made if need be, and from now on are read into its logs."""
        found = []
        for source in self.sources(name):
            fifo = self._fifo(source)
            fifo.parent.mkdir(mode=0o700, exist_ok=True)
            source.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):
                os.mkfifo(fifo, 0o600)
            self._collector.add(fifo, source.path, policy(self.settings(name)))
            self._logs.add(source.path)
            found.append(fifo)
        return tuple(found)

    def _fifo(self, source: Source) -> Path:
        return self.plan.home / "pipes" / f"{source.app}-{source.number}.{source.stream}"

    async def _sweep(self, child: Child) -> None:
        left = await self._trees.kill(child, _SWEEP_S)
        if left:
            pids = ", ".join(str(each.pid) for each in left)
            self._lifecycle.write("left over", name=self._names.get(child, ""), pids=pids)

    async def _hear_of_ends(self) -> None:
        async for child, ended in self._keeper.ends():
            name = self._names.get(child)
            if name is None:
                self._ended_early[child] = ended  # before we have heard that it was started
            else:
                self._has_ended(name, child, ended)

    def _has_ended(self, name: str, child: Child, ended: Ended) -> None:
        self.feed(name, events.ChildEnded(child=child, ended=ended))
        self._ended.append(child)
        self._save.set()

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

    async def _keep_measuring(self) -> None:
        while True:
            now = boottime()
            self._trees.spared.add(self._keeper.pid)  # it may be another one by now
            for child, usage in self._trees.sample().items():
                last = self._measured.get(child)
                cpu = 100 * (usage.cpu_s - last.usage.cpu_s) / (now - last.at_s) if last is not None else None
                self._measured[child] = _Measured(usage, now, max(cpu, 0.0) if cpu is not None else None)
                name = self._names.get(child)
                if name is not None and self.settings(name).memory_limit is not None:
                    self.feed(name, events.UsesMemory(size_bytes=usage.memory_bytes))
            await asyncio.sleep(_MEASURE_EVERY_S)

    async def _keep_saving(self) -> None:
        """Write down what was decided, and only then let the keeper forget what has ended."""
        while True:
            await self._save.wait()
            self._save.clear()
            decided = self._decided
            ended, self._ended = self._ended, []
            kept = LeftBehind(boot=self._boot, instances=dict(self.instances))
            try:
                await asyncio.to_thread(save, self.plan.home, kept)
            except OSError as error:
                self._lifecycle.write("not saved", error=str(error))
                self._ended = ended + self._ended
                self._save.set()
                self._has_saved(decided)
                await asyncio.sleep(_SAVE_AGAIN_S)
                continue
            self._has_saved(decided)
            for child in ended:
                self._forget(child)

    def _has_saved(self, decided: int) -> None:
        self._tried = decided
        tried, self._has_tried = self._has_tried, asyncio.Event()
        tried.set()

    def _forget(self, child: Child) -> None:
        self._keeper.acknowledge(child)
        self._measured.pop(child, None)
        self._names.pop(child, None)
        self._trees.forget(child)

    def _note(self, name: str, before: Instance, after: Instance) -> None:
        if (before.state, before.child) != (after.state, after.child):
            self._lifecycle.write(
                after.state, name=name, pid=after.child.pid if after.child else None, detail=after.detail
            )
        self._decided += 1
        self._save.set()
        self._time.set()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()


def _heard(said: Mapping[str, str]) -> Iterable[Event]:
    if "EXTEND_TIMEOUT_USEC" in said and said["EXTEND_TIMEOUT_USEC"].isdecimal():
        yield events.SaidMore(seconds=int(said["EXTEND_TIMEOUT_USEC"]) / 1e6)
    if "STATUS" in said:
        yield events.SaidStatus(text=said["STATUS"])
    if said.get("READY") == "1":
        yield events.SaidReady()
    if said.get("STOPPING") == "1":
        yield events.SaidStopping()
    if said.get("WATCHDOG") == "1":
        yield events.SaidAlive()
