"""Which process is which run's, and how is it started, told, asked and ended?

What the machine has decided is done here, and what becomes of it is told to whoever feeds the machine.
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, assert_never

from mainstay.errors import MainstayError
from mainstay.supervisor import events
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.channels import Channels
from mainstay.supervisor.command import Launch, launch, marker
from mainstay.supervisor.events import Abort, Command, Event, Kill, Signal, Spawn
from mainstay.supervisor.evidence import found, prepare
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child, Ended, Reason
from mainstay.supervisor.naming import app_of, run_of
from mainstay.supervisor.notify import meant
from mainstay.supervisor.output.model import policy
from mainstay.supervisor.outputs import Outputs
from mainstay.supervisor.population import Population
from mainstay.supervisor.probes.asking import ask, ask_health
from mainstay.supervisor.probes.commands import Commands
from mainstay.supervisor.probes.model import Kind, Result
from mainstay.supervisor.processes import send, send_group
from mainstay.supervisor.procfs import environment
from mainstay.supervisor.recognition import marker_of
from mainstay.supervisor.sockets import Sockets
from mainstay.supervisor.state import Lifecycle
from mainstay.supervisor.trees import Trees, Usage
from mainstay.supervisor.usages import Usages

__all__ = ["Children"]

_SWEEP_S: Final = 5.0
_QUIET_S: Final = 10.0
_LAST_WORDS_S: Final = 1.0
_EARLY: Final = 100


class Children:
    """Those of one daemon.

    Args:
        population: has the runs.
        keeper: has the processes.
        sockets: are handed to those that listen.
        outputs: what they write to.
        lifecycle: is told who could not be ended.
        tasks: where what takes its time is done.
        feed: is told what has happened to a run.
        ended: is told, once for each, how it has ended.

    Attributes:
        names: which run each of them is; empty for one that is none any more.
        commands: those that tell how an app is.
        channels: on which Node programs speak.
    """

    def __init__(
        self,
        population: Population,
        *,
        keeper: Keeper,
        sockets: Sockets,
        outputs: Outputs,
        lifecycle: Lifecycle,
        tasks: asyncio.TaskGroup,
        feed: Callable[[str, Event], object],
        ended: Callable[[str, events.ChildEnded], object],
    ) -> None:
        self._population = population
        self._keeper = keeper
        self._sockets = sockets
        self._outputs = outputs
        self._lifecycle = lifecycle
        self._tasks = tasks
        self._feed = feed
        self._ended = ended
        self._trees = Trees()
        self._trees.spared |= {keeper.pid, os.getpid()}
        self._usages = Usages(self._trees)
        self._aborted: dict[Child, int] = {}
        self._ended_early: dict[Child, Ended] = {}
        self._said_early: deque[tuple[int, Mapping[str, str]]] = deque(maxlen=_EARLY)
        self._turns: dict[str, asyncio.Lock] = {}
        self.names: dict[Child, str] = {}
        self.commands = Commands(keeper, population.plan.home, tasks, self._ended_early)
        self.channels = Channels(keeper, self._said_ready)

    async def quiet(self) -> None:
        """What was begun, such as a sweep, is done; or it takes too long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_S):
                for turn in list(self._turns.values()):
                    async with turn:
                        pass

    def forget(self, child: Child) -> None:
        """How it has ended is written down."""
        self._keeper.acknowledge(child)
        self._aborted.pop(child, None)
        self._usages.forget(child)
        self.names.pop(child, None)
        self._trees.forget(child)

    def usage(self, name: str) -> tuple[Usage, float | None] | None:
        """What this run takes, and how much of a core in percent; None while nobody has looked."""
        child = self._population.instances[name].child
        return self._usages.of(child) if child is not None else None

    def measure(self, now_s: float) -> Iterator[tuple[str, Usage]]:
        """What each run takes now."""
        for child, usage in self._usages.look(now_s):
            if name := self.names.get(child):
                yield name, usage

    async def follow_keeper(self) -> None:
        """It may be another one by now."""
        if self._keeper.pid not in self._trees.spared:
            self._trees.spared.add(self._keeper.pid)
            with suppress(MainstayError):  # it is gone as well: the next one gets them
                await self._sockets.hold_again()

    def environment(self, name: str) -> tuple[Mapping[str, str] | None, Mapping[str, str]]:
        """What it was started with, None if it does not run; and what it is started with the next time."""
        child = self._population.instances[name].child
        order = self._order(name, self._population.settings(name))
        if child is None or not any(there := environment(child.pid)):
            return None, order.env
        pairs = (os.fsdecode(each).partition("=") for each in there)
        return {key: value for key, _, value in pairs if key}, order.env

    def heard(self, pid: int, said: Mapping[str, str]) -> None:
        """A process says something; it counts for the instance whose child it is, or in whose session it is."""
        child = self._child_of(pid)
        if child is None:
            self._said_early.append((pid, said))  # before we have heard that it was started
            return
        name = self.names[child]
        instance = self._population.instances.get(name)
        if instance is not None and instance.child == child:
            for event in meant(said):
                self._feed(name, event)

    def _child_of(self, pid: int) -> Child | None:
        try:
            leader = os.getsid(pid)
        except ProcessLookupError:
            leader = pid
        return next((child for child in self.names if child.pid in (pid, leader)), None)

    def _said_ready(self, run: str) -> None:
        instances = self._population.instances
        for name in [name for name, each in instances.items() if run_of(name, each.begun_s) == run]:
            self._feed(name, events.SaidReady(by="message"))

    async def ask(self, name: str, app: AppSettings, kind: Kind) -> Result:
        """Ask one of them how it is."""
        if kind is Kind.HEALTH:
            assert app.health is not None, "nobody asks for what is not there"
            return await ask_health(app.health)
        probe = {Kind.STARTUP: app.startup, Kind.LIVENESS: app.liveness, Kind.READINESS: app.readiness}[kind]
        assert probe is not None, "nobody asks for what is not there"
        order = partial(self._order, name, replace(app, command=probe.command))
        return await ask(f"{name}:{kind}", probe, commands=self.commands, order=order)

    def signal(self, name: str, number: int) -> None:
        """Send it to the group of this run's child, if it has one."""
        child = self._population.instances[name].child
        if child is not None:
            send_group(child, number)

    def perform(self, name: str, command: Command) -> None:
        """Do it, or begin to."""
        match command:
            case Spawn():
                self._tasks.create_task(self._in_turn(name, self._spawn(name)))
            case Signal(child=child, name=signal_name):
                with suppress(OSError):
                    send_group(child, signal.Signals[signal_name])
                    send_group(child, signal.SIGCONT)  # one that is stopped hears it only when it goes on
            case Abort(child=child):
                self._aborted[child] = _length(self._population.sources(name)[-1].path)
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
        if self._population.instances[name].child is not None:
            return  # it was found with the keeper
        event: Event
        settings, begun_s = self._population.settings(name), self._population.instances[name].begun_s
        try:
            order = self._order(name, settings)
            fifos = self.collect(name)
            prepare(self._population.plan.home)
            async with AsyncExitStack() as stack:
                channel = None
                if settings.ready == "message":
                    channel = await stack.enter_async_context(self.channels.opened(run_of(name, begun_s)))
                child = await self._keeper.spawn(
                    name,
                    order.argv,
                    env=order.env,
                    cwd=order.cwd,
                    stdout=fifos[0],
                    stderr=fifos[-1],
                    listen=await self._sockets.of(app_of(name), settings.listen),
                    umask=order.umask,
                    identity=order.identity,
                    channel=channel,
                )
        except (MainstayError, OSError) as error:
            event = events.NotSpawned(detail=str(error))
        else:
            self.adopted(name, begun_s, child)
            event = events.Spawned(child=child)
        self._feed(name, event)
        if isinstance(event, events.Spawned):
            self.channels.listen(run_of(name, begun_s))
            self._catch_up(name, event.child)

    def _order(self, name: str, app: AppSettings) -> Launch:
        plan, begun_s = self._population.plan, self._population.instances[name].begun_s
        return launch(name, begun_s, app, home=plan.home, directory=plan.directory, environ=plan.environ)

    def collect(self, name: str) -> tuple[Path, ...]:
        """What this run writes gets into its logs. Raises OSError."""
        return self._outputs.collect(
            self._population.sources(name),
            policy(self._population.settings(name)),
            self._population.instances[name].child,
        )

    def adopted(self, name: str, begun_s: float, child: Child) -> None:
        """From now on this is the child of that run."""
        self.names[child] = name
        self._trees.watch(child, marker(name, begun_s, self._population.plan.home))

    def _catch_up(self, name: str, child: Child) -> None:
        """What it has said, and how it has ended, before we had heard that it was started."""
        early, self._said_early = self._said_early, deque(maxlen=_EARLY)
        for pid, said in early:
            self.heard(pid, said)
        if child in self._ended_early:
            self.has_ended(name, child, self._ended_early.pop(child))

    def dismiss(self, child: Child) -> None:
        """End one that is nobody's."""
        self.names[child] = ""
        self._trees.watch(child, marker_of(child))
        self._tasks.create_task(self._sweep(child))

    async def _sweep(self, child: Child) -> None:
        left = await self._trees.kill(child, _SWEEP_S)
        if left:
            pids = ", ".join(str(each.pid) for each in left)
            self._lifecycle.write("left over", name=self.names.get(child, ""), pids=pids)

    async def hear_of_ends(self) -> None:
        """Tell of each, until cancelled."""
        async for child, ended in self._keeper.ends():
            name = self.names.get(child)
            if name is None and self.commands.has_ended(child, ended):
                continue
            if name is None:
                self._ended_early[child] = ended  # before we have heard that it was started
            else:
                self.has_ended(name, child, ended)

    def has_ended(self, name: str, child: Child, ended: Ended) -> None:
        """Of one that has hung it is told a little later."""
        instance = self._population.instances.get(name)
        if instance is not None and instance.child == child:
            run = run_of(name, instance.begun_s)
            self._tasks.create_task(self._in_turn(name, self.channels.shut(run)))
            if instance.stop_for is Reason.HANG:
                self._tasks.create_task(self._has_hung(name, run, child, ended))
                return
        self._ended(name, events.ChildEnded(child=child, ended=ended))

    async def _has_hung(self, name: str, run: str, child: Child, ended: Ended) -> None:
        """With what it has left of where it hung, once that is in its log."""
        log = self._population.sources(name)[-1].path
        await self._outputs.drained(log, within_s=_LAST_WORDS_S)
        stacks = found(self._population.plan.home, run, log, self._aborted.pop(child, 0))
        self._ended(self.names.get(child, name), events.ChildEnded(child=child, ended=ended, stacks=stacks))


def _length(log: Path) -> int:
    try:
        return log.stat().st_size
    except OSError:
        return 0
