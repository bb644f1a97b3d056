"""The real command line, and a real service with its sandbox."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

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
        return subprocess.run(
            [sys.executable, "-m", "mainstay", *typed],
            cwd=self.path,
            env=BARE | {"PORT": str(self.port)} | env,
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@contextmanager
def running(project: Project, *verb: str, ready: str) -> Iterator[None]:
    """The command, from the line that says that it is ready until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "mainstay", *verb],
        cwd=project.path,
        env=BARE | {"PORT": str(project.port), "MAINSTAY_SANDBOX_TOKENS_PER_SECOND": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert any(ready in line for line in process.stdout)
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path, free_port())


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("service"), free_port())
    assert project.run("migrate").returncode == 0
    log = project.path / "serve.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "mainstay", "serve"],
            cwd=project.path,
            env=BARE
            | {
                "PORT": str(project.port),
                "MAINSTAY_SANDBOX_TOKENS_PER_SECOND": "500",
                "MAINSTAY_SERVICE_DRAIN_TIMEOUT": "0s",
            },
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if "is ready" in line:
                break
        else:
            pytest.fail(log.read_text())
        yield project
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
