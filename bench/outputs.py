"""What becomes of 200 MB that a program writes as fast as it can, and of Chinese text?"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench.children import App
from bench.managers import Manager
from bench.matrix import Line
from bench.watched import cpu_s

__all__ = ["ROTATE_BYTES", "output_apps", "outputs"]

LINES = 2_100_000
FILLER = b" " + b"the quick brown fox jumps over the lazy dog, again and again; " + b"x" * 24 + b"\n"
ROTATE_BYTES = 20_000_000
CHINESE = "你好，世界：日志里的每一个字都要完整地保存下来。\n"
CHINESE_BYTES = 25_500_000
QUIET_S = 2.5
LONGEST_S = 60.0


def output_apps(directory: Path, rounds: int) -> Iterator[App]:
    """Of each kind so many, so that each round has a log of its own."""
    numbered, chinese = directory / "numbered", directory / "chinese"
    numbered.write_bytes(b"".join(b"%07d" % each + FILLER for each in range(LINES)))
    chinese.write_text(CHINESE * (CHINESE_BYTES // len(CHINESE.encode())))
    for number in range(rounds):
        for name, timestamps in (("raw", False), ("stamped", True)):
            yield App(
                name=f"{name}{number}",
                script=f"cat {numbered}\nexec sleep 100000\n",
                rotate_bytes=ROTATE_BYTES,
                timestamps=timestamps,
            )
    yield App(name="chinese", script=f"cat {chinese}\nexec sleep 100000\n")


def outputs(managers: list[Manager], directory: Path, rounds: int) -> Iterator[Line]:
    """By turns, each alone on the machine."""
    whole = (directory / "numbered").read_bytes()
    for name, what in (("raw", ""), ("stamped", ", with timestamps")):
        seconds = Line(label=f"200 MB of logs{what}, rotated at 20 MB", unit="s")
        taken = Line(label=f"200 MB of logs{what}: processor time of the manager", unit="s")
        lost, cut = (Line(label=f"200 MB of logs{what}: lines {how}", unit="") for how in ("lost", "cut or joined"))
        if name == "raw":
            seconds.at_most = (1.5, "supervisord")
        for number in range(rounds):
            for manager in managers:
                if name == "stamped" and not manager.has_timestamps:
                    for line in (seconds, taken, lost, cut):
                        line.words[manager.label] = "not measured"
                    continue
                app = f"{name}{number}"
                wall_s, busy_s = _flooded(manager, app, len(whole))
                seconds.add(manager.label, wall_s)
                taken.add(manager.label, busy_s)
                missing, broken = _compared(_read(manager, app), whole)
                lost.add(manager.label, missing)
                cut.add(manager.label, broken)
                _forget(manager, app)
        yield from (seconds, taken, lost, cut)
    yield _chinese(managers, (directory / "chinese").read_bytes())


def _flooded(manager: Manager, app: str, size: int) -> tuple[float, float]:
    """Seconds from the program's begin to the last growth of its logs, and the manager's processor time for it."""
    before_s = sum(map(cpu_s, manager.pids))
    manager.births.flush()
    manager.start(app)
    began_s = grown_s = manager.births.next(app).at_s
    reached = 0
    while time.perf_counter() - grown_s < QUIET_S and time.perf_counter() - began_s < LONGEST_S:
        now = _size(manager, app)
        if now != reached:
            reached, grown_s = now, time.perf_counter()
        if reached == size:
            break
        time.sleep(0.01)
    return grown_s - began_s, sum(map(cpu_s, manager.pids)) - before_s


def _size(manager: Manager, app: str) -> int:
    found = 0
    for path in manager.logs(app):
        try:
            found += path.stat().st_size
        except FileNotFoundError:  # it is just being put aside
            return -1
    return found


def _read(manager: Manager, app: str) -> bytes:
    return b"".join(path.read_bytes() for path in manager.logs(app))


def _forget(manager: Manager, app: str) -> None:
    """The disk is not for ever; who still writes there may."""
    manager.stop(app)
    for path in manager.logs(app):
        os.truncate(path, 0)


def _compared(got: bytes, whole: bytes) -> tuple[int, int]:
    """How many lines are missing, and how many are there that nobody wrote so."""
    if got == whole:
        return 0, 0
    width = 7 + len(FILLER) - 1
    seen, broken = set(), 0
    for line in got.splitlines():
        tail = line[-width:]
        number = tail[:7]
        if tail[7:] == FILLER[:-1] and number.isdigit() and len(line) - width < 40:
            seen.add(number)
        else:
            broken += 1
    return LINES - len(seen), broken


def _chinese(managers: list[Manager], whole: bytes) -> Line:
    line = Line(label="25.5 MB of Chinese text")
    for manager in managers:
        _flooded(manager, "chinese", len(whole))
        got = _read(manager, "chinese")
        if got == whole:
            line.words[manager.label] = "exact"
            continue
        good = CHINESE.strip().encode()
        bad = sum(each != good for each in got.splitlines())
        line.words[manager.label] = f"{got.count('�'.encode())} U+FFFD, {bad} bad lines"
    return line
