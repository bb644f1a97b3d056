"""What does it cost to have programs kept, and what becomes of them when something goes wrong?

Mainstay beside PM2 and supervisord, which keep the same programs at the same time, and are asked by turns.
"""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.children import ALIVE, FAMILY, LEAKING, PRINTING, App
from bench.managers import MANAGERS, Manager, Pm2, Pm2Logrotate, alive, managed
from bench.matrix import Line, Matrix
from bench.outputs import output_apps, outputs
from bench.watched import cpu_s, memory_mb, wakeups

FIFTY = 50
WATCHDOG_S = 2.0
LIMIT_BYTES = 60_000_000
SETTLED_S = 2.0
UPTIME_S = 1.3  # more than supervisord's startsecs
AFTERWARDS_S = 2.0
PM2_LOOKS_EVERY_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """How often each thing is measured; ``idle_s``: for how long nothing is done."""

    cold: int = 5
    warm: int = 7
    crash: int = 11
    delay: int = 5
    leak: int = 4
    hang: int = 4
    stop: int = 3
    logs: int = 3
    idle_s: float = 15.0


QUICK = Rounds(cold=2, warm=2, crash=3, delay=2, leak=1, hang=1, stop=1, logs=1, idle_s=5.0)


def tables(*, quick: bool = False) -> Iterator[Matrix]:
    rounds = QUICK if quick else Rounds()
    lines: list[Line] = []
    missing = {kind.label: why for kind in MANAGERS if (why := kind.missing())}
    kinds = [kind for kind in MANAGERS if kind.label not in missing]
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="msbench-")))
        _say("cold starts")
        lines += _cold([kind for kind in kinds if kind is not Pm2Logrotate], directory, rounds.cold)
        apps = [*_apps(rounds), *output_apps(directory, rounds.logs)]
        managers = [stack.enter_context(managed(kind, directory, apps)) for kind in kinds]
        peers = [manager for manager in managers if not isinstance(manager, Pm2Logrotate)]
        for manager in managers:
            manager.bring_up()
        for what, measure in (
            ("memory", lambda: _with_few(managers)),
            ("warm starts", lambda: _warm(peers, rounds.warm)),
            ("fifty", lambda: _fifty(managers, peers, rounds)),
            ("crashes", lambda: _crashes(peers, rounds.crash)),
            ("delays", lambda: _delays(peers, rounds.delay)),
            ("leaks and hangs", lambda: _leaks_and_hangs(peers, rounds)),
            ("logs", lambda: outputs(managers, directory, rounds.logs)),
            ("families", lambda: _families(peers)),
            ("kills of the daemon", lambda: _daemon_killed(peers)),
        ):
            _say(what)
            lines += measure()
    for line in lines:
        line.words |= missing
    yield Matrix(
        title="Keeping programs running",
        programs=[kind.label for kind in MANAGERS],
        rows=lines,
        shares=[kind.label for kind in MANAGERS[1:3]],
        notes=[
            "Median [least - most]. Mainstay's memory, processor time and wakeups are those of daemon and keeper.",
            "PM2 alone does not rotate logs. A leak is seen at any moment of the 30 s after which PM2 looks again.",
            f"Load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        ],
    )


def _say(what: str) -> None:
    print(f"  ({what})", file=sys.stderr, flush=True)


def _apps(rounds: Rounds) -> Iterator[App]:
    yield App(name="one")
    yield App(name="fifty", instances=FIFTY)
    yield App(name="crash")
    yield App(name="delayed", restart_delay_s=1.0)
    yield App(name="leak", python=LEAKING, instances=rounds.leak, memory_limit_bytes=LIMIT_BYTES)
    yield App(name="hang", python=ALIVE, watchdog_s=WATCHDOG_S)
    yield App(name="silent")
    yield App(name="printing", python=PRINTING)
    yield App(name="family", script=FAMILY)


def _cold(kinds: Sequence[type[Manager]], directory: Path, rounds: int) -> Iterator[Line]:
    line = Line(label="cold: daemon and program, command to program runs", unit="ms")
    for _ in range(rounds):
        for kind in kinds:
            with managed(kind, directory, [App(name="one", autostart=True)]) as manager:
                began_s = time.perf_counter()
                manager.start("one")
                line.add(kind.label, 1000 * (manager.births.next("one").at_s - began_s))
    yield line


def _with_few(managers: Sequence[Manager]) -> Iterator[Line]:
    for manager in managers:
        manager.start("one")
    time.sleep(SETTLED_S)
    yield from _memory(managers, "1 program", at_most=(0.5, Pm2.label))
    for manager in managers:
        manager.stop("one")


def _memory(managers: Sequence[Manager], of: str, at_most: tuple[float, str]) -> Iterator[Line]:
    lines = [Line(label=f"{what} of the daemon, {of}", unit="MB") for what in ("RSS", "PSS", "USS")]
    lines[0].at_most = at_most
    for manager in managers:
        for line, *parts in zip(lines, *map(memory_mb, manager.pids), strict=True):
            line.add(manager.label, sum(parts))
    yield from lines


def _warm(managers: Sequence[Manager], rounds: int) -> Iterator[Line]:
    runs = Line(label="warm: command to program runs", unit="ms")
    returns = Line(label="warm: command to its return", unit="ms")
    for _ in range(rounds):
        for manager in managers:
            manager.births.flush()
            began_s = time.perf_counter()
            manager.start("one")
            returns.add(manager.label, 1000 * (time.perf_counter() - began_s))
            runs.add(manager.label, 1000 * (manager.births.next("one").at_s - began_s))
            manager.stop("one")
    yield from (runs, returns)


def _fifty(managers: Sequence[Manager], peers: Sequence[Manager], rounds: Rounds) -> Iterator[Line]:
    for manager in managers:
        manager.births.flush()
        manager.start("fifty")
        manager.births.next("fifty", FIFTY)
    time.sleep(SETTLED_S)
    yield from _memory(managers, f"{FIFTY} programs", at_most=(0.5, Pm2.label))
    yield from _idle(managers, rounds.idle_s)
    ended = Line(label=f"stop {FIFTY} obedient programs: command to all have ended", unit="s", budget=1.0)
    for number in range(rounds.stop):
        for manager in peers:
            pids = [birth.pid for birth in manager.births.all if birth.name == "fifty"][-FIFTY:]
            began_s = time.perf_counter()
            manager.stop("fifty")
            while any(map(alive, pids)):
                time.sleep(0.01)
            ended.add(manager.label, time.perf_counter() - began_s)
            if number + 1 < rounds.stop:
                manager.births.flush()
                manager.start("fifty")
                manager.births.next("fifty", FIFTY)
    for manager in set(managers) - set(peers):
        manager.stop("fifty")
    yield ended


def _idle(managers: Sequence[Manager], idle_s: float) -> Iterator[Line]:
    """Of all at the same time."""
    busy = Line(label=f"idle, {FIFTY} programs: of one core", unit="%", budget=0.3)
    woken = Line(label=f"idle, {FIFTY} programs: wakeups", unit="/s")
    before = {manager.label: (cpu_of(manager), wakeups_of(manager)) for manager in managers}
    time.sleep(idle_s)
    for manager in managers:
        busy_s, times = before[manager.label]
        busy.add(manager.label, 100 * (cpu_of(manager) - busy_s) / idle_s)
        woken.add(manager.label, (wakeups_of(manager) - times) / idle_s)
    yield from (busy, woken)


def cpu_of(manager: Manager) -> float:
    return sum(map(cpu_s, manager.pids))


def wakeups_of(manager: Manager) -> int:
    return sum(map(wakeups, manager.pids))


def _born(manager: Manager, name: str) -> int:
    """Start it; its pid."""
    manager.births.flush()
    manager.start(name)
    return manager.births.next(name).pid


def _crashes(managers: Sequence[Manager], rounds: int) -> Iterator[Line]:
    line = Line(label="crash (kill -9) to the next one runs", unit="ms", at_most=(1.2, Pm2.label))
    yield from _killed(managers, "crash", rounds, line, 0.0)


def _delays(managers: Sequence[Manager], rounds: int) -> Iterator[Line]:
    line = Line(label="too late for a restart delay of 1000 ms", unit="ms")
    line.words |= {manager.label: "no such setting" for manager in managers if not manager.has_restart_delay}
    able = [manager for manager in managers if manager.has_restart_delay]
    yield from _killed(able, "delayed", rounds, line, 1000.0)


def _killed(managers: Sequence[Manager], name: str, rounds: int, line: Line, less_ms: float) -> Iterator[Line]:
    pids = {manager.label: _born(manager, name) for manager in managers}
    for _ in range(rounds):
        time.sleep(UPTIME_S)
        for manager in managers:
            began_s = time.perf_counter()
            os.kill(pids[manager.label], signal.SIGKILL)
            birth = manager.births.next(name)
            pids[manager.label] = birth.pid
            line.add(manager.label, 1000 * (birth.at_s - began_s) - less_ms)
    for manager in managers:
        manager.stop(name)
    yield line


def _leaks_and_hangs(managers: Sequence[Manager], rounds: Rounds) -> Iterator[Line]:
    """Both are waiting; so the programs hang while the leaks wait to be seen."""
    leaks = Line(label="100 MB more than the limit to the next one runs", unit="s", budget=2.0)
    leaks.words |= {manager.label: "no limit of its own" for manager in managers if not manager.has_memory_limit}
    able = [manager for manager in managers if manager.has_memory_limit]
    leaking: dict[str, list[tuple[int, float]]] = {}
    for manager in able:
        manager.births.flush()
        manager.start("leak")
        manager.births.next("leak", rounds.leak)
        leaking[manager.label] = [(b.pid, 0.0) for b in manager.births.all if b.name == "leak"][-rounds.leak :]
    time.sleep(SETTLED_S)
    began_s = time.perf_counter()
    for number in range(rounds.leak):
        time.sleep(max(0.0, began_s + number * (PM2_LOOKS_EVERY_S + 1) / rounds.leak - time.perf_counter()))
        for manager in able:
            pid, _ = leaking[manager.label][number]
            leaking[manager.label][number] = (pid, time.perf_counter())
            os.kill(pid, signal.SIGUSR1)
    hangs = _hangs(managers, rounds.hang)
    for manager in able:
        for _, at_s in leaking[manager.label]:  # who leaks first is seen first, or together with the others
            leaks.add(manager.label, manager.births.next("leak").at_s - at_s)
        manager.stop("leak")
    watched_s = time.perf_counter() - began_s
    for manager in managers:
        if not manager.has_watchdog:
            seen = manager.births.has("hang")
            hangs.words[manager.label] = "started again" if seen else f"not in {watched_s:.0f} s: no watchdog"
        manager.stop("hang")
    yield from (leaks, hangs)


def _hangs(managers: Sequence[Manager], rounds: int) -> Line:
    """Those without a watchdog are given time; who calls looks whether that has changed something."""
    label = f"stopped (SIGSTOP), with a watchdog of {WATCHDOG_S:g} s, to the next one runs"
    line = Line(label=label, unit="s", budget=WATCHDOG_S + 0.5)
    pids = {}
    for manager in managers:
        manager.start("hang")
        pids[manager.label] = manager.births.next("hang").pid
    time.sleep(SETTLED_S)
    for manager in managers:
        if not manager.has_watchdog:
            os.kill(pids[manager.label], signal.SIGSTOP)
            continue
        for _ in range(rounds):
            began_s = time.perf_counter()
            os.kill(pids[manager.label], signal.SIGSTOP)
            birth = manager.births.next("hang")
            pids[manager.label] = birth.pid
            line.add(manager.label, birth.at_s - began_s)
            time.sleep(0.5)  # until it has said for the first time that it is alive
    return line


def _families(managers: Sequence[Manager]) -> Iterator[Line]:
    """Of a program with two children, one of them in a session of its own."""
    told = Line(label="stop: what is left of its children")
    killed = Line(label="kill -9 of the program: what is left of its children")
    for manager in managers:
        for line in (told, killed):
            family = _started_family(manager)
            if line is told:
                manager.stop("family")
            else:
                os.kill(family["family"], signal.SIGKILL)
                manager.births.next("family")
            time.sleep(AFTERWARDS_S)
            left = [name for name in ("plain", "setsid") if alive(family[f"family-{name}"])]
            line.words[manager.label] = " and ".join(left) or "nothing"
            for name in left:
                os.kill(family[f"family-{name}"], signal.SIGKILL)
            manager.stop("family")
    yield from (told, killed)


def _started_family(manager: Manager) -> dict[str, int]:
    manager.births.flush()
    manager.start("family")
    return {name: manager.births.next(name).pid for name in ("family", "family-plain", "family-setsid")}


def _daemon_killed(managers: Sequence[Manager]) -> Iterator[Line]:
    names = ("silent", "printing")
    survives = {name: Line(label=f"kill -9 of the daemon: a {name} program") for name in names}
    copies = {name: Line(label=f"the daemon started again: copies of the {name} program") for name in names}
    for manager in managers:
        before = {}
        for name in names:
            manager.births.flush()
            manager.start(name)
            before[name] = manager.births.next(name).pid
        if isinstance(manager, Pm2):
            manager.save()
        os.kill(manager.pids[0], signal.SIGKILL)
        time.sleep(AFTERWARDS_S)
        for name in names:
            survives[name].words[manager.label] = "runs on" if alive(before[name]) else "dies"
        manager.bring_back()
        time.sleep(AFTERWARDS_S)
        manager.births.flush()
        for name in names:
            running = {birth.pid for birth in manager.births.all if birth.name == name and alive(birth.pid)}
            same = "the same process" if running == {before[name]} else ""
            copies[name].words[manager.label] = f"{len(running)} {same}".strip()
    yield from (*survives.values(), *copies.values())
