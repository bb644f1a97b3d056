"""Three bots, each on a client of its own, as processes.

A program is given the platform's origin, the app's id and its secret. It writes a line of JSON for each thing
that happens to it: ``{"pid": 1}`` when it has begun, ``{"got": message_id, "text": text}`` when it handles a
message, ``{"pressed": value}`` when it handles a press on a card. It replies to each message with the same
text, and answers a press with a toast. For a message that begins with "long" it works for 4 seconds,
in the place where the client has its handlers. On SIGTERM it ends its client as that is meant to be ended.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.needs import node_modules
from tests.sandbox.feishu.conftest import APP
from tests.sandbox.feishu.connected import Connected

from mainstay.sandbox.feishu.model import Options
from mainstay.sandbox.model import ConnectionSeen

_HERE = Path(__file__).parent
_NODE_SDK = "@larksuiteoapi/node-sdk"
_PATIENCE_S, _OF_A_FAILURE_S = 30.0, 1.0
QUICK = Options(ping_interval_s=1, reconnect_interval_s=1, reconnect_nonce_s=0)


@dataclass
class Bot:
    """A bot's process, and the platform that it is connected to."""

    platform: Connected
    tasks: asyncio.TaskGroup
    command: list[str]
    environment: dict[str, str]
    forks: bool = False
    """The process stays, and begets a bot for each line that it reads."""
    told: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = True
    """Not to be trusted with another test."""
    patience_s: float = _PATIENCE_S
    process: asyncio.subprocess.Process | None = None
    pid: int = 0

    async def restore(self, *, fails: bool) -> None:
        """All is well again, and the bot is connected: the old one if it can be trusted, or a new one."""
        self.platform.gateway.clear()
        self.platform.faults.clear()
        self.platform.tenant.options = QUICK
        if self.broken or len(self.platform.ready()) != 1:
            self.end()
            self.patience_s = _PATIENCE_S
            await self.until(lambda: not self.platform.ready())
            self.told.clear()
            await self.start()
        self.broken, self.patience_s = False, _OF_A_FAILURE_S if fails else _PATIENCE_S
        self.told.clear()

    async def start(self) -> None:
        """Begin, and connect."""
        if self.process is None:
            pipe = asyncio.subprocess.PIPE
            silent = asyncio.subprocess.DEVNULL
            environment = {**os.environ, "NO_PROXY": "127.0.0.1", **self.environment}
            arguments = [] if self.forks else self._arguments()
            self.process = await asyncio.create_subprocess_exec(
                *self.command, *arguments, stdin=pipe, stdout=pipe, stderr=silent, env=environment
            )
            self.tasks.create_task(self._listen(self.process))
        if self.forks:
            assert self.process.stdin is not None
            self.process.stdin.write(" ".join(self._arguments()).encode() + b"\n")
        await self.until(lambda: bool(self.told) and len(self.platform.ready()) == 1)

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Signal the bot, if there is one."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, how)
        if not self.forks:
            self.process = None
        self.pid = 0

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            told = json.loads(line)
            self.pid = told.get("pid", self.pid)
            self.told.append(told)
        await process.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when it holds; TimeoutError when it does not come to hold."""
        async with asyncio.timeout(self.patience_s):
            while not condition():  # noqa: ASYNC110  what is waited for has no event
                await asyncio.sleep(0.01)

    async def acknowledged(self, message_id: str) -> list[str]:
        """The answers to the attempts at delivering it, once one was acknowledged."""
        await self.until(lambda: self.platform.delivery(message_id).state == "acknowledged")
        return [each.answer for each in self.platform.delivery(message_id).attempts]

    async def handled(self, message_id: str) -> int:
        """How often it has handled this message, when it has handled another one after it."""
        last = self.platform.say("the last")
        await self.until(lambda: any(each.get("got") == last for each in self.told))
        return sum(each.get("got") == message_id for each in self.told)

    async def another(self, before: ConnectionSeen) -> ConnectionSeen:
        """The connection that it has made after that one, once it has shown that it reads it."""

        def found() -> list[ConnectionSeen]:
            return [each for each in self.platform.ready() if each.id != before.id and each.pings]

        await self.until(lambda: bool(found()))
        return found()[0]

    @property
    def connection(self) -> ConnectionSeen:
        """The one that it has now."""
        (connection,) = self.platform.ready()
        return connection

    def _arguments(self) -> list[str]:
        return [self.platform.origin, APP.app_id, APP.app_secret]


Program = tuple[list[str], dict[str, str], bool]
"""Its command, what is added to its environment, and whether it forks a bot for each line of arguments."""


def _ours() -> Program:
    return [sys.executable, str(_HERE / "our_bot.py")], {}, False


def _lark() -> Program:
    return [sys.executable, str(_HERE / "lark_bot.py")], {}, True


def _node() -> Program:
    node, modules = node_modules(_NODE_SDK)
    return [node, str(_HERE / "node_bot.js")], {"NODE_PATH": str(modules)}, False


BOTS = {"ours": _ours, "lark-oapi": _lark, "node-sdk": _node}


@asynccontextmanager
async def bot(program: Program, platform: Connected) -> AsyncIterator[Bot]:
    """A bot of that program; it begins with the first `Bot.restore`."""
    command, environment, forks = program
    async with asyncio.TaskGroup() as tasks:
        made = Bot(platform, tasks, command, environment, forks)
        try:
            yield made
        finally:
            made.end()
            if forks and made.process is not None:
                made.process.kill()
