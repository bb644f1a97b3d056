"""How is each process manager configured, commanded and ended?

All of them get the same programs, from homes of their own in one directory, which is removed in the end with every
process that carries its mark.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from bench.children import App, Births, write_program

__all__ = ["MANAGERS", "Mainstay", "Manager", "Pm2", "Pm2Logrotate", "Supervisord", "alive", "managed"]

BIN = Path(sys.executable).parent
PM2_BIN = BIN.parent / "peers" / "node_modules" / ".bin" / "pm2"
MARK = "MAINSTAY_BENCH"
COMMAND_S = 120.0
ENDS_S = 15.0


def alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Manager(ABC):
    """One of them, with a home and programs."""

    label: ClassVar[str]
    has_memory_limit: ClassVar[bool] = True
    has_restart_delay: ClassVar[bool] = True
    has_watchdog: ClassVar[bool] = False
    has_timestamps: ClassVar[bool] = True

    def __init__(self, home: Path, apps: Sequence[App]) -> None:
        self.home = home
        home.mkdir()
        self.births = Births(home / "births")
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
        self.environ |= {MARK: str(home), "PM2_HOME": str(home), "PM2_DISCRETE_MODE": "true"}
        self.apps = {app.name: app for app in apps}
        python = os.path.realpath(sys.executable)
        self.commands = {app.name: write_program(app, home, home / "births", python) for app in apps}
        self.configure()

    @staticmethod
    @abstractmethod
    def missing() -> str:
        """Why it can not be measured here; empty if it can."""

    @abstractmethod
    def configure(self) -> None: ...

    @abstractmethod
    def bring_up(self) -> None:
        """Start the daemon, and no program."""

    @abstractmethod
    def start(self, name: str) -> None:
        """Type what starts this app, and the daemon if none runs; returns when the command does."""

    @abstractmethod
    def stop(self, name: str) -> None: ...

    @abstractmethod
    def bring_back(self) -> None:
        """Type what one types when the daemon was killed."""

    @abstractmethod
    def end(self) -> None:
        """Type what ends the daemon, and everything."""

    @property
    @abstractmethod
    def pids(self) -> list[int]:
        """Of its own processes, the daemon's first."""

    @abstractmethod
    def logs(self, name: str) -> list[Path]:
        """Where the output of the app is, oldest first."""

    def type(self, *words: str | Path, check: bool = True) -> None:
        done = subprocess.run(
            words,
            cwd=self.home,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_S,
            check=False,
        )
        if check and done.returncode:
            raise RuntimeError(f"{words} ended with {done.returncode}: {done.stdout.decode()[-1000:]}")


class Mainstay(Manager):
    label = "Mainstay"
    has_watchdog = True

    @staticmethod
    def missing() -> str:
        return ""

    def configure(self) -> None:
        lines = []
        for app in self.apps.values():
            settings: dict[str, object] = {
                "command": self.commands[app.name],
                "instances": app.instances,
                "autostart": app.autostart,
                "autorestart": app.autorestart,
                "max_restarts": 1000,
                "restart_intensity": 1000,
                "restart_delay": f"{app.restart_delay_s}s",
                "stable_after": "200ms",
                "log_max_size": app.rotate_bytes or 10**9,
                "log_keep": 100,
                "log_compress": False,
                "log_timestamps": app.timestamps,
            }
            if app.memory_limit_bytes:
                settings["memory_limit"] = app.memory_limit_bytes
            if app.watchdog_s:
                settings["watchdog"] = f"{app.watchdog_s}s"
            lines += [f"[apps.{app.name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        (self.home / "mainstay.toml").write_text("\n".join(lines))

    def bring_up(self) -> None:
        self.type(BIN / "mainstay", "start")

    def start(self, name: str) -> None:
        self.type(BIN / "mainstay", "start", name)

    def stop(self, name: str) -> None:
        self.type(BIN / "mainstay", "stop", name)

    def bring_back(self) -> None:
        self.bring_up()

    def end(self) -> None:
        self.type(BIN / "mainstay", "kill", check=False)

    @property
    def pids(self) -> list[int]:
        lines = (self.home / ".mainstay" / "lifecycle.log").read_text().splitlines()
        last = [line for line in map(json.loads, lines) if line["what"] == "daemon"][-1]
        return [last["pid"], last["keeper"]]

    def logs(self, name: str) -> list[Path]:
        path = self.home / ".mainstay" / "logs" / f"{name}-0.out.log"
        return [*sorted(path.parent.glob(f"{path.name}.*")), *([path] if path.exists() else [])]


class Supervisord(Manager):
    label = "supervisord"
    has_memory_limit = has_restart_delay = has_timestamps = False

    @staticmethod
    def missing() -> str:
        return "" if (BIN / "supervisord").exists() else "not installed"

    def configure(self) -> None:
        lines = [
            *("[supervisord]", "logfile=supervisord.log", "pidfile=supervisord.pid"),
            *("[unix_http_server]", "file=supervisor.sock"),
            *("[supervisorctl]", f"serverurl=unix://{self.home}/supervisor.sock"),
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for app in self.apps.values():
            lines += [
                f"[program:{app.name}]",
                f"command={' '.join(self.commands[app.name])}",
                f"numprocs={app.instances}",
                *(["process_name=%(program_name)s_%(process_num)02d"] if app.instances > 1 else []),
                f"autostart={'true' if app.autostart else 'false'}",
                f"autorestart={'true' if app.autorestart else 'false'}",
                f"stdout_logfile={self.home}/{app.name}.log",
                f"stdout_logfile_maxbytes={app.rotate_bytes or 10**9}",
                "stdout_logfile_backups=100",
            ]
        (self.home / "supervisord.conf").write_text("\n".join(lines))

    def bring_up(self) -> None:
        self.type(BIN / "supervisord", "-c", "supervisord.conf")

    def start(self, name: str) -> None:
        if not (self.home / "supervisord.pid").exists():
            self.bring_up()
            if self.apps[name].autostart:
                return
        self.type(BIN / "supervisorctl", "-c", "supervisord.conf", "start", self._named(name))

    def stop(self, name: str) -> None:
        self.type(BIN / "supervisorctl", "-c", "supervisord.conf", "stop", self._named(name))

    def _named(self, name: str) -> str:
        return f"{name}:*" if self.apps[name].instances > 1 else name

    def bring_back(self) -> None:
        self.bring_up()
        for name in ("silent", "printing"):
            self.start(name)

    def end(self) -> None:
        self.type(BIN / "supervisorctl", "-c", "supervisord.conf", "shutdown", check=False)

    @property
    def pids(self) -> list[int]:
        return [int((self.home / "supervisord.pid").read_text())]

    def logs(self, name: str) -> list[Path]:
        path = self.home / f"{name}.log"
        older = sorted(self.home.glob(f"{name}.log.*"), key=lambda each: -int(each.suffix[1:]))
        return [*older, *([path] if path.exists() else [])]


class Pm2(Manager):
    label = "PM2"

    @staticmethod
    def missing() -> str:
        return "" if PM2_BIN.exists() else "not installed: there is no npm"

    def configure(self) -> None:
        apps = []
        for app in self.apps.values():
            program, *arguments = self.commands[app.name]
            settings: dict[str, object] = {
                "name": app.name,
                "script": program,
                "args": arguments,
                "interpreter": "none",
                "exec_mode": "fork",
                "instances": app.instances,
                "autorestart": app.autorestart,
                "max_restarts": 1000,
                "restart_delay": round(app.restart_delay_s * 1000),
                "out_file": f"{self.home}/logs/{app.name}.log",
                "error_file": f"{self.home}/logs/{app.name}-error.log",
                "merge_logs": True,
                "vizion": False,
            }
            if app.memory_limit_bytes:
                settings["max_memory_restart"] = app.memory_limit_bytes
            if app.timestamps:
                settings["log_date_format"] = "YYYY-MM-DDTHH:mm:ss.SSSZ"
            apps.append(settings)
        (self.home / "ecosystem.json").write_text(json.dumps({"apps": apps}))

    def bring_up(self) -> None:
        self.type(PM2_BIN, "ping")

    def start(self, name: str) -> None:
        self.type(PM2_BIN, "start", "ecosystem.json", "--only", name)

    def stop(self, name: str) -> None:
        self.type(PM2_BIN, "stop", name)

    def bring_back(self) -> None:
        self.type(PM2_BIN, "resurrect")

    def save(self) -> None:
        self.type(PM2_BIN, "save")

    def end(self) -> None:
        self.type(PM2_BIN, "kill", check=False)

    @property
    def pids(self) -> list[int]:
        return [int((self.home / "pm2.pid").read_text())]

    def logs(self, name: str) -> list[Path]:
        path = self.home / "logs" / f"{name}.log"
        return [*sorted(path.parent.glob(f"{name}__*")), *([path] if path.exists() else [])]


class Pm2Logrotate(Pm2):
    label = "PM2 + logrotate"
    has_timestamps = False  # it is PM2 that writes them, and takes its time

    def configure(self) -> None:
        super().configure()
        module = PM2_BIN.parent.parent / "pm2-logrotate"
        here = self.home / "modules" / "pm2-logrotate" / "node_modules"
        here.mkdir(parents=True)
        (here / "pm2-logrotate").symlink_to(module)  # what `pm2 install` does, without asking a registry each time
        rotate = max((app.rotate_bytes or 0 for app in self.apps.values()), default=0)
        settings = {"max_size": str(rotate), "retain": "100", "compress": "false", "workerInterval": "1"}
        configuration = {"module-db-v2": {"pm2-logrotate": {}}, "pm2-logrotate": settings}
        (self.home / "module_conf.json").write_text(json.dumps(configuration))

    @property
    def pids(self) -> list[int]:
        return [*super().pids, *(int(path.read_text()) for path in (self.home / "pids").glob("pm2-logrotate*"))]


MANAGERS: tuple[type[Manager], ...] = (Mainstay, Supervisord, Pm2, Pm2Logrotate)


@contextmanager
def managed(kind: type[Manager], directory: Path, apps: Sequence[App]) -> Iterator[Manager]:
    """One of them, and its end; the daemon does not run yet."""
    label = re.sub(r"\W", "", kind.label.lower())
    manager = kind(directory / f"{label}{time.monotonic_ns() % 10**9}", apps)
    try:
        with manager.births:
            try:
                yield manager
            finally:
                _end(manager)
    finally:
        shutil.rmtree(manager.home, ignore_errors=True)


def _end(manager: Manager) -> None:
    """With whatever the manager leaves behind."""
    try:
        own = manager.pids
    except (OSError, IndexError):  # its daemon was never there
        own = []
    manager.end()
    until_s = time.perf_counter() + ENDS_S
    while any(map(alive, own)) and time.perf_counter() < until_s:
        time.sleep(0.01)
    mark = f"{MARK}={manager.home}".encode()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                own.append(int(entry.name))
    for pid in filter(alive, own):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
