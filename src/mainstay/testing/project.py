"""A service and its sandbox as real processes, in a directory of their own.

For tests from outside: the sandbox outlives the service, so that its record can judge what the service did before,
between and after crashes.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from mainstay.certificates import trusted
from mainstay.sandbox import process as sandbox_process
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SandboxAddress, SandboxSettings
from mainstay.testing.forked import Forked, fork

__all__ = ["Project", "forked_sandbox", "project"]

_LIVING = ("-m", "mainstay.testing.dying")
_POLL_S = 0.02
_READY_S = 60.0
_STOP_S = 60.0


class Project:
    """One project's directory, its running sandbox, and its service, which may or may not run.

    Attributes:
        url: where the service listens whenever it runs.
        sandbox: the platform and the models; see `SandboxClient`.
    """

    def __init__(self, directory: Path, port: int, sandbox: SandboxClient) -> None:
        self.directory = directory
        self.url = f"http://127.0.0.1:{port}"
        self.sandbox = sandbox
        self._service: Process | Forked | None = None

    async def start(self, *command: str) -> None:
        """Start the service and wait until it accepts messages.

        Args:
            command: what to run in place of ``-m mainstay.testing.dying``, as arguments of the interpreter. What
                begins with these two is forked (see `mainstay.testing.forked`), all else is started from nothing.
        """
        self._service = await self._begun(command or _LIVING)
        async with asyncio.timeout(_READY_S), httpx2.AsyncClient(verify=trusted(), trust_env=False) as http:
            while not await self._answers(http):
                if self._service.returncode is not None:
                    raise AssertionError(
                        f"the service ended with {self._service.returncode}:\n{self.log()[-4000:]}"
                    )
                await asyncio.sleep(_POLL_S)

    async def _begun(self, command: Sequence[str]) -> Process | Forked:
        environ, log = _environ(), self.directory / "service.log"
        if command[:2] == _LIVING:
            return fork(_LIVING[1], command[2:], directory=self.directory, environ=environ, log=log)
        with log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=self.directory, env=environ, stdout=output, stderr=output
            )

    async def _answers(self, http: httpx2.AsyncClient) -> bool:
        try:
            return (await http.get(f"{self.url}/startupz")).status_code == 200
        except httpx2.HTTPError:
            return False

    @property
    def pid(self) -> int:
        """Of the running service."""
        assert self._service is not None
        return self._service.pid

    async def kill(self) -> None:
        """SIGKILL, as if the machine's memory had run out."""
        await self.end(signal.SIGKILL)

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; returns the exit status."""
        assert self._service is not None
        if self._service.returncode is None:
            self._service.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait for the service to end by itself; returns the exit status."""
        assert self._service is not None
        async with asyncio.timeout(_STOP_S):
            return await self._service.wait()

    async def health(self) -> dict[str, object]:
        """The report of ``/health``."""
        async with httpx2.AsyncClient(verify=trusted(), trust_env=False) as http:
            report: dict[str, object] = (await http.get(f"{self.url}/health")).json()
            return report

    def log(self) -> str:
        """What the service has written."""
        return (self.directory / "service.log").read_text(errors="replace")


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}


async def forked_sandbox(home: Path, settings: SandboxSettings, *, owner: int = 0) -> SandboxAddress:
    """As `mainstay.sandbox.process.start` starts one where there is none, in a fraction of the time."""
    arguments, log = sandbox_process.arguments(home, settings, owner), home / sandbox_process.LOG
    forked = fork("mainstay.sandbox", arguments, directory=home, environ=_environ(), log=log, session=True)
    async with asyncio.timeout(_READY_S):
        while sandbox_process.find(home) is None and forked.returncode is None:  # noqa: ASYNC110  as `start` does it
            await asyncio.sleep(_POLL_S)
    return await sandbox_process.start(home, settings, owner=owner)


@asynccontextmanager
async def project(
    directory: Path, configuration: str = "", *, sandbox: SandboxSettings | None = None
) -> AsyncIterator[Project]:
    """A directory with this ``mainstay.toml`` and a running sandbox; no process is left afterwards.

    Args:
        directory: an empty one.
        configuration: the file's content; the port is added.
        sandbox: how the sandbox behaves.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if "[service]" not in configuration:
        configuration += "\n[service]\n"
    configuration = configuration.replace("[service]\n", f"[service]\nport = {port}\n")
    (directory / "mainstay.toml").write_text(configuration)
    (directory / ".mainstay").mkdir(mode=0o700, exist_ok=True)
    address = await forked_sandbox(directory / ".mainstay", sandbox or SandboxSettings())
    try:
        async with SandboxClient(address) as client:
            made = Project(directory, port, client)
            try:
                yield made
            finally:
                if made._service is not None:
                    await made.kill()
    finally:
        await sandbox_process.stop(address)
