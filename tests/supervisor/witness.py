"""What has become of the programs, seen from outside: by /proc, by their own records, and by their logs?

`Witness` looks on from a thread of its own while a day goes by. `judge` says what should not have been. Where it
depends on how fast something was, the time for which the witness itself was kept from looking does not count.
"""

import gzip
import os
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.supervisor.day import LIMITS, READY_S, WATCHDOG_S
from tests.supervisor.troublemaker import RECORD

__all__ = ["Ask", "Evidence", "Problem", "Run", "Witness", "judge", "marked", "now_s"]

LOOK_S = 0.1
ZOMBIE_S = 3.0
BOUND_S = 3.0  # for what takes no time but that of this machine
SWEEP_S = 6.0
LINE = re.compile(rb"(\S+) (\d+\.\d+) (\d{8}) x{0,89}\.")

Problem = tuple[float, str]


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(kw_only=True)
class Run:
    """One process: of an app, or of somebody who has left its session.

    Attributes:
        began_s, alive_s: by its own record.
        meant, done: lines that it may have written, and lines that it has.
        command: the number of what it was told to end by; 0 if it was not.
        hung_s: since when it hangs; 0 if it does not.
        seen_s, gone_s: when it was seen alive for the last time, and found to be gone.
        struck: whether we have sent it a signal that ends or stops it.
        frozen_s: since when it is stopped by that.
    """

    kind: str
    name: str
    id: str
    began_s: float = 0.0
    alive_s: float = 0.0
    meant: int = 0
    done: int = 0
    command: int = 0
    hung_s: float = 0.0
    seen_s: float = 0.0
    gone_s: float = 0.0
    struck: bool = False
    frozen_s: float = 0.0

    @property
    def pid(self) -> int:
        return int(self.id.partition(".")[0])

    @property
    def last_s(self) -> float:
        return max(self.alive_s, self.seen_s)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a user has asked for, from when to when."""

    verb: str
    name: str
    from_s: float
    to_s: float


@dataclass(kw_only=True)
class Evidence:
    """Of one day, after the end of everything.

    Attributes:
        up: from when to when there was a daemon, each time.
        late: when the witness could not look, and for how long.
        zombies: children of the keeper or the daemon that were not reaped.
        left: what was there after the end.
        states: of the instances at the end of the day.
    """

    runs: list[Run]
    asks: list[Ask]
    up: list[tuple[float, float]]
    late: list[tuple[float, float]]
    zombies: list[Problem]
    left: list[str]
    states: dict[str, str]
    logs: dict[str, bytes] = field(repr=False)

    def of(self, name: str) -> list[Run]:
        return sorted(
            (run for run in self.runs if (run.kind, run.name) == ("run", name)), key=lambda run: run.began_s
        )

    @property
    def names(self) -> list[str]:
        return sorted({run.name for run in self.runs})

    def allowed_s(self, since_s: float, seconds: float) -> float:
        """Until when something has to be over that takes so long while there is a daemon, and a machine for it.

        A daemon that comes after another one begins to wait anew; where each was killed too soon, for ever.
        """
        for up_s, down_s in self.up:
            from_s = max(since_s, up_s)
            late = (took_s for at_s, took_s in self.late if at_s <= from_s + seconds and at_s + took_s >= from_s)
            until_s = from_s + seconds + sum(late)
            if until_s <= down_s:
                return until_s
        return float("inf")


def alive(run: Run) -> bool:
    try:
        fields = Path(f"/proc/{run.pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[19].decode() == run.id.partition(".")[2] and fields[0] not in (b"Z", b"X")


def marked(home: Path) -> Iterator[str]:
    """Processes that say that they belong to an instance of this home, or are of its own."""
    for entry in Path("/proc").iterdir():
        try:
            environ, words = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"@{home}\0".encode() in environ or os.fsencode(home) in words:
            yield f"{entry.name} {b' '.join(words).decode(errors='replace')}"


class Witness:
    """Looks on, from `start` to `stop`.

    Attributes:
        parents: those who have to reap: the keeper and the daemon.
    """

    def __init__(self, directory: Path) -> None:
        self.runs: dict[str, Run] = {}
        self.late: list[tuple[float, float]] = []
        self.zombies: dict[tuple[str, bytes], list[float]] = {}
        self.parents: set[int] = set()
        self._records = directory / "runs"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self._lock = threading.Lock()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        self.look()

    def running(self, name: str) -> Run | None:
        """The run of this instance that is alive now."""
        self.look()
        return next(
            (run for run in self.runs.values() if run.kind == "run" and run.name == name and not run.gone_s), None
        )

    def _look_on(self) -> None:
        looked_s = now_s()
        while not self._over.wait(LOOK_S):
            began_s = now_s()
            if began_s - looked_s > 2 * LOOK_S:
                self.late.append((looked_s, began_s - looked_s))
            self.look()
            looked_s = began_s

    def look(self) -> None:
        with self._lock:
            self._look()

    def _look(self) -> None:
        for path in self._records.iterdir():
            if path.name not in self.runs and path.suffix != ".new":
                kind, name, pid, tick = path.name.split(".")
                self.runs[path.name] = Run(kind=kind, name=name, id=f"{pid}.{tick}")
        for run in self.runs.values():
            if not run.gone_s:
                at_s = now_s()
                if alive(run):
                    run.seen_s = at_s
                else:
                    run.gone_s = now_s()
        for parent in self.parents:
            self._look_for_zombies(parent)

    def _look_for_zombies(self, parent: int) -> None:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            return
        for child in children:
            try:
                fields = Path(f"/proc/{child}/stat").read_bytes().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] == b"Z":
                self.zombies.setdefault((child, fields[19]), [now_s()]).append(now_s())

    def testimony(self) -> tuple[list[Run], list[Problem]]:
        """The runs with their records, and the zombies that stayed."""
        for name, run in self.runs.items():
            record = RECORD.unpack((self._records / name).read_bytes())
            run.began_s, run.alive_s, run.meant, run.done, run.command, run.hung_s = record
        stayed = [
            (seen[0], f"{key[0]} stayed a zombie")
            for key, seen in self.zombies.items()
            if seen[-1] - seen[0] > ZOMBIE_S
        ]
        return list(self.runs.values()), stayed


def logged(path: Path) -> bytes:
    """All that is in a log, whatever was put aside and compressed."""
    found = b""
    for part in sorted(path.parent.glob(f"{path.name}.*")):
        if part.suffix == ".gz":
            found += b"" if part.with_suffix("").exists() else gzip.decompress(part.read_bytes())
        elif part.suffix != ".part":
            found += part.read_bytes()
    return found + (path.read_bytes() if path.exists() else b"")


def judge(seen: Evidence) -> list[Problem]:
    """What should not have been, and when."""
    problems = [*seen.zombies, *((seen.up[-1][1], f"{each} is left after the end") for each in seen.left)]
    for name in seen.names:
        problems += [
            *_lines(name, seen.of(name), seen.logs.get(name, b"")),
            *_one_at_a_time(name, seen),
            *_ends(name, seen),
            *_begins(name, seen),
            *_hangs(name, seen),
        ]
    return sorted([*problems, *_left_behind(seen)])


def _lines(name: str, runs: Iterable[Run], log: bytes) -> Iterator[Problem]:
    """Each run's lines are there once, whole, in order, up to the last one that it had written."""
    numbers: Mapping[str, list[int]] = defaultdict(list)
    at_s = max((run.began_s for run in runs), default=0.0)
    *lines, rest = log.split(b"\n")
    for line in [*lines, *([rest] if rest else [])]:
        match = LINE.fullmatch(line)
        if match is None or match[1].decode() != name:
            yield at_s, f"a line of {name} is not whole: {line[:150]!r}"
        else:
            numbers[match[2].decode()].append(int(match[3]))
    for run in runs:
        found = numbers[run.id]
        if found != list(range(len(found))):
            wrong = next(at for at, number in enumerate(found) if at != number)
            yield run.began_s, f"after line {wrong - 1} of {name} {run.id} comes line {found[wrong]}"
        elif not run.done <= len(found) <= run.meant:
            yield (
                run.last_s,
                f"{name} {run.id} has written {run.done} to {run.meant} lines, in its log are {len(found)}",
            )


def _one_at_a_time(name: str, seen: Evidence) -> Iterator[Problem]:
    runs = seen.of(name)
    for earlier, later in pairwise(runs):
        overlaps = later.began_s < earlier.last_s
        if overlaps and not any(_touches(ask, later) for ask in seen.asks if ask.verb == "reload"):
            yield later.began_s, f"{name} {later.id} runs beside {earlier.id}"


def _touches(ask: Ask, run: Run) -> bool:
    return ask.name in (run.name, "") and ask.from_s <= run.gone_s and ask.to_s + BOUND_S >= run.began_s


def _ends(name: str, seen: Evidence) -> Iterator[Problem]:
    """Nothing ends but for a reason, of which the death of a daemon is none."""
    for run in seen.of(name):
        asked = any(_touches(ask, run) for ask in seen.asks if ask.verb in ("stop", "restart", "reload", "kill"))
        unheard = name.startswith("web") and run.gone_s - run.alive_s > 0.9 * WATCHDOG_S  # it got no time
        if not (asked or unheard or run.command or run.struck or name.startswith("loop")):
            yield run.gone_s, f"{name} {run.id} has ended for no reason"


def _begins(name: str, seen: Evidence) -> Iterator[Problem]:
    """Nothing begins that is stopped, and nothing too often."""
    asks = sorted((ask for ask in seen.asks if ask.name == name), key=lambda ask: ask.from_s)
    runs = seen.of(name)
    for number, ask in enumerate(asks):
        until_s = next((each.from_s for each in asks[number + 1 :] if each.verb != "stop"), float("inf"))
        for run in runs:
            if ask.verb == "stop" and ask.to_s < run.began_s < until_s:
                yield run.began_s, f"{name} {run.id} begins although it was stopped"
            if ask.verb == "stop" and run.began_s < ask.to_s < run.alive_s:
                yield ask.to_s, f"{name} {run.id} runs on although it was stopped"
    limit = LIMITS.get(name.partition(":")[0])
    if limit is not None:
        starts_s = [float("-inf"), *(ask.from_s for ask in asks if ask.verb == "start"), float("inf")]
        for from_s, to_s in pairwise(starts_s):
            count = sum(from_s <= run.began_s < to_s for run in runs)
            if count > 1 + limit:
                yield from_s, f"{name} was started {count} times, where only {limit} restarts are allowed"


def _hangs(name: str, seen: Evidence) -> Iterator[Problem]:
    for run in seen.of(name):
        hung_s = run.hung_s or run.frozen_s
        heard = any(up_s <= run.began_s and hung_s <= down_s for up_s, down_s in seen.up)
        patience_s = WATCHDOG_S if heard else READY_S  # where "ready" may be lost, it is waited for
        if hung_s and run.gone_s > seen.allowed_s(hung_s, patience_s + BOUND_S):
            yield hung_s, f"{name} {run.id} hung, and was there for {run.gone_s - hung_s:.2f} s"


def _left_behind(seen: Evidence) -> Iterator[Problem]:
    """Whoever has left the session of a run is gone soon after it."""
    for away in (run for run in seen.runs if run.kind == "away"):
        owners = [run for run in seen.of(away.name) if run.began_s < away.began_s]
        if owners and away.gone_s > seen.allowed_s(owners[-1].gone_s, SWEEP_S):
            yield owners[-1].gone_s, f"{away.pid}, which {away.name} {owners[-1].id} has started, was left"


def states(listed: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {each["name"]: each["state"] for each in listed}
