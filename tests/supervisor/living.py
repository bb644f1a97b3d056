"""How is a day of supervised programs lived through?

A project directory with troublemakers in it, the daemon as a process of its own that is killed and started again,
and a journal of what was done when, for whoever has to find out what went wrong.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.supervisor.day import APPS, Deed
from tests.supervisor.witness import Ask, Evidence, Problem, Witness, logged, marked, now_s, states

from mainstay.errors import MainstayError
from mainstay.supervisor.client import Daemon

__all__ = ["Day", "told"]

PATIENCE_S = 60.0
ALL = {
    "autostart": True,
    "max_restarts": 100_000,
    "restart_intensity": 1000,
    "restart_period": "1h",
    "backoff_base": "20ms",
    "backoff_cap": "200ms",
    "stop_timeout": "1s",
    "log_max_size": "200KB",
    "log_keep": 1_000_000,
}
TOLD = ("exit", "die", "hang", "leak", "flood", "away", "deaf")
AROUND_S = 4.0


@dataclass
class Day:
    """One day in one directory."""

    directory: Path
    journal: list[tuple[float, str]] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    up: list[tuple[float, float]] = field(default_factory=list)
    commands: int = 0

    def __post_init__(self) -> None:
        self.home = self.directory / ".mainstay"
        for name in ("runs", "told"):
            (self.directory / name).mkdir()
        program = [
            sys.executable,
            "-I",
            "-S",
            str(Path(__file__).with_name("troublemaker.py")),
            str(self.directory),
        ]
        lines = []
        for name, settings in APPS.items():
            command = [*program, "once"] if name == "loop" else program
            lines.append(f"[apps.{name}]")
            lines += [
                f"{key} = {json.dumps(value)}" for key, value in {"command": command, **ALL, **settings}.items()
            ]
        (self.directory / "mainstay.toml").write_text("\n".join(lines))
        self.witness = Witness(self.directory)
        self.daemon: subprocess.Popen[bytes] | None = None

    def live(self, deeds: Iterable[Deed]) -> Evidence:
        """All of it; returns what was seen."""
        self.witness.start()
        try:
            self._start_daemon()
            self._ask("start", "")
            began_s = now_s()
            for deed in deeds:
                time.sleep(max(0.0, began_s + deed.at_s - now_s()))
                self._do(deed)
            settled = self._settled()
            self._ask("kill", "")
            assert self.daemon is not None
            self.daemon.wait(PATIENCE_S)
            self.up[-1] = (self.up[-1][0], now_s())
            left = list(marked(self.home))
        finally:
            self._end()
        runs, zombies = self.witness.testimony()
        logs = {name: logged(self.home / "logs" / f"{name.replace(':', '-')}.out.log") for name in settled}
        return Evidence(
            runs=runs,
            asks=self.asks,
            up=self.up,
            late=self.witness.late,
            zombies=zombies,
            left=left,
            states=settled,
            logs=logs,
        )

    def note(self, what: str) -> None:
        self.journal.append((now_s(), what))

    def _do(self, deed: Deed) -> None:
        self.note(f"{deed.verb} {deed.name} {deed.argument:g}")
        if deed.verb in TOLD:
            self.commands += 1
            fresh = self.directory / "told" / f"{deed.name}.new"
            fresh.write_text(f"{self.commands} {deed.verb} {deed.argument:g}")
            fresh.replace(self.directory / "told" / deed.name)
        elif deed.verb in ("kill", "freeze"):
            self._strike(deed.name, signal.SIGKILL if deed.verb == "kill" else signal.SIGSTOP)
        elif deed.verb == "daemon":
            self._kill_daemon()
            for then in deed.meanwhile:
                self._do(then)
            time.sleep(deed.argument)
            self._start_daemon()
        else:
            self._ask(deed.verb, deed.name)

    def _strike(self, name: str, number: signal.Signals) -> None:
        run = self.witness.running(name)
        if run is None:
            self.note(f"  {name} does not run")
            return
        run.struck = True
        if number is signal.SIGSTOP:
            run.frozen_s = now_s()
        with suppress(ProcessLookupError):
            os.kill(run.pid, number)
        self.note(f"  {name} {run.id}: {number.name}")

    def _ask(self, verb: str, name: str) -> None:
        from_s = now_s()
        answer: list[dict[str, object]] = []
        with Daemon(self.home) as talk:
            try:
                answer = talk.ask(verb, names=[name] if name else [], timeout_s=PATIENCE_S)
            except MainstayError as error:
                if verb != "reload":  # its successor may have been struck, and what ran before goes on
                    raise
                self.note(f"  {error}")
        self.asks.append(Ask(verb=verb, name=name, from_s=from_s, to_s=now_s()))
        self.note(f"  {verb} {name}: {states(answer) if answer else 'done'}")

    def _settled(self) -> dict[str, str]:
        """The states, once each is one that lasts; else as they are after a while."""
        until_s = now_s() + PATIENCE_S
        while True:
            with Daemon(self.home) as talk:
                found = states(talk.ask("list"))
            is_over = set(found.values()) <= {"ready", "errored", "stopped"} and found["loop:0"] != "ready"
            if is_over or now_s() > until_s:
                return found
            time.sleep(0.1)

    def _start_daemon(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
        with (self.directory / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [sys.executable, "-P", "-m", "mainstay", "daemon"],
                cwd=self.directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until_s = now_s() + PATIENCE_S
        while not (listening := self._listening()):
            assert self.daemon.poll() is None, (self.directory / "daemon.log").read_text()[-2000:]
            assert now_s() < until_s, "the daemon does not start"
            time.sleep(0.01)
        self.up.append((now_s(), float("inf")))
        self.witness.parents = listening
        self.note(f"  the daemon is {self.daemon.pid}")

    def _listening(self) -> set[int]:
        """The daemon and its keeper, once the daemon answers; nobody before that."""
        assert self.daemon is not None
        with suppress(MainstayError), Daemon(self.home):
            for _, line in self._lifecycle():
                if line["what"] == "daemon" and line["pid"] == self.daemon.pid:
                    return {int(str(line["pid"])), int(str(line["keeper"]))}
        return set()

    def _kill_daemon(self) -> None:
        assert self.daemon is not None
        self.up[-1:] = [(up_s, now_s()) for up_s, _ in self.up[-1:]]
        self.daemon.kill()
        self.daemon.wait()

    def _end(self) -> None:
        """Whatever has gone wrong, nothing of it stays."""
        if self.daemon is not None and self.daemon.poll() is None:
            self._kill_daemon()
        for _ in range(3):
            for each in list(marked(self.home)):
                with suppress(ProcessLookupError):
                    os.kill(int(each.split()[0]), signal.SIGKILL)
            time.sleep(0.1)
        self.witness.stop()

    def _lifecycle(self) -> list[tuple[float, dict[str, object]]]:
        ago_s = time.time() - now_s()
        path = self.home / "lifecycle.log"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [(datetime.fromisoformat(line["at"]).astimezone(UTC).timestamp() - ago_s, line) for line in lines]

    def around(self, at_s: float) -> str:
        """What was done, and what the daemon has done, at that time."""
        lines = [*self.journal, *((when, f"    {line}") for when, line in self._lifecycle())]
        near = sorted((when, what) for when, what in lines if abs(when - at_s) < AROUND_S)
        return "\n".join(f"{when - self.up[0][0]:9.3f} {what}" for when, what in near)


def told(day: Day, seed: int, problems: list[Problem]) -> str:
    """For whoever has to find out."""
    began_s = day.up[0][0]
    lines = [f"{at_s - began_s:9.3f} {what}" for at_s, what in problems[:20]]
    return f"seed {seed}, {len(problems)} problems:\n" + "\n".join(lines) + f"\n\n{day.around(problems[0][0])}"
