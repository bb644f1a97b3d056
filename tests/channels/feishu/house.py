"""A worker of the service in the test's own process: all its rooms, joined as in production, but for the agents.

What answers is a test's script. A worker can be killed without any goodbye; its successor takes over at once.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2
from tests.databases import migrated

from mainstay.bus import Bus
from mainstay.channels.feishu.channel import FeishuChannel
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.webhook import webhook_path
from mainstay.clock import SystemClock
from mainstay.config.model import Config
from mainstay.events import Event
from mainstay.inbox.model import InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Turn
from mainstay.recovery.breaker.registry import Breakers
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import SandboxAddress, Snapshot, Verdict
from mainstay.schema import heads
from mainstay.settings import Secret
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.answers import ScriptedResponder
from mainstay.turns.model import TurnSettings
from mainstay.wiring import House, join

DEADLINE_S = 60.0


async def echo(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
    yield Finished(outcome=Outcome.ANSWERED, text=f"re: {message.text}", agent="manager")


def bot_of(address: SandboxAddress, **changes: object) -> FeishuSettings:
    """The settings of the bot that lives in this sandbox."""
    settings = FeishuSettings(
        app_id=address.app_id,
        app_secret=Secret(address.app_secret),
        encrypt_key=Secret(address.encrypt_key),
        verification_token=Secret(address.verification_token),
        domain=address.feishu_url,
        update_interval=0.11,
        retry_base=0.05,
        retry_cap=1.0,
        request_timeout=2.0,
        calls_per_second=50.0,
    )
    return replace(settings, **changes)


@dataclass
class Worker:
    """One life of the service.

    Attributes:
        asked: the messages that its agent was asked, in order.
    """

    house: House
    events: list[Event]
    asked: list[Message]
    task: asyncio.Task[None]

    async def kill(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@dataclass
class Home:
    """What outlives a worker: the database, and the platforms with the people in them."""

    config: Config
    storage: Storage
    platforms: dict[str, SandboxClient]
    stack: AsyncExitStack
    serve: Callable
    workers: list[Worker] = field(default_factory=list)

    async def worker(self, script=echo, *, beside: bool = False) -> Worker:
        """Start one, which the platforms call from now on; it takes over what others have, unless they live on."""
        if not beside:
            inbox = Inbox(self.storage, self.config.inbox, clock=SystemClock(), worker="test")
            await inbox.recover(lambda _: False)
        events, asked = [], []
        bus, clock = Bus(), SystemClock()
        bus.subscribe_all(events.append)
        http = await self.stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
        breakers = Breakers(self.config.breaker, clock=clock)
        house = join(self.config, self.storage, breakers, bus=bus, clock=clock, to_platform=http, to_models=http)

        async def recorded(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
            asked.append(message)
            async for event in script(message, turn):
                yield event

        async def live() -> None:
            async with asyncio.TaskGroup() as tasks:
                for channel in house.channels.values():
                    tasks.create_task(channel.run())
                await house.turns.run(ScriptedResponder(recorded), failed=lambda error: None)

        for channel in house.channels.values():
            await channel.resolve_bot()
        worker = Worker(house, events, asked, asyncio.get_running_loop().create_task(live()))
        self.stack.push_async_callback(worker.kill)
        await self._listen(house)
        self.workers.append(worker)
        return worker

    async def _listen(self, house: House) -> None:
        bots = [channel for channel in house.channels.values() if isinstance(channel, FeishuChannel)]
        if any(bot.connections for bot in bots):
            for platform in self.platforms.values():
                await platform.subscribe_by_connection()
            async with asyncio.timeout(DEADLINE_S):
                for bot in bots:
                    await bot.connected()
            return
        routes = [
            (webhook_path(name, path), app)
            for name, channel in house.channels.items()
            for path, app in channel.routes
        ]
        origin = await self.stack.enter_async_context(self.serve(routes))
        for name, platform in self.platforms.items():
            if not house.channels[name].routes:
                await platform.subscribe_by_connection()
                await house.channels[name].connected()
                continue
            event, card = (origin + webhook_path(name, f"/webhook/{each}") for each in ("event", "card"))
            await platform.subscribe(event, card)

    @property
    def platform(self) -> SandboxClient:
        return self.platforms["feishu"]

    async def snapshot(self, message_id: str, name: str = "feishu") -> Snapshot:
        """What a message has led to, once that is an outcome."""
        async with asyncio.timeout(DEADLINE_S):
            async for snapshot in self.platforms[name].watch(message_id):
                if snapshot.final:
                    return snapshot
        raise AssertionError("the watch ended without an outcome")

    async def verdict(self, message_id: str) -> Verdict:
        return next(each for each in await self.platform.outcomes() if each.message_id == message_id)

    async def rows(self, statement: str) -> list[tuple[object, ...]]:
        return await self.storage.read(lambda tx: [tuple(row) for row in tx.exec_driver_sql(statement).all()])


@asynccontextmanager
async def at_home(
    path: Path,
    addresses: dict[str, SandboxAddress],
    serve: Callable,
    *,
    inbox: InboxSettings | None = None,
    **changes: object,
) -> AsyncIterator[Home]:
    """A home with a bot in each of these sandboxes; ``changes`` to the settings of all of them."""
    url = f"sqlite:///{path / 'mainstay.db'}"
    migrated(url, heads())
    config = Config(
        home=path,
        channels={name: bot_of(address, **changes) for name, address in addresses.items()},
        storage=StorageSettings(url=url, synchronous="normal"),
        inbox=inbox or InboxSettings(),
        turns=TurnSettings(start_interval=0.0, poll_interval=0.2),
    )
    async with AsyncExitStack() as stack:
        storage = Storage(config.storage, clock=SystemClock())
        await storage.open(heads())
        stack.push_async_callback(storage.close)
        platforms = {
            name: await stack.enter_async_context(SandboxClient(address)) for name, address in addresses.items()
        }
        yield Home(config, storage, platforms, stack, serve)
        for platform in platforms.values():
            await platform.clear()
