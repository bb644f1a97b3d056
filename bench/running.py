"""What does it take to run the whole service, and how is it watched from outside?

Real processes on one machine: ``mainstay serve``, the sandbox (the platform and the models), and the sender.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.traffic import Sender, Sent, say, status_of, webhook

from mainstay.sandbox import process as sandbox_process
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SaidMessage, SandboxAddress, SandboxSettings
from mainstay.testing.project import Project, project

__all__ = [
    "PLAIN",
    "SERVE",
    "Walk",
    "Walked",
    "burst_after_start",
    "ready_embedded",
    "ready_with_credentials",
    "walk",
]

SERVE = ("-m", "mainstay", "serve")
PLAIN = (
    "-c",
    "import asyncio; from mainstay import service; from mainstay.cli.main import main; "
    "service.unpaused = asyncio.to_thread; raise SystemExit(main(['serve']))",
)
"""The same service, but its agents are imported in a thread without any further measure."""

ECHO = """
from mainstay.messages import Finished, Outcome, TextAppended

class Echo:
    name = "echo"

    async def respond(self, message, turn):
        yield TextAppended(message.text)
        yield Finished(outcome=Outcome.ANSWERED, text=message.text, agent=self.name)
"""
"""A responder of one's own, without a model."""

EMBEDDED = "[service]\nport = {port}\n"
BY_WEBHOOK = '[channels.feishu]\nmode = "webhook"\n'
CREDENTIALS = (
    EMBEDDED
    + """
[models.primary]
provider = "openai"
base_url = "{models[primary]}"
model = "sandbox"
api_key = "{model_token}"

[channels.feishu]
mode = "webhook"
domain = "{feishu_url}"
app_id = "{app_id}"
app_secret = "{app_secret}"
encrypt_key = "{encrypt_key}"
verification_token = "{verification_token}"
calls_per_second = {calls_per_second}
"""
)
"""A service that needs no sandbox of its own: its platform and its model happen to be on this machine."""

_UNLIMITED = {"api_per_s": 100_000, "api_per_min": 1_000_000, "chat_per_s": 1000}
STARTUPZ = b"GET /startupz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"


@asynccontextmanager
async def made_project(
    tokens_per_second: float = 60.0, calls_per_second: float = 15.0
) -> AsyncGenerator[Project, None]:
    """A migrated project with credentials, whose platform and model are a running sandbox."""
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as directory:
        settings = SandboxSettings(tokens_per_second=tokens_per_second)
        async with project(Path(directory), sandbox=settings) as made:
            address = made.sandbox.address
            fields = {name: getattr(address, name) for name in SandboxAddress.__slots__}
            fields |= {"port": port_of(made), "calls_per_second": calls_per_second}
            (made.directory / "mainstay.toml").write_text(CREDENTIALS.format(**fields))
            await made.sandbox.options(**_UNLIMITED)
            migrate(made.directory)
            yield made


def port_of(made: Project) -> int:
    return int(made.url.rpartition(":")[2])


def environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MAINSTAY_")}


def migrate(directory: Path) -> None:
    command = [sys.executable, "-m", "mainstay", "migrate"]
    subprocess.run(command, cwd=directory, env=environ(), check=True, capture_output=True)


def cpu_s(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


async def settled(sandbox: SandboxClient, count: int, within_s: float = 180.0) -> None:
    """Return when every message has its one outcome."""
    async with asyncio.timeout(within_s):
        while True:
            verdicts = await sandbox.outcomes()
            if len(verdicts) >= count and all(verdict.state == "final" for verdict in verdicts):
                return
            await asyncio.sleep(0.1)


@asynccontextmanager
async def running(directory: Path, command: Sequence[str]) -> AsyncGenerator[subprocess.Popen[bytes], None]:
    """The service as a process; its drain is cut off at the end."""
    with (directory / "service.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220  a fork blocks nobody here
            [sys.executable, *command], cwd=directory, env=environ(), stdout=log, stderr=log
        )
    try:
        yield process
    except Exception as error:
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, 1.0)
        if process.returncode is None:
            raise
        log_text = (directory / "service.log").read_text(errors="replace")
        raise RuntimeError(f"the service ended with {process.returncode}:\n{log_text[-2000:]}") from error
    finally:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            try:
                await asyncio.to_thread(process.wait, 1.0 if number == signal.SIGTERM else None)
            except subprocess.TimeoutExpired:
                continue
            break


async def answered(port: int, request: bytes, began_s: float) -> float:
    """Ask until the answer is 200; returns the seconds since then. Raises TimeoutError after 30 s."""
    async with asyncio.timeout(30.0):
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                with closing(writer):
                    writer.write(request)
                    if await status_of(reader) == 200:
                        return time.perf_counter() - began_s
            await asyncio.sleep(0.002)


async def ready_with_credentials() -> tuple[float, float, float]:
    """Seconds from the start of the process to the first 200 of /startupz, acknowledgement, and finished answer."""
    async with made_project() as made:
        [message] = await say(made.sandbox, 1)
        request, port = webhook(made.sandbox.address, message), port_of(made)
        began_s = time.perf_counter()
        async with running(made.directory, SERVE):
            ready_s, acknowledged_s = await asyncio.gather(
                answered(port, STARTUPZ, began_s), answered(port, request, began_s)
            )
            await settled(made.sandbox, 1)
            return ready_s, acknowledged_s, time.perf_counter() - began_s


async def ready_embedded() -> tuple[float, float]:
    """The same without credentials, and without an answer: the service brings its own sandbox."""
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as name:
        directory, port = Path(name), free_port()
        (directory / "mainstay.toml").write_text(EMBEDDED.format(port=port) + BY_WEBHOOK)
        migrate(directory)
        began_s = time.perf_counter()
        async with running(directory, SERVE):
            ready = asyncio.create_task(answered(port, STARTUPZ, began_s))
            while (address := sandbox_process.find(directory / ".mainstay")) is None:  # noqa: ASYNC110  a file
                await asyncio.sleep(0.002)
            fresh = SaidMessage(
                message_id="om_bench",
                event_id="",
                chat_id="oc_bench",
                chat_type="p2p",
                app_id="",
                sender_id="ou_bench",
                text="hello",
            )
            acknowledged_s = await answered(port, webhook(address, fresh), began_s)
            return await ready, acknowledged_s


async def burst_after_start(
    command: Sequence[str], count: int, *, per_second: float, conversations: int
) -> list[Sent]:
    """Webhooks from the moment in which the service is ready, while its agents are being imported."""
    async with made_project() as made:
        messages = await say(made.sandbox, count, conversations=conversations)
        requests = [webhook(made.sandbox.address, message) for message in messages]
        async with running(made.directory, command):
            await answered(port_of(made), STARTUPZ, 0.0)
            return await Sender(port_of(made)).run(requests, per_second=per_second)


@dataclass(frozen=True, slots=True)
class Walk:
    """One run with messages that are answered to their end."""

    sent: list[Sent]
    seconds: float
    service_cpu_s: float
    sandbox_cpu_s: float
    idle_mib: float
    after_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """How many messages, how fast, and who answers: the agents, or a responder that costs nothing."""

    count: int
    per_second: float
    tokens_per_second: float
    calls_per_second: float = 15.0
    own_responder: bool = False


async def walk(how: Walked) -> Walk:
    """Bring messages to a warm service, and wait for the outcome of the last."""
    async with made_project(how.tokens_per_second, how.calls_per_second) as made:
        if how.own_responder:
            (made.directory / "bench_echo.py").write_text(ECHO)
            file = made.directory / "mainstay.toml"
            file.write_text(file.read_text().replace("[service]\n", '[service]\nresponder = "bench_echo:Echo"\n'))
        first, *messages = await say(made.sandbox, 1 + how.count)
        address, port = made.sandbox.address, port_of(made)
        async with running(made.directory, SERVE) as service:
            await answered(port, STARTUPZ, 0.0)
            await agents_imported(service.pid)
            idle_mib = rss_mib(service.pid)
            await answered(port, webhook(address, first), 0.0)
            await outcome(made.sandbox, first)
            requests = [webhook(address, message) for message in messages]
            began_s, service_s, sandbox_s = time.perf_counter(), cpu_s(service.pid), cpu_s(address.pid)
            sent = await Sender(port).run(requests, per_second=how.per_second)
            await settled(made.sandbox, 1 + how.count)
            return Walk(
                sent=sent,
                seconds=time.perf_counter() - began_s,
                service_cpu_s=cpu_s(service.pid) - service_s,
                sandbox_cpu_s=cpu_s(address.pid) - sandbox_s,
                idle_mib=idle_mib,
                after_mib=rss_mib(service.pid),
            )


async def agents_imported(pid: int) -> None:
    """Return when the service has done nothing for a second."""
    before = -1.0
    while (now := cpu_s(pid)) - before > 0.02:
        before = now
        await asyncio.sleep(1.0)


async def outcome(sandbox: SandboxClient, message: SaidMessage) -> None:
    async for _ in sandbox.watch(message.message_id):
        pass


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
