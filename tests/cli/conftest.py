"""The real command line, and a real service with its sandbox."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mainstay.testing.forked import fork

BARE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "COLUMNS": "100"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Project:
    """A directory in which commands are typed."""

    path: Path
    port: int

    def run(self, *typed: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """An interpreter of its own; for the supervisor's commands, and once for each other one."""
        return subprocess.run(
            [sys.executable, "-m", "mainstay", *typed],
            cwd=self.path,
            env=self.environ(**env),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def quick(self, *typed: str, timeout: float = 60, **env: str) -> subprocess.CompletedProcess[str]:
        """The same, forked."""
        with tempfile.TemporaryDirectory() as directory:
            log, errors = Path(directory, "log"), Path(directory, "errors")
            done = fork("mainstay", typed, directory=self.path, environ=self.environ(**env), log=log, errors=errors)
            return subprocess.CompletedProcess(typed, done.join(timeout), log.read_text(), errors.read_text())

    def environ(self, **env: str) -> dict[str, str]:
        return BARE | {"PORT": str(self.port)} | env


@contextmanager
def running(project: Project, verb: str, ready: str, **env: str) -> Iterator[None]:
    """The command, from the line that says that it is ready until the block ends."""
    log, errors = (project.path / f"{verb}.{each}" for each in ("out", "err"))
    os.mkfifo(log)
    environ = project.environ(**{"MAINSTAY_SANDBOX_TOKENS_PER_SECOND": "0"} | env)
    process = fork("mainstay", [verb], directory=project.path, environ=environ, log=log, errors=errors)
    try:
        with log.open() as lines:
            assert any(ready in line for line in lines), errors.read_text()
            yield
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.join(30) == 0, errors.read_text()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, free_port())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("service"), free_port())
    assert project.quick("migrate").returncode == 0
    quick = {"MAINSTAY_SANDBOX_TOKENS_PER_SECOND": "500", "MAINSTAY_SERVICE_DRAIN_TIMEOUT": "0s"}
    with running(project, "serve", "is ready", **quick):
        yield project
