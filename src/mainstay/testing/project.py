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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from mainstay.sandbox import process as sandbox_process
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SandboxSettings

__all__ = ["Project", "project"]

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
        self._service: Process | None = None

    async def start(self, *command: str) -> None:
        """Start the service and wait until it accepts messages.

        Args:
            command: what to run in place of ``mainstay.testing.dying``, as arguments of the interpreter.
        """
        environ = {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}
        arguments = command or ("-m", "mainstay.testing.dying")
        with (self.directory / "service.log").open("ab") as log:
            self._service = await asyncio.create_subprocess_exec(
                sys.executable, *arguments, cwd=self.directory, env=environ, stdout=log, stderr=log
            )
        async with asyncio.timeout(_READY_S), httpx2.AsyncClient(trust_env=False) as http:
            while not await self._answers(http):
                if self._service.returncode is not None:
                    raise AssertionError(
                        f"the service ended with {self._service.returncode}:\n{self.log()[-4000:]}"
                    )
                await asyncio.sleep(0.02)

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
        async with httpx2.AsyncClient(trust_env=False) as http:
            report: dict[str, object] = (await http.get(f"{self.url}/health")).json()
            return report

    def log(self) -> str:
        """What the service has written."""
        return (self.directory / "service.log").read_text(errors="replace")


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
    address = await sandbox_process.start(directory / ".mainstay", sandbox or SandboxSettings())
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
