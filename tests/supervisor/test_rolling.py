"""Does a reload replace what it can, and leave alone what it can not?

Hypothesis chooses what becomes of each successor, and when the daemon is away or somebody asks for something else.
The world's processes obey the machine of runs; the promises are about them: who is ready, who was told to end, who
is there when all is quiet. The same world then runs with reloads that are wrong in one place each.
"""

import heapq
import types
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.supervisor import reloads, rolling
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import (
    Abort,
    ChildEnded,
    Command,
    Due,
    Event,
    Kill,
    NotSpawned,
    Resumed,
    SaidReady,
    Signal,
    Spawn,
    Spawned,
    Wanted,
)
from mainstay.supervisor.machine import step, succeed
from mainstay.supervisor.model import Child, Ended, Instance, State
from mainstay.supervisor.naming import Role, beside, slot_of

SHOWN = AppSettings(command=("it",), min_uptime=1.0, stop_timeout=5.0, max_restarts=3, backoff_base=0.5)
SAYS = replace(SHOWN, ready="notify", ready_timeout=6.0)
SLOTS = ("web:0", "web:1", "web:2")
QUIET_S = 400.0


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of a successor; seconds after its start, or after it was told to end."""

    starts: bool = True
    ready_s: float | None = 0.5
    ends_s: float | None = None
    gives_in_s: float | None = 0.3


FATES = {
    "steady": Fate(),
    "is ready late": Fate(ready_s=4.0),
    "ends slowly": Fate(gives_in_s=4.0),
    "does not listen": Fate(gives_in_s=None),
    "can not be started": Fate(starts=False),
    "crashes at once": Fate(ready_s=None, ends_s=0.0),
    "crashes soon": Fate(ready_s=None, ends_s=0.7),
    "is never ready": Fate(ready_s=None),
}
FAILING = {"can not be started", "crashes at once", "crashes soon"}


@dataclass(eq=False, kw_only=True)
class Process:
    child: Child
    slot: str
    fate: Fate
    began_s: float
    alive: bool = True
    ready: bool = False
    told: bool = False


@dataclass(eq=False)
class World:
    """Implements `reloads.Runs` as the daemon does."""

    app: AppSettings
    fates: list[str]
    subject: types.ModuleType = reloads
    now_s: float = 1000.0
    turns: int = 0
    born: int = 0
    later: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    instances: dict[str, Instance] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    away: bool = False
    unheard: list[tuple[str, Child, Ended]] = field(default_factory=list)
    names: dict[Child, str] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    successors: list[str] = field(default_factory=list)
    asked: bool = False

    def __post_init__(self) -> None:
        self.reloads = self.subject.Reloads(self, (), now=lambda: self.now_s, over=lambda _: None)
        for slot in SLOTS:
            self.instances[slot] = Instance()
            self.feed(slot, Wanted())
        self.passes(100.0)
        self.first = {each.slot: each for each in self.processes}

    # What the daemon does.

    def settings(self, _name: str) -> AppSettings:
        return self.app

    def feed(self, name: str, event: Event) -> None:
        if name in self.instances:
            self.instances[name], commands = step(self.instances[name], event, self.app, self.now_s, lambda: 0.5)
            for command in commands:
                self.obey(name, command)

    def begin(self, name: str) -> None:
        assert name not in self.instances, "two successors of one"
        self.fresh.add(slot_of(name))
        self.successors = list(dict.fromkeys((*self.successors, slot_of(name))))
        self.instances[name] = Instance()
        self.feed(name, Wanted())

    def swap(self, slot: str) -> None:
        old, before = beside(slot, Role.OLD), self.instances[slot]
        self.instances[slot] = succeed(self.instances.pop(beside(slot, Role.NEXT)), before, self.app, self.now_s)
        self.instances[old] = before
        for name in (slot, old):
            if child := self.instances[name].child:
                self.names[child] = name

    def forget(self, name: str) -> None:
        assert self.instances.pop(name).child is None, "one that runs is forgotten"

    def look(self) -> float:
        due_s: float = self.reloads.look()
        return due_s

    # Time.

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.turns += 1
        heapq.heappush(self.later, (self.now_s + seconds, self.turns, what))

    def passes(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while True:
            looks_s = float("inf") if self.away else max(self.look(), self.now_s)
            due_s = min((float("inf") if self.away else each.due_s for each in self.instances.values()), default=0)
            next_s = min(looks_s, due_s, self.later[0][0] if self.later else float("inf"))
            self.is_right()
            if next_s > until_s:
                break
            self.now_s = max(self.now_s, next_s)
            if self.later and self.later[0][0] <= next_s:
                heapq.heappop(self.later)[2]()
            for name in [name for name, each in self.instances.items() if each.due_s <= self.now_s]:
                if not self.away:
                    self.feed(name, Due())
        self.now_s = until_s

    # What processes do.

    def obey(self, name: str, command: Command) -> None:
        match command:
            case Spawn():
                slot = slot_of(name)
                fate = FATES[self.fates[SLOTS.index(slot)] if slot in self.fresh else "steady"]
                self.fresh.discard(slot)
                self.after(0.05, lambda: self.spawned(name, fate))
            case Signal(child=child):
                process = self.process(child)
                process.told = True
                if process.fate.gives_in_s is not None:
                    self.after(process.fate.gives_in_s, lambda: self.ends(process, Ended(code=0)))
            case Kill(child=child):
                self.after(0.01, lambda: self.ends(self.process(child), Ended(signal=9)))
            case Abort():
                raise AssertionError("nobody hangs here")

    def process(self, child: Child) -> Process:
        return next(each for each in self.processes if each.child == child)

    def spawned(self, name: str, fate: Fate) -> None:
        if self.away:  # the keeper's answer waits
            self.after(1.0, lambda: self.spawned(name, fate))
            return
        if not fate.starts:
            self.feed(name, NotSpawned(detail="no such file"))
            return
        self.born += 1
        child = Child(pid=self.born, mark="m")
        process = Process(child=child, slot=slot_of(name), fate=fate, began_s=self.now_s)
        self.processes.append(process)
        self.names[child] = name
        self.feed(name, Spawned(child=child))
        if self.app.ready == "started":
            process.ready = True
        elif fate.ready_s is not None:
            self.after(fate.ready_s, lambda: self.says_ready(process))
        if fate.ends_s is not None:
            self.after(fate.ends_s, lambda: self.ends(process, Ended(code=1)))

    def says_ready(self, process: Process) -> None:
        if process.alive:
            process.ready = True
            if not self.away:
                self.feed(self.names[process.child], SaidReady())

    def ends(self, process: Process, how: Ended) -> None:
        if not process.alive:
            return
        process.alive = False
        if self.away:
            self.unheard.append((self.names[process.child], process.child, how))
        else:
            self.feed(self.names[process.child], ChildEnded(child=process.child, ended=how))

    def goes_away(self, seconds: float) -> None:
        """The daemon is killed, and comes back; what it had decided was written down."""
        self.away = True
        self.passes(seconds)
        self.away = False
        self.reloads.resume()
        for name, each in list(self.instances.items()):
            if each.child is not None:
                self.feed(name, Resumed())
        for name, child, how in self.unheard:
            if name != slot_of(name):
                self.feed(name, ChildEnded(child=child, ended=how))
        self.look()
        unheard, self.unheard = self.unheard, []
        for _, child, how in unheard:
            self.feed(self.names[child], ChildEnded(child=child, ended=how))

    # What was promised.

    def of(self, slot: str) -> list[Process]:
        return [each for each in self.processes if each.slot == slot and each.alive]

    def is_right(self) -> None:
        if not hasattr(self, "first"):
            return
        for slot in SLOTS:
            serving = [each for each in self.of(slot) if each.ready and not each.told]
            assert serving or self.asked, "nobody serves"
            if self.first[slot].told and not self.asked:
                by_now = [each for each in self.of(slot) if each is not self.first[slot]]
                assert any(each.ready for each in by_now), "what ran before was told to end too early"
                if self.app.ready == "started":
                    assert self.now_s >= by_now[0].began_s + self.app.min_uptime - 1e-9, "it was not seen to run"
            assert len(self.of(slot)) <= 2, "more than a successor beside what it succeeds"
        assert sum(len(self.of(slot)) > 1 for slot in SLOTS) <= 1, "more than one at a time"

    def judge(self, roll: rolling.Roll | None, fates: list[str]) -> None:
        assert roll is not None, "the reload does not come to an end"
        fails = FAILING | ({"is never ready"} if self.app.ready == "notify" else set())
        broken = next((at for at, fate in enumerate(fates) if fate in fails), None)
        done = SLOTS if broken is None else SLOTS[:broken]
        if not self.asked:
            assert bool(roll.failed) == (broken is not None), "a failure that is none, or none that is one"
            assert self.successors == list(SLOTS if broken is None else SLOTS[: broken + 1]), "it did not stop"
            assert not roll.failed or roll.failed.startswith(SLOTS[broken or 0]), "somebody else is accused"
        assert set(self.instances) == set(SLOTS), "something is left over"
        for slot in SLOTS:
            [process] = self.of(slot)
            assert self.instances[slot].child == process.child, "who has the slot does not run"
            assert self.instances[slot].state is State.READY
            if not self.asked:
                assert (process is not self.first[slot]) == (slot in done), "the wrong one has the slot"
                assert self.instances[slot].restarted == (slot in done), "the count is wrong"


fates = st.lists(st.sampled_from(sorted(FATES)), min_size=3, max_size=3)
pauses = st.lists(st.tuples(st.floats(0.0, 8.0), st.floats(0.0, 8.0)), max_size=3)


def run(
    app: AppSettings,
    drawn: list[str],
    away: list[tuple[float, float]],
    cancelled_s: float | None,
    subject: types.ModuleType = reloads,
) -> None:
    world = World(app, list(drawn), subject)
    number = world.reloads.begin(SLOTS)
    for wait_s, gone_s in away:
        world.passes(wait_s)
        world.goes_away(gone_s)
    if cancelled_s is not None:
        world.passes(cancelled_s)
        if world.reloads.rolls:
            world.asked = True
        world.reloads.cancel(SLOTS, "something else was asked for")
    world.passes(QUIET_S)
    world.judge(world.reloads.ended(number), drawn)


EVERY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@EVERY
@given(app=st.sampled_from((SHOWN, SAYS)), drawn=fates, away=pauses, cancelled_s=st.none() | st.floats(0, 15))
def test_a_reload_replaces_what_it_can_and_leaves_alone_what_it_can_not(
    app: AppSettings, drawn: list[str], away: list[tuple[float, float]], cancelled_s: float | None
) -> None:
    run(app, drawn, away, cancelled_s)


MUTANTS = {
    "it does not wait until the successor has been seen to run": (
        "settings.min_uptime if settings.ready",
        "0.0 if settings.ready",
    ),
    "it does not wait until the successor is ready": (
        "if instance.state not in {State.READY, State.UNHEALTHY}",
        "if instance.state not in {State.READY, State.UNHEALTHY, State.STARTING}",
    ),
    "it does not wait until the old one has ended": (
        "return roll, Forget(beside(slot, Role.OLD)) if old.state in _AT_REST else None, _NEVER",
        "return replace(roll, left=roll.left[1:], begun=False), None, now_s",
    ),
    "it goes on after a failure": (
        'return replace(roll, failed=f"{slot}: {why}"), Drop(slot), _NEVER',
        "return replace(roll, left=roll.left[1:], begun=False), Drop(slot), _NEVER",
    ),
    "a successor that has failed and started again is taken": (
        "if successor.restarts:",
        "if False:",
    ),
    "a successor that is given up is not ended": (
        "return roll, None if successor.state is State.STOPPING and not successor.again else Drop(slot), _NEVER",
        "return None, None, _NEVER",
    ),
    "a successor that is given up is forgotten while it ends": (
        "if successor.state in _AT_REST:",
        "if successor.state in {*_AT_REST, State.STOPPING}:",
    ),
    "it begins anew as long as the slot is the same": (
        "return replace(roll, begun=True), Begin(slot) if runs",
        "return roll, Begin(slot) if runs",
    ),
    "what runs is restarted in its place": (
        "Begin(slot) if runs else Restart(slot)",
        "Restart(slot)",
    ),
    "whom nobody has heard is taken for ready": (
        "return replace(roll, begun=False) if unknown",
        "return roll if unknown",
    ),
    "the first one is enough": (
        "return replace(roll, left=roll.left[1:], begun=False), None, now_s\n\n\ndef _why_not",
        "return None, None, now_s\n\n\ndef _why_not",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_reload_that_is_wrong_in_one_place_is_caught(name: str) -> None:
    wrong = mutant(rolling, *MUTANTS[name])
    vocabulary = {each: getattr(wrong, each) for each in rolling.__all__}
    subject = mutant(reloads, "def look(self)", "def look(self)", **vocabulary)

    @settings(max_examples=400, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(app=st.sampled_from((SHOWN, SAYS)), drawn=fates, away=pauses, cancelled_s=st.none() | st.floats(0, 15))
    def is_right(
        app: AppSettings, drawn: list[str], away: list[tuple[float, float]], cancelled_s: float | None
    ) -> None:
        run(app, drawn, away, cancelled_s, subject)

    with pytest.raises((AssertionError, KeyError, ValueError)):
        is_right()
