"""Does the right number of processes run, whatever they, their users and their daemon do?

Hypothesis chooses what becomes of each process, what people ask for, and when the daemon is away; the world obeys
the machine's commands on virtual time. The ledger knows nothing of the machine's counters: it remembers who ran and
how that ended, and compares. The same world then runs on machines that are wrong in one place each.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import assert_noticed, mutant

from mainstay.supervisor import machine
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import (
    Abort,
    ChildEnded,
    Command,
    Due,
    Event,
    Kill,
    NotSpawned,
    Reset,
    RestartAsked,
    Resumed,
    SaidAlive,
    SaidMore,
    SaidReady,
    SaidStatus,
    SaidStopping,
    Signal,
    Spawn,
    Spawned,
    Trouble,
    Unwanted,
    UsesMemory,
    Wanted,
    Well,
)
from mainstay.supervisor.model import Child, Ended, Instance, Reason, Restart, State

PLAIN = AppSettings(
    command=("it",),
    max_restarts=3,
    min_uptime=1.0,
    restart_intensity=6,
    restart_period=200.0,
    backoff_base=0.5,
    backoff_cap=8.0,
    stable_after=30.0,
    stop_timeout=5.0,
    ready_timeout=6.0,
)
SPEAKS = replace(PLAIN, ready="notify", watchdog=4.0, memory_limit=100, restart_delay=2.0, stop_exit_codes=(0, 3))
APPS = (
    PLAIN,
    SPEAKS,
    replace(SPEAKS, max_restarts=50, restart_intensity=4, restart_period=1000.0, restart_delay=12.0),
    replace(SPEAKS, autorestart=False, restart_delay=0.0, max_restarts=1, min_uptime=10.0),
    replace(PLAIN, watchdog=4.0, max_restarts=50, restart_intensity=4, restart_period=60.0, stop_signal="SIGINT"),
    replace(PLAIN, max_restarts=0, restart_intensity=2, memory_limit=100),
    replace(SPEAKS, ready="message"),
    replace(SPEAKS, ready="probe", watchdog=None),
)
SPAWNING_S = 0.05
SLACK_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of a process; all times are seconds after its start, or after it was told to end."""

    starts: bool = True
    ready_s: float | None = 0.5
    asks_s: float | None = None
    ends_s: float | None = None
    ended: Ended = Ended(code=1)  # noqa: RUF009  it is frozen
    gives_in_s: float | None = 1.0
    asks_when_told_s: float | None = None
    stops_itself_s: float | None = None
    hangs_s: float | None = None
    aborts: bool = True
    leaks_s: float | None = None
    spikes: bool = False
    upstream_s: float | None = None
    leaves: bool = False
    kills_lost: int = 0


FATES = {
    "steady": Fate(),
    "crashes at once": Fate(ready_s=None, ends_s=0.0),
    "crashes soon": Fate(ends_s=3.0, ended=Ended(signal=11)),
    "crashes later": Fate(ends_s=18.0, leaves=True),
    "crashes late": Fate(ends_s=45.0),
    "is done": Fate(ends_s=2.0, ended=Ended(code=3)),
    "is well done": Fate(ends_s=5.0, ended=Ended(code=0)),
    "can not be started": Fate(starts=False),
    "is never ready": Fate(ready_s=None),
    "is ready late, and says so": Fate(ready_s=9.0, asks_s=4.0),
    "does not listen": Fate(gives_in_s=None, leaves=True),
    "ends slowly": Fate(gives_in_s=4.0),
    "ends slowly, and says so": Fate(gives_in_s=8.0, asks_when_told_s=2.0),
    "stops by itself": Fate(stops_itself_s=4.0, gives_in_s=3.0),
    "stops by itself, and does not": Fate(stops_itself_s=4.0, gives_in_s=None),
    "asks for time too late": Fate(gives_in_s=None, asks_when_told_s=5.5, kills_lost=1),
    "hangs at once": Fate(hangs_s=0.7, gives_in_s=None),
    "hangs": Fate(hangs_s=5.0, gives_in_s=None),
    "is frozen": Fate(hangs_s=8.0, gives_in_s=None, aborts=False),
    "leaks": Fate(leaks_s=3.0),
    "leaks, and does not listen": Fate(leaks_s=3.0, gives_in_s=None),
    "fails with others": Fate(upstream_s=1.5, ends_s=3.0),
    "leaks, and others fail": Fate(upstream_s=1.5, leaks_s=3.0),
    "needs much for a moment": Fate(spikes=True),
    "dies at the second blow": Fate(gives_in_s=None, kills_lost=1),
}


@dataclass(eq=False, kw_only=True)
class Process:
    child: Child
    fate: Fate
    alive: bool = True
    hung: bool = False
    said_ready: bool = False
    heard_s: float = 0.0
    samples_over: int = 0
    ending_s: float | None = None
    aborted_s: float | None = None
    more_until_s: float = 0.0
    kills: int = 0


class World:
    def __init__(self, subject: Any, app: AppSettings) -> None:  # noqa: ANN401  a module, possibly a mutant of it
        self.step_of, self.app = subject.step, app
        self.now_s = 1000.0
        self.drawn = self.turns = 0
        self.later: list[tuple[float, int, Callable[[], None]]] = []
        self.instance = Instance()
        self.fate = FATES["steady"]
        self.process: Process | None = None
        self.known_s = 0.0
        self.left_behind = self.spawning = self.away = False
        self.unheard: list[Event] = []
        self.born = 0
        # The ledger.
        self.wanted = False
        self.asked: Reason | None = None
        self.cause: Reason | None = None
        self.at_once = False
        self.upstream = False
        self.down_s = self.back_s = self.now_s
        self.failed_s: float | None = None
        self.shortest_s = self.longest_s = 0.0
        self.failures: list[float] = []
        self.row = self.grown = self.restarted = 0
        self.first = True
        self.over: set[State] = set()
        if app.memory_limit is not None:
            self.sample()

    # Time.

    def chance(self) -> float:
        self.drawn += 1
        return self.drawn * 0.37 % 1.0

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        self.turns += 1
        heapq.heappush(self.later, (self.now_s + seconds, self.turns, what))

    def passes(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while True:
            due_s = float("inf") if self.away else self.instance.due_s
            next_s = min(due_s, self.later[0][0] if self.later else float("inf"))
            if next_s > until_s:
                break
            self.now_s = max(self.now_s, next_s)
            self.tell(Due()) if due_s <= next_s else heapq.heappop(self.later)[2]()
            self.is_right()
        self.now_s = until_s
        self.is_right()

    # What the machine is told, and what it commands.

    def tell(self, event: Event) -> None:
        if self.away:
            self.unheard.append(event)
            return
        before, due = self.instance, isinstance(event, Due) and self.now_s >= self.instance.due_s
        self.instance, commands = self.step_of(before, event, self.app, self.now_s, self.chance)
        if isinstance(event, Due) and not due:
            assert (self.instance, commands) == (before, ()), "a timer that was not due has changed something"
        if isinstance(event, Trouble | Well):
            assert not commands, "trouble was answered with a command"
        if before.child is None and before.state is not State.STARTING:
            heard = isinstance(
                event, SaidReady | SaidAlive | SaidMore | SaidStopping | SaidStatus | UsesMemory | Well
            )
            assert not heard or self.instance == before, "nobody has spoken, and was heard"
        for command in commands:
            self.obey(command)

    def obey(self, command: Command) -> None:
        match command:
            case Spawn():
                self.spawns()
            case Kill(child=child):
                self.kills(child)
            case Signal(child=child, name=name):
                assert name == self.app.stop_signal
                self.is_told(child)
            case Abort(child=child):
                self.is_aborted(child)

    def spawns(self) -> None:
        assert self.wanted, "what nobody wants was started"
        assert self.process is None, "two at once"
        assert not self.spawning, "two at once"
        assert not self.left_behind, "what was left behind meets the next one"
        if self.failed_s is not None and not self.at_once:
            assert self.now_s - self.failed_s >= self.shortest_s - 1e-9, "started again too early"
            latest_s = max(self.failed_s + self.longest_s, self.back_s)
            assert self.now_s <= latest_s + 1e-9, "started again too late"
        if not self.first:
            self.restarted += 1
        self.first = self.at_once = self.upstream = False
        self.asked = self.cause = self.failed_s = None
        self.spawning, fate = True, self.fate
        self.after(SPAWNING_S, lambda: self.is_there(fate))

    def is_there(self, fate: Fate) -> None:
        self.spawning = False
        if not fate.starts:
            self.down_s = self.now_s
            self.has_ended(NotSpawned(detail="no such file"))
            return
        self.born += 1
        self.process = process = Process(child=Child(pid=self.born, mark="m"), fate=fate)
        self.tell_spawned(process)
        if fate.ready_s is not None:
            self.of(process, fate.ready_s, self.says_ready)
        if fate.asks_s is not None:
            self.of(process, fate.asks_s, lambda it: self.asks_for(it, 8.0))
        if fate.ends_s is not None:
            self.of(process, fate.ends_s, lambda it: self.ends(it, fate.ended))
        if fate.hangs_s is not None:
            self.of(process, fate.hangs_s, self.hangs)
            self.of(process, fate.hangs_s + 1.0, lambda _: self.trouble(1))
        if fate.upstream_s is not None:
            self.of(process, fate.upstream_s, lambda _: self.trouble(0))
        if fate.stops_itself_s is not None:
            self.of(process, fate.stops_itself_s, self.stops_itself)
        self.of(process, 1.0, self.pings)

    def of(self, process: Process, seconds: float, what: Callable[[Process], None]) -> None:
        self.after(seconds, lambda: what(process) if process.alive else None)

    def tell_spawned(self, process: Process) -> None:
        self.known_s = process.heard_s = self.now_s
        self.tell(Spawned(child=process.child))

    def is_told(self, child: Child) -> None:
        process = self.process
        if process is None and any(isinstance(each, ChildEnded) and each.child == child for each in self.unheard):
            return
        assert process is not None, "nobody is there to be told"
        assert process.child == child
        assert process.ending_s is None, "it is told to end a second time"
        process.ending_s = self.now_s
        if self.asked is None and process.samples_over >= 2:
            self.cause = Reason.MEMORY
        elif self.asked is None:
            assert not process.said_ready, "it was ready, and has done nothing"
            assert self.app.ready != "started"
            since_s = max(self.known_s, self.back_s)
            assert self.now_s >= max(since_s + self.app.ready_timeout, process.more_until_s)
            self.cause = Reason.START
        if process.fate.asks_when_told_s is not None:
            self.of(process, process.fate.asks_when_told_s, lambda it: self.asks_for(it, 10.0))
        if process.hung or process.fate.gives_in_s is None:
            return
        self.of(process, process.fate.gives_in_s, lambda it: self.ends(it, Ended(code=0)))

    def is_aborted(self, child: Child) -> None:
        process = self.process
        assert process is not None, "nobody is there to be aborted"
        assert process.child == child
        assert process.hung, "one that is well is taken for hung"
        assert process.ending_s is None, "it is aborted while it ends"
        process.ending_s = process.aborted_s = self.now_s
        self.cause = Reason.HANG
        if process.fate.aborts:
            self.of(process, 0.2, lambda it: self.ends(it, Ended(signal=6)))

    def kills(self, child: Child) -> None:
        process = self.process
        if process is None:
            self.left_behind = False
            return
        assert process.child == child
        assert process.ending_s is not None, "it is killed and was told nothing"
        grace_s = self.app.stop_timeout if process.aborted_s is None else machine.ABORT_GRACE_S
        assert self.now_s >= max(process.ending_s + grace_s, process.more_until_s), "it is killed too early"
        process.kills += 1
        if process.kills > process.fate.kills_lost:
            self.of(process, 0.01, lambda it: self.ends(it, Ended(signal=9)))

    # What processes do.

    def says_ready(self, process: Process) -> None:
        process.said_ready, process.heard_s = True, self.now_s
        self.says(process, SaidReady(by=self.app.ready if self.app.ready != "started" else "notify"))

    def pings(self, process: Process) -> None:
        if not process.hung:
            process.heard_s = self.now_s
            self.says(process, SaidAlive())
            self.says(process, SaidReady(by="probe" if self.app.ready == "notify" else "notify"))
            self.of(process, 1.0, self.pings)

    def asks_for(self, process: Process, seconds: float) -> None:
        if not self.away and not process.kills:
            process.more_until_s = self.now_s + seconds
        self.says(process, SaidMore(seconds=seconds))

    def stops_itself(self, process: Process) -> None:
        if process.ending_s is not None:
            return
        self.says(process, SaidStopping())
        if self.away:
            return
        process.ending_s = self.now_s
        self.cause = Reason.EXIT
        if process.fate.gives_in_s is not None:
            self.of(process, process.fate.gives_in_s, lambda it: self.ends(it, process.fate.ended))

    def hangs(self, process: Process) -> None:
        process.hung = True

    def says(self, process: Process, what: Event) -> None:
        if not self.away and not process.hung:
            self.tell(what)

    def sample(self) -> None:
        """Of memory, each second."""
        self.after(1.0, self.sample)
        process = self.process
        if process is None or self.away:
            return
        leaks_s = process.fate.leaks_s
        over = leaks_s is not None and self.now_s >= self.known_s + leaks_s
        over = over or (process.fate.spikes and not process.samples_over)
        process.samples_over = process.samples_over + 1 if over else 0
        self.tell(UsesMemory(size_bytes=101 if over else 100))

    def ends(self, process: Process, ended: Ended) -> None:
        process.alive = False
        self.process = None
        self.left_behind = process.fate.leaves
        self.down_s = self.now_s
        if self.away and self.turns % 2:
            ended = Ended()
        self.has_ended(ChildEnded(child=process.child, ended=ended))

    # What was promised.

    def has_ended(self, event: ChildEnded | NotSpawned) -> None:
        if self.away:
            self.unheard.append(event)
            return
        uptime_s = self.now_s - self.known_s if isinstance(event, ChildEnded) else 0.0
        self.row = self.row if uptime_s < self.app.min_uptime else 0
        self.grown = self.grown if uptime_s < self.app.stable_after else 0
        reason, by_itself = self.why(event)
        meant = by_itself and self.is_meant(event)
        asked = reason in {Reason.USER, Reason.CRON}
        recent = [at_s for at_s in self.failures if self.now_s - at_s <= self.app.restart_period]
        unstable = uptime_s < self.app.min_uptime
        too_often = (unstable and self.row >= self.app.max_restarts) or len(recent) >= self.app.restart_intensity
        self.over = {State.STARTING}
        if not self.wanted:
            self.over = {State.STOPPED}
        elif meant:
            self.over, self.wanted = {State.EXITED if isinstance(event, ChildEnded) else State.ERRORED}, False
        elif not asked and too_often:
            self.over, self.wanted = {State.ERRORED}, False
        elif not asked:
            self.over = {State.BACKOFF, State.STARTING}
            self.has_failed(unstable=unstable)
        self.at_once = asked and self.wanted
        before = self.restarted
        last = self.instance.restarts[-1:]
        self.tell(event)
        assert self.instance.state in self.over, "what ended became something else"
        assert asked <= (not self.wanted or self.restarted > before), "what was asked for has to wait"
        if self.wanted:
            assert self.instance.restarts[-1:] != last, "a restart without a record"
            self.is_recorded(self.instance.restarts[-1], reason, uptime_s)
        elif self.over != {State.STOPPED}:
            assert self.instance.detail, "it is over, and nobody knows why"

    def why(self, event: ChildEnded | NotSpawned) -> tuple[Reason, bool]:
        """The reason, and whether that is its own doing."""
        if self.asked is not None:
            return self.asked, False
        if isinstance(event, NotSpawned):
            return Reason.START, True
        if self.cause not in {None, Reason.EXIT}:
            return self.cause or Reason.EXIT, False
        if event.ended.code is not None:
            return Reason.EXIT, True
        return Reason.SIGNAL if event.ended.signal is not None else Reason.UNKNOWN, True

    def is_meant(self, event: ChildEnded | NotSpawned) -> bool:
        code = event.ended.code if isinstance(event, ChildEnded) else None
        return not self.app.autorestart or code in self.app.stop_exit_codes

    def has_failed(self, *, unstable: bool) -> None:
        app, steps = self.app, self.grown + (2 if self.upstream else 0)
        middle_s = max(app.restart_delay * 2**steps, app.backoff_base * 2 ** (steps - 1)) if steps else 0.0
        self.shortest_s = max(app.restart_delay, min(app.backoff_cap, middle_s * 0.75))
        self.longest_s = max(app.restart_delay, min(app.backoff_cap, middle_s))
        self.failed_s = self.now_s
        self.failures.append(self.now_s)
        self.row += unstable
        self.grown += 1

    def is_recorded(self, restart: Restart, reason: Reason, uptime_s: float) -> None:
        assert restart.reason is reason, "restarted for another reason"
        assert restart.detail, "a restart without words"
        assert (restart.at_s, restart.uptime_s) == (self.now_s, uptime_s)
        assert len(self.instance.restarts) <= self.app.restart_intensity + 20, "it remembers too much"

    def is_right(self) -> None:
        if self.away:
            return
        app, process, state = self.app, self.process, self.instance.state
        running = process is not None or self.spawning
        longest_s = max(app.backoff_cap, app.restart_delay)
        assert self.instance.restarted == self.restarted, "restarts are counted wrong"
        assert running == (state in {State.STARTING, State.READY, State.UNHEALTHY, State.STOPPING}), (
            "it says otherwise"
        )
        if self.wanted and not running:
            assert self.now_s - max(self.down_s, self.back_s) <= longest_s + 1e-9, "nobody runs, and one is wanted"
        if process is None:
            return
        assert (self.instance.child == process.child) or self.spawning
        if not self.wanted:
            assert process.ending_s is not None, "it runs, and nobody wants it"
        if process.ending_s is not None:
            grace_s = app.stop_timeout if process.aborted_s is None else machine.ABORT_GRACE_S
            end_s = max(process.ending_s + grace_s, process.more_until_s, self.back_s)
            assert self.now_s <= end_s + process.fate.kills_lost * machine.KILL_AGAIN_S + SLACK_S, (
                "it lives too long"
            )
            return
        heard_s = max(process.heard_s, self.back_s)
        if app.watchdog is not None and process.said_ready:
            patience_s = max(
                heard_s + max(app.watchdog, app.ready_timeout * (self.back_s >= self.known_s)),
                process.more_until_s,
            )
            assert self.now_s <= patience_s + SLACK_S, "it hangs, and nobody sees it"
        if app.ready != "started" and not process.said_ready and self.back_s < self.known_s:
            patience_s = max(self.known_s + app.ready_timeout, process.more_until_s)
            assert self.now_s <= patience_s + SLACK_S, "it is never ready, and nobody sees it"
        assert process.samples_over < 2 or app.memory_limit is None, "it leaks, and nobody sees it"

    # What people do, and what happens to the daemon.

    def do(self, action: str, number: int) -> None:
        if action in FATES:
            self.fate = FATES[action]
            if number % 3:
                self.dies(number)
                self.start(number)
                self.passes((4.0, 7.0, 12.0, 25.0)[number % 4])
        else:
            getattr(self, action)(number)
        self.is_right()

    def wait(self, number: int) -> None:
        self.passes((0.02, 0.06, 0.5, 1.0, 3.0, 7.0, 19.0, 40.0, 90.0)[number % 9])

    def start(self, number: int) -> None:
        if self.away:
            return
        running = self.process is not None or self.spawning
        if not self.wanted and not running:
            self.begins_anew()
        elif not self.wanted:
            self.asked = Reason.USER
        self.at_once = self.at_once or not running
        self.wanted = True
        self.tell(Wanted())
        assert self.spawning or running, "a user has to wait for what he asked for"

    def begins_anew(self) -> None:
        self.failures.clear()
        self.row = self.grown = 0
        self.first, self.failed_s, self.down_s = True, None, self.now_s

    def stop(self, number: int) -> None:
        if self.away:
            return
        self.wanted, self.asked, self.over = False, Reason.USER, {State.STOPPED}
        self.tell(Unwanted())

    def restart(self, number: int) -> None:
        if self.away:
            return
        running = self.process is not None or self.spawning
        if not self.wanted and not running:
            self.begins_anew()
        self.at_once = not running
        self.wanted, self.asked = True, Reason.USER
        self.tell(RestartAsked(reason=Reason.USER, detail="asked for"))
        assert self.spawning or running, "a user has to wait for what he asked for"

    def others_ask(self, number: int) -> None:
        if self.away:
            return
        reason = (Reason.CRON, Reason.HEALTH)[number % 2]
        running = self.spawning or (self.process is not None and self.process.ending_s is None)
        if running and self.asked is None:
            self.asked = reason
        again = reason is Reason.CRON and self.over == {State.EXITED} and not running and not self.wanted
        if again:
            self.wanted = self.at_once = True
        self.tell(RestartAsked(reason=reason, detail="it is time"))
        assert self.spawning or not again, "the clock does not start what was done"

    def reset(self, number: int) -> None:
        if self.away:
            return
        self.failures.clear()
        self.row = self.grown = self.restarted = 0
        self.tell(Reset())
        assert self.instance.state is not State.ERRORED

    def trouble(self, number: int) -> None:
        process = self.process
        if self.away or process is None or process.ending_s is not None or self.spawning:
            return
        if not process.said_ready and self.app.ready != "started":
            return
        self.upstream = number % 3 == 0
        self.tell((Trouble(detail="503", upstream=True), Trouble(detail="500"), Well())[number % 3])
        assert self.instance.state is (State.READY if number % 3 == 2 else State.UNHEALTHY)

    def stray(self, number: int) -> None:
        if self.away:
            return
        before = self.instance
        match number % 5:
            case 0:
                self.tell(ChildEnded(child=Child(pid=1, mark="another"), ended=Ended(code=0)))
            case 1 if self.process is not None:
                self.tell(Spawned(child=self.process.child))
            case 2 if not self.spawning:
                self.tell(NotSpawned(detail="late"))
            case 3:
                self.tell(Due())
            case 4 if not self.spawning and self.instance.state is not State.BACKOFF:
                stranger = Child(pid=1, mark="another")
                _, commands = self.step_of(
                    self.instance, Spawned(child=stranger), self.app, self.now_s, self.chance
                )
                assert commands == (Kill(child=stranger),), "one that nobody knows runs on"
            case _:
                pass
        assert self.instance == before or number % 5 == 3, "a stray event has changed something"

    def babble(self, number: int) -> None:
        """Words that change nothing: there is nobody who could say them, or it is too late."""
        if self.away or self.spawning or self.instance.state in {State.STARTING, State.READY, State.UNHEALTHY}:
            return
        before = self.instance
        words = (
            SaidReady(),
            SaidAlive(),
            SaidStopping(),
            UsesMemory(size_bytes=1000),
            Trouble(detail="?"),
            Resumed(),
        )
        self.tell(words[number % len(words)])
        assert self.instance == before, "it is too late for that"

    def dies(self, number: int) -> None:
        if self.process is not None:
            self.ends(self.process, Ended(signal=9))

    def loop(self, number: int) -> None:
        """Nothing but crashes."""
        self.fate = FATES[("crashes at once", "crashes soon", "crashes later", "crashes late")[number % 4]]
        self.dies(number)
        self.passes((20.0, 80.0, 160.0)[number % 3])

    def done(self, number: int) -> None:
        self.fate = FATES["is done"]
        self.dies(number)
        self.passes(4.0)
        self.others_ask(0)

    def stop_in_the_middle(self, number: int) -> None:
        self.fate = tuple(FATES.values())[number // 4 % len(FATES)]
        self.dies(number)
        self.passes((1.5, 3.5, 5.5, 8.5)[number % 4])
        self.stop(number)
        self.passes(3.0)

    def restart_often(self, number: int) -> None:
        for _ in range((5, 25)[number % 8 == 0]):
            self.restart(number)
            self.passes(1.5)

    def daemon_dies(self, number: int) -> None:
        """And is back after a while."""
        if self.away:
            return
        self.away = True
        self.passes((0.1, 2.0, 10.0, 50.0)[number % 4])
        self.away, self.back_s = False, self.now_s
        for event in self.unheard:
            if isinstance(event, Spawned):
                self.known_s = self.now_s
                self.tell(event)
        unready = self.instance.state is State.STARTING
        self.tell(Resumed())
        if self.app.ready == "probe" and self.process is not None:
            assert unready == (self.instance.state is State.STARTING), "ready, and nobody has asked"
            if self.process.said_ready:
                self.says(self.process, SaidReady(by="probe"))
        unheard, self.unheard = self.unheard, []
        for event in unheard:
            if isinstance(event, ChildEnded | NotSpawned):
                self.has_ended(event)

    def end_well(self) -> None:
        """From here on all is well, and whoever is asked to says when it is over."""
        self.fate = FATES["steady"]
        self.passes(150.0)
        if self.wanted:
            assert self.instance.state in {State.READY, State.UNHEALTHY}, "it does not run"
        self.reset(0)
        self.start(0)
        self.passes(20.0)
        assert self.instance.state in {State.READY, State.UNHEALTHY}, "it can not be started"
        self.stop(0)
        self.passes(20.0)
        assert self.instance.state is State.STOPPED
        assert self.process is None


ACTIONS = (
    *("start", "wait", "wait") * 4,
    *("stop", "restart", "others_ask", "trouble", "stray", "babble", "dies", "daemon_dies", "loop") * 2,
    *("reset", "restart_often", "daemon_dies", "daemon_dies", "done", "stop_in_the_middle", "stop_in_the_middle"),
    *FATES,
)
happenings = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 359)), min_size=15, max_size=40)
apps = st.sampled_from(APPS)


def live(subject: Any, app: AppSettings, steps: list[tuple[str, int]]) -> None:  # noqa: ANN401
    world = World(subject, app)
    world.start(0)
    for step in steps:
        world.do(*step)
    world.end_well()


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(apps, happenings)
def test_one_runs_exactly_as_long_as_it_is_wanted(app: AppSettings, steps: list[tuple[str, int]]) -> None:
    live(machine, app, steps)


MUTANTS = {
    "a start of what runs starts another": (
        "    if instance.state in _AT_REST:\n        return _start(replace",
        "    if instance.state is not State.STOPPING:\n        return _start(replace",
    ),
    "a start keeps what was counted": (
        "return _start(replace(instance, unstable=0, delays=0, restarts=()), now_s)",
        "return _start(instance, now_s)",
    ),
    "a start waits for the delay": (
        "    if instance.state is State.BACKOFF:\n        return _start_again(instance, now_s)\n"
        "    if instance.state is State.STOPPING and",
        "    if instance.state is State.STOPPING and",
    ),
    "a start while it stops is lost": ("instance.state is State.STOPPING and not instance.again", "False"),
    "a stop during a delay is lost": (
        "if instance.state in _AT_REST or instance.state is State.BACKOFF:\n"
        "        return _enter(instance, State.STOPPED",
        "if instance.state is State.BACKOFF:\n        return instance, ()\n"
        "    if instance.state in _AT_REST:\n        return _enter(instance, State.STOPPED",
    ),
    "what is stopped is started again": (
        "return replace(stopping, again=False), commands",
        "return stopping, commands",
    ),
    "a second stop tells it again": (
        "return replace(instance, stop_for=reason, again=True, detail=detail), ()",
        "return _tell_to_end(replace(instance, stop_for=reason, again=True, detail=detail), settings, now_s)",
    ),
    "a restart waits for the delay": (
        "if instance.state in _AT_REST or instance.state is State.BACKOFF:\n"
        "            return _wanted(instance, now_s)",
        "if instance.state in _AT_REST:\n            return _wanted(instance, now_s)\n"
        "        if instance.state is State.BACKOFF:\n            return instance, ()",
    ),
    "a restart while it stops is lost": (
        "        return _stop(instance, reason, detail, settings, now_s)\n    if reason is Reason.CRON",
        "        return _unwanted(instance, settings, now_s) if instance.stop_for else "
        "_stop(instance, reason, detail, settings, now_s)\n    if reason is Reason.CRON",
    ),
    "the clock does not start what is done": (
        "if reason is Reason.CRON and instance.state",
        "if False and instance.state",
    ),
    "the clock starts what is stopped": (
        "reason is Reason.CRON and instance.state is State.EXITED",
        "reason is Reason.CRON and instance.state in _AT_REST",
    ),
    "a health check restarts during a delay": (
        "if instance.state in {State.STARTING, State.READY, State.UNHEALTHY}:\n        return _stop",
        "if instance.state not in _AT_REST:\n        return _stop",
    ),
    "what is errored stays so": ("if instance.state is State.ERRORED else forgotten", "if False else forgotten"),
    "a reset keeps the count": ("restarts=(), restarted=0)", "restarts=instance.restarts, restarted=0)"),
    "a reset keeps the number": ("restarts=(), restarted=0)", "restarts=())"),
    "a reset stops": ("if instance.state is State.ERRORED else forgotten", "if True else forgotten"),
    "a stranger runs on": ("return instance, (Kill(child=child),)  # nobody", "return instance, ()  # nobody"),
    "the same one twice is a stranger": ("if instance.child == child:", "if False:"),
    "a stop before it was there is lost": (
        "    if instance.state is State.STOPPING:\n        return _tell_to_end(running, settings, now_s)\n",
        "",
    ),
    "ready without saying so": ('if settings.ready == "started":', "if True:"),
    "nobody waits for ready": (
        "return replace(running, due_s=now_s + settings.ready_timeout), ()",
        "return running, ()",
    ),
    "the watchdog begins with the first word": (
        "return _enter(instance, State.READY, now_s, due_s=_watchdog_s(settings, now_s))",
        "return _enter(instance, State.READY, now_s)",
    ),
    "what it says is not heard": (
        "case SaidAlive() if instance.state in _UP:\n"
        "            return replace(instance, due_s=_watchdog_s(settings, now_s))",
        "case SaidAlive() if instance.state in _UP:\n            return instance",
    ),
    "alive is ready": ("case SaidAlive() if instance.state in _UP:", "case SaidAlive():"),
    "stopping is not heard": (
        "case SaidStopping() if instance.state is not State.STOPPING:",
        "case SaidStopping() if False:",
    ),
    "stopping again gives more time": (
        "case SaidStopping() if instance.state is not State.STOPPING:",
        "case SaidStopping():",
    ),
    "stopping by itself may take for ever": ('"by itself", now_s + settings.stop_timeout)', '"by itself")'),
    "more time is not given": ("max(instance.due_s, now_s + seconds)", "instance.due_s"),
    "more time is less": ("max(instance.due_s, now_s + seconds)", "now_s + seconds / 4"),
    "trouble stops the watchdog": (
        "return replace(instance, state=state, since_s",
        "return replace(instance, due_s=_NEVER, state=state, since_s",
    ),
    "trouble is a restart": (
        "            return (instance if instance.child is None else _heard(instance, event, settings, now_s)), ()",
        "            if isinstance(event, Trouble) and instance.state in _UP:\n"
        "                return _stop(instance, Reason.HEALTH, event.detail, settings, now_s)\n"
        "            return (instance if instance.child is None else _heard(instance, event, settings, now_s)), ()",
    ),
    "trouble is never over": ("state, detail, upstream = State.READY", "state, detail, upstream = State.UNHEALTHY"),
    "somebody else's trouble is forgotten": ("how.detail, how.upstream", "how.detail, False"),
    "somebody else's trouble is forgotten when it is told to end": (
        "        over_limit=0,\n    )",
        "        over_limit=0,\n        upstream=False,\n    )",
    ),
    "one sample is too much": ("_SAMPLES_OVER_LIMIT: Final = 2", "_SAMPLES_OVER_LIMIT: Final = 1"),
    "three samples": ("_SAMPLES_OVER_LIMIT: Final = 2", "_SAMPLES_OVER_LIMIT: Final = 3"),
    "samples need not be in a row": ("return replace(instance, over_limit=0), ()", "return instance, ()"),
    "the limit itself is too much": ("size_bytes <= limit_bytes", "size_bytes < limit_bytes"),
    "memory counts while it ends": (
        "if instance.child is None or instance.state is State.STOPPING:\n        return instance, ()\n    if limit",
        "if instance.child is None:\n        return instance, ()\n    if limit",
    ),
    "who was not heard is hung": (
        "return replace(instance, due_s=_watchdog_s(settings, now_s)) if instance.state in _UP else instance",
        "return instance",
    ),
    "a lost ready is a failure": (
        'seen = instance if settings.ready == "probe" else _ready(instance, settings, now_s)',
        "seen = instance",
    ),
    "who was not asked is ready": (
        'seen = instance if settings.ready == "probe" else _ready(instance, settings, now_s)',
        "seen = _ready(instance, settings, now_s)",
    ),
    "ready by whatever is said": (
        "if instance.state is State.STARTING and settings.ready == by:",
        "if instance.state is State.STARTING:",
    ),
    "a hung one is asked politely": (
        "if instance.stop_for is Reason.HANG:\n        return replace",
        "if False:\n        return replace",
    ),
    "an aborted one is not killed": ("due_s=now_s + ABORT_GRACE_S), (Abort", "due_s=_NEVER), (Abort"),
    "an aborted one has as much time as others": (
        "due_s=now_s + ABORT_GRACE_S)",
        "due_s=now_s + settings.stop_timeout)",
    ),
    "nobody is killed": ("told = replace(instance, due_s=now_s + settings.stop_timeout)", "told = instance"),
    "always SIGTERM": ("name=settings.stop_signal", 'name="SIGTERM"'),
    "killed but once": ("killed=True, due_s=now_s + KILL_AGAIN_S", "killed=True, due_s=_NEVER"),
    "a killed one may ask for time": ("if not instance.killed and instance.stop_for", "if instance.stop_for"),
    "a timer that is not due": ("if now_s < instance.due_s:", "if False:"),
    "a delay never ends": (
        "if instance.state is State.BACKOFF:\n"
        "        return _start_again(instance, now_s)\n"
        "    if instance.state is State.STARTING:",
        "if instance.state is State.STARTING:",
    ),
    "any end is that of ours": ("if event.child != instance.child:", "if instance.child is None:"),
    "a row without an end": (
        "unstable=instance.unstable if uptime_s < settings.min_uptime else 0",
        "unstable=instance.unstable",
    ),
    "no row": ("unstable=instance.unstable if uptime_s < settings.min_uptime else 0", "unstable=0"),
    "delays are never reset": (
        "delays=instance.delays if uptime_s < settings.stable_after else 0",
        "delays=instance.delays",
    ),
    "delays are always reset": ("delays=instance.delays if uptime_s < settings.stable_after else 0", "delays=0"),
    "by itself is as told": ("or instance.stop_for is Reason.EXIT:", "or False:"),
    "what is left behind lives on": (
        "return after, (Kill(child=event.child), *commands)",
        "return after, commands",
    ),
    "started before what is left is gone": (
        "return after, (Kill(child=event.child), *commands)",
        "return after, (*commands, Kill(child=event.child))",
    ),
    "what can not be started is tried for ever": (
        "failed = Restart(at_s=now_s, reason=Reason.START, detail=detail, uptime_s=0.0)",
        "failed = Restart(at_s=now_s, reason=Reason.START, detail=detail, uptime_s=_NEVER)",
    ),
    "the exit code does not matter": ("ended.code in settings.stop_exit_codes or not", "not"),
    "always started again": (
        "ended.code in settings.stop_exit_codes or not settings.autorestart",
        "ended.code in settings.stop_exit_codes",
    ),
    "an unknown end is a good one": ("reason = Reason.UNKNOWN\n", "reason = Reason.EXIT\n"),
    "asked for and delayed": (
        "if restart.reason in _ASKED:\n        return _restart(",
        "if restart.reason in _ASKED and not settings.restart_delay:\n        return _restart(",
    ),
    "a restart that was asked for is not remembered": (
        "restarts = _remembered((*instance.restarts, restart), settings, now_s)",
        "restarts = instance.restarts",
    ),
    "asked for and counted": ("sum(each.reason not in _ASKED for each in restarts)", "len(restarts)"),
    "one restart fewer in a row": (
        "instance.unstable >= settings.max_restarts:",
        "instance.unstable + 1 >= settings.max_restarts:",
    ),
    "one restart more in a row": (
        "instance.unstable >= settings.max_restarts:",
        "instance.unstable > settings.max_restarts:",
    ),
    "no end of a row": ("if unstable and instance.unstable >= settings.max_restarts:", "if False:"),
    "given up while it is stable": ("if unstable and instance.unstable", "if instance.unstable"),
    "one restart fewer in a period": (
        "counted >= settings.restart_intensity:",
        "counted + 1 >= settings.restart_intensity:",
    ),
    "one restart more in a period": (
        "counted >= settings.restart_intensity:",
        "counted > settings.restart_intensity:",
    ),
    "restarts count for ever": ("now_s - each.at_s <= settings.restart_period", "True"),
    "restarts count for half the time": ("<= settings.restart_period]", "<= settings.restart_period / 2]"),
    "delays do not grow": ("delays=instance.delays + 1,", "delays=instance.delays,"),
    "no least delay": ("if not steps:\n        return least_s", "if not steps:\n        return 0.0"),
    "the first delay has grown": ("if not steps:", "if False:"),
    "growth without a limit": (
        "min(settings.backoff_cap, grown_s * (1 - _JITTER * chance()))",
        "grown_s * (1 - _JITTER * chance())",
    ),
    "the longest delay is shorter than the least": (
        "return max(least_s, min(settings.backoff_cap",
        "return max(0.0, min(settings.backoff_cap",
    ),
    "more jitter": ("(1 - _JITTER * chance())", "(1 - 2 * _JITTER * chance())"),
    "somebody else's trouble does not matter": ("_UPSTREAM_STEPS: Final = 2", "_UPSTREAM_STEPS: Final = 0"),
    "all that was asked for is remembered": ("asked[:-_ASKED_KEPT]", "asked[:0]"),
    "a user's restarts push out the failures": (
        "return tuple(each for each in young if id(each) not in dropped)",
        "return tuple(young[-5:])",
    ),
}


SLOWLY_FOUND = frozenset(
    {
        "a row without an end",
        "a lost ready is a failure",
        "stopping again gives more time",
        "memory counts while it ends",
    }
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak if name in SLOWLY_FOUND else ()) for name in MUTANTS]
)
def test_the_world_notices_a_machine_that_is_wrong(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])
    assert_noticed(lambda app, steps: live(wrong, app, steps), apps, happenings)
