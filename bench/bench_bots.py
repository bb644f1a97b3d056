"""How does our bot do beside bots on Feishu's own SDKs, by a long connection to the same platform?

Each bot has a platform of its own, one after the other in each round. None of them has a model: the answer is a
script (`bench.bots.script`), so that what is measured is what brings it to the person.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from bench.bots.script import STREAM, TEXT
from bench.matrix import Line, Matrix
from bench.running import SERVE, cpu_s, environ, migrate, rss_mib
from bench.traffic import percentile

from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SandboxAddress
from mainstay.testing.project import project

ROUNDS = 3
SECONDS = 5
RATES = (50, 200)
ANSWERS = 40
AT_ONCE = 8
_HERE = Path(__file__).resolve().parents[1]
_READY_S = 60.0
_SETTLED_S = 120.0
_UNLIMITED = {"api_per_s": 100_000, "api_per_min": 1_000_000, "chat_per_s": 1000}

CONFIGURATION = """
[service]
responder = "scripted:Scripted"

[channels.feishu]
mode = "subscription"
domain = "{feishu_url}"
app_id = "{app_id}"
app_secret = "{app_secret}"
"""
RESPONDER = """
from bench.bots.script import ECHO, TEXT, is_streamed, pieces
from mainstay.messages import Finished, Outcome, TextAppended

class Scripted:
    name = "scripted"

    async def respond(self, message, turn):
        text = ECHO
        if is_streamed(message.text):
            text = TEXT
            async for piece in pieces():
                yield TextAppended(piece)
        yield Finished(outcome=Outcome.ANSWERED, text=text, agent=self.name)
"""


@dataclass(frozen=True)
class Bot:
    """One of those that are compared.

    Attributes:
        label: what it is called in the table.
        needs: the package that has to be there.
        command: of its process; ours gets the rest from its configuration.
    """

    label: str
    needs: str
    command: tuple[str, ...]

    OURS: ClassVar[str] = "Mainstay"

    @property
    def is_ours(self) -> bool:
        return self.label == self.OURS


BOTS = (
    Bot(Bot.OURS, "mainstay", SERVE),
    Bot("lark-oapi", "lark_oapi", ("-m", "bench.bots.on_lark_oapi")),
    Bot("lark-channel-sdk", "lark_channel", ("-m", "bench.bots.on_lark_channel")),
)


def tables(*, quick: bool = False) -> Iterator[Matrix]:
    lines = _Lines()
    missing = {bot.label: f"{bot.needs} is not installed" for bot in BOTS if find_spec(bot.needs) is None}
    for _ in range(1 if quick else ROUNDS):
        for bot in BOTS:
            if bot.label not in missing:
                print(f"  ({bot.label})", file=sys.stderr, flush=True)
                asyncio.run(_measured(bot, lines))
    for line in lines.every:
        line.words |= missing
    yield Matrix(
        title="A Feishu bot by its long connection",
        programs=[bot.label for bot in BOTS],
        shares=[bot.label for bot in BOTS if not bot.is_ours],
        rows=lines.every,
        notes=[
            f"Acknowledgements: {SECONDS} s of messages, each from somebody else, counted by the platform from",
            "its frame to ours; each is answered by a line of text, too. Answered: those with their one outcome,",
            "when nothing moved any more.",
            f"Streamed: {ANSWERS} answers, {AT_ONCE} at once, {len(TEXT)} characters each, 4 of them each 10 ms.",
            "Mainstay keeps to what the live platform allows (15 calls/s of each API), the others call as",
            "fast as they can; this platform takes it all.",
            "Mainstay stores every message and every outcome on the disk before it says so; the others keep",
            "them in memory. Exact: the card says the text in the end.",
            f"Load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.",
        ],
    )


class _Lines:
    """The rows of the table."""

    def __init__(self) -> None:
        self.ready = Line(label="start of the process to the connection", unit="s")
        self.idle = Line(label="memory (RSS) once connected", unit="MiB")
        self.acks = {
            rate: [
                Line(label=f"acknowledged, {rate} messages/s: p50", unit="ms"),
                Line(label=f"acknowledged, {rate} messages/s: p99", unit="ms", budget=50.0),
                Line(label=f"not acknowledged at all, {rate} messages/s", unit="%"),
                Line(label=f"answered, {rate} messages/s", unit="%"),
            ]
            for rate in RATES
        }
        self.calls = Line(label="calls for one streamed answer")
        self.cpu = Line(label="processor time for one streamed answer", unit="ms")
        self.exact = Line(label="streamed answers that are exact", unit="%")
        self.busy = Line(label="memory (RSS) after all of it", unit="MiB")

    @property
    def every(self) -> list[Line]:
        acks = [line for lines in self.acks.values() for line in lines]
        return [self.ready, self.idle, *acks, self.calls, self.cpu, self.exact, self.busy]


async def _measured(bot: Bot, lines: _Lines) -> None:
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as directory:
        async with project(Path(directory)) as made:
            platform = made.sandbox
            await platform.options(**_UNLIMITED)
            await platform.subscribe_by_connection()
            if bot.is_ours:
                _configure(made.directory, platform.address, port=int(made.url.rpartition(":")[2]))
            began_s = time.perf_counter()
            async with _running(bot, made.directory, platform.address) as pid:
                async with asyncio.timeout(_READY_S):
                    while not any(each.ready and each.open for each in await platform.connections()):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                lines.ready.add(bot.label, time.perf_counter() - began_s)
                await asyncio.sleep(1.0)
                lines.idle.add(bot.label, rss_mib(pid))
                await _stream(bot, platform, pid, lines)
                for rate, rows in lines.acks.items():
                    await _acknowledge(bot, platform, rate, rows)
                lines.busy.add(bot.label, rss_mib(pid))


def _configure(directory: Path, address: SandboxAddress, *, port: int) -> None:
    fields = {name: getattr(address, name) for name in SandboxAddress.__slots__}
    text = CONFIGURATION.format(**fields).replace("[service]", f"[service]\nport = {port}")
    (directory / "mainstay.toml").write_text(text)
    (directory / "scripted.py").write_text(RESPONDER)
    migrate(directory)


@asynccontextmanager
async def _running(bot: Bot, directory: Path, address: SandboxAddress) -> AsyncGenerator[int, None]:
    given = () if bot.is_ours else (address.feishu_url, address.app_id, address.app_secret)
    with (directory / "bot.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: ASYNC220  a fork blocks nobody here
            [sys.executable, *bot.command, *given],
            cwd=directory,
            env={**environ(), "PYTHONPATH": f"{_HERE}:{directory}"},
            stdout=log,
            stderr=log,
        )
    try:
        yield process.pid
    except Exception as error:
        raise RuntimeError((directory / "bot.log").read_text(errors="replace")[-2000:]) from error
    finally:
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)


async def _acknowledge(bot: Bot, platform: SandboxClient, rate: int, rows: list[Line]) -> None:
    known = len(await platform.deliveries())
    began_s = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(rate * SECONDS):
            await asyncio.sleep(max(0.0, began_s + number / rate - time.perf_counter()))
            group.create_task(platform.say("hello", sender=f"ou_{rate}_{number}"))
    await _still(platform, rate * SECONDS)
    sent = (await platform.deliveries())[known:]
    first = [each.attempts[0] for each in sent if each.attempts]
    taken_ms = [1000 * each.seconds for each in first if each.answer == "200"]
    final = sum(verdict.state == "final" for verdict in (await platform.outcomes())[known:])
    p50, p99, lost, answered = rows
    if taken_ms:
        p50.add(bot.label, percentile(taken_ms, 50))
        p99.add(bot.label, percentile(taken_ms, 99))
    lost.add(bot.label, 100 * (1 - len(taken_ms) / len(sent)))
    answered.add(bot.label, 100 * final / len(sent))


async def _still(platform: SandboxClient, count: int) -> None:
    """Return when the last messages have their outcomes, or when nothing has come for 5 s."""
    before, quiet = -1, 0
    async with asyncio.timeout(_SETTLED_S):
        while quiet < 10:
            await asyncio.sleep(0.5)
            done = sum(verdict.state == "final" for verdict in (await platform.outcomes())[-count:])
            if done == count:
                return
            quiet = quiet + 1 if done == before else 0
            before = done


async def _stream(bot: Bot, platform: SandboxClient, pid: int, lines: _Lines) -> None:
    calls, used_s = len(await platform.calls()), cpu_s(pid)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> str:
        async with gate:
            said = await platform.say(STREAM, sender=f"ou_stream_{number}")
            text = ""
            with suppress(TimeoutError):
                async with asyncio.timeout(_SETTLED_S):
                    async for snapshot in platform.watch(said.message_id):
                        text = snapshot.text
            return text

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number)) for number in range(ANSWERS)]
    lines.cpu.add(bot.label, 1000 * (cpu_s(pid) - used_s) / ANSWERS)
    lines.calls.add(bot.label, (len(await platform.calls()) - calls) / ANSWERS)
    lines.exact.add(bot.label, 100 * sum(task.result().strip() == TEXT.strip() for task in tasks) / ANSWERS)
