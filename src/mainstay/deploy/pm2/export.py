"""What would PM2 have to be told, to keep our apps?

Pure. What PM2 does otherwise, or can not do, is in the report.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from mainstay.deploy.pm2.model import READY_BY_MESSAGE, Entry, Export, Verdict

__all__ = ["ecosystem"]

Value = str | int | bool | Sequence[str] | Sequence[int] | Mapping[str, str]

_LEAST_UPTIME_MS: Final = 100
_SIGNAL: Final = "PM2 has one signal for all apps: start it with PM2_KILL_SIGNAL={}"
_LEFT_OUT: Final = "{} left out: PM2 passes its own environment on, so set it before `pm2 start`"
_NOT_SO: Final = "PM2 has nothing like it"


def ecosystem(apps: Sequence[Export]) -> tuple[Mapping[str, object], Sequence[Entry]]:
    """The content of an ``ecosystem.config.json``, and what became of the settings that PM2 takes otherwise."""
    made = [_Exported(app) for app in apps]
    return {"apps": [each.written for each in made]}, [entry for each in made for entry in each.entries]


class _Exported:
    """One app."""

    def __init__(self, app: Export) -> None:
        self.app = app
        self.entries: list[Entry] = []
        self.written: dict[str, Value] = dict(self._program())
        self.written |= self._restarts()
        self.written |= self._end_and_readiness()
        self.written |= self._logs()
        for name in app.others:
            self._note(name, Verdict.UNSUPPORTED, note=_NOT_SO)

    def _note(self, key: str, verdict: Verdict, becomes: str = "", note: str = "") -> None:
        self.entries.append(Entry(app=self.app.name, key=key, verdict=verdict, becomes=becomes, note=note))

    def _program(self) -> Iterator[tuple[str, Value]]:
        app = self.app
        program, *arguments = app.command
        cwd = posixpath.normpath(posixpath.join(app.directory, app.cwd))
        # A script with a space would be a line for the shell.
        yield from (
            ("name", app.name),
            ("script", program if " " not in program else "env"),
            ("interpreter", "none"),
        )
        yield "args", [*([program] if " " in program else []), *arguments]
        yield "cwd", cwd
        # Without a mode, PM2 takes any program whose interpreter is node for one of a cluster.
        yield from (("exec_mode", "fork"), ("instances", app.instances))
        if app.env:
            yield "env", dict(app.env)
        for key, value in (
            ("instance_var", app.instance_var),
            ("increment_var", app.increment_var),
            ("uid", app.user),
            ("gid", app.group),
        ):
            if value and (key, value) != ("instance_var", "NODE_APP_INSTANCE"):
                yield key, value
        if app.secrets:
            self._note("env", Verdict.CHANGED, "env", _LEFT_OUT.format(", ".join(app.secrets)))

    def _restarts(self) -> Iterator[tuple[str, Value]]:
        app = self.app
        yield from (("autostart", app.autostart), ("autorestart", app.autorestart))
        if app.stop_exit_codes:
            yield "stop_exit_codes", list(app.stop_exit_codes)
        yield "max_restarts", app.max_restarts
        yield "min_uptime", max(_LEAST_UPTIME_MS, _milliseconds(app.min_uptime))
        if app.restart_delay:
            yield "restart_delay", _milliseconds(app.restart_delay)
            self._note("restart_delay", Verdict.CHANGED, "restart_delay", "it does not grow there")
        else:
            yield "exp_backoff_restart_delay", max(1, _milliseconds(app.backoff_base))
            self._note("backoff_base", Verdict.CHANGED, "exp_backoff_restart_delay", "grows by half, up to 15 s")
        if app.memory_limit is not None:
            yield "max_memory_restart", app.memory_limit
            self._note(
                "memory_limit", Verdict.CHANGED, "max_memory_restart", "of the first process only, every 30 s"
            )
        if app.cron_restart:
            yield "cron_restart", app.cron_restart

    def _end_and_readiness(self) -> Iterator[tuple[str, Value]]:
        app = self.app
        yield "kill_timeout", _milliseconds(app.stop_timeout)
        if app.stop_signal != "SIGINT":
            self._note("stop_signal", Verdict.CHANGED, note=_SIGNAL.format(app.stop_signal))
        if app.ready == READY_BY_MESSAGE:
            yield from (("wait_ready", True), ("listen_timeout", _milliseconds(app.ready_timeout)))
        elif app.ready != "started":
            self._note(
                "ready", Verdict.UNSUPPORTED, note="PM2 knows node's message only: ready once it has started"
            )

    def _logs(self) -> Iterator[tuple[str, Value]]:
        app = self.app
        if app.log_timestamps:
            yield "time", True
        for key in ("out_file", "error_file"):
            path = app.out_file if app.log_combined else getattr(app, key)
            if path:
                yield key, posixpath.normpath(posixpath.join(app.directory, path))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
