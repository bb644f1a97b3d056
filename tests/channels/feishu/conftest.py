"""A real platform, a real database, and the channel between them; also the process that comes after a crash."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import httpx2
import pytest
import uvicorn
from sqlalchemy import Connection
from tests.databases import migrated

from mainstay.asgi import ASGIApp, Receive, Scope, Send
from mainstay.bus import Bus
from mainstay.channels.feishu.channel import FeishuChannel
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.replier import FeishuReplier
from mainstay.channels.feishu.tables import HEAD
from mainstay.clock import SystemClock
from mainstay.errors import StorageUnavailable
from mainstay.events import Event
from mainstay.messages import Finished, Message, Outcome
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.breaker.permits import Breaker
from mainstay.sandbox.client import SandboxClient
from mainstay.sandbox.model import Reply, SandboxAddress, Verdict
from mainstay.sandbox.process import start, stop
from mainstay.settings import Secret
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage

DEADLINE_S = 60.0
WINDOW_S = 3600.0
SOON = BreakerSettings(open_time=0.05, longest_open=0.05)
T = TypeVar("T")


class FailingStorage(Storage):
    """A disk that is full for so many writes."""

    failures = 0

    async def write(self, work: Callable[[Connection], T]) -> T:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable("the disk is full")
        return await super().write(work)


@pytest.fixture(scope="session")
async def sandbox_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SandboxAddress]:
    address = await start(tmp_path_factory.mktemp("sandbox"))
    yield address
    await stop(address)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds; fails after a deadline that only a broken program reaches."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110  the platform is another process
            await asyncio.sleep(0.02)


@dataclass
class Process:
    """One run of the service, as far as the channel goes: it can be killed without any goodbye."""

    channel: FeishuChannel
    bus: Bus
    events: list[Event]
    task: asyncio.Task[None]
    http: httpx2.AsyncClient

    async def kill(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        await self.http.aclose()

    def seen(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if type(event) is kind]

    async def until(self, kind: type[Event], count: int = 1) -> None:
        async def enough() -> bool:
            return len(self.seen(kind)) >= count

        await eventually(enough)


@dataclass
class World:
    platform: SandboxClient
    storage: FailingStorage
    settings: FeishuSettings
    stack: AsyncExitStack
    calls_before: int
    breaker: BreakerSettings = SOON
    accepted: list[Message] = field(default_factory=list)
    recalled: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    async def process(self, *, later_s: float = 0.0, **changes: object) -> Process:
        """Start one; it runs until it is killed, or until the test ends."""
        events: list[Event] = []
        bus = Bus()
        bus.subscribe_all(events.append)
        http = httpx2.AsyncClient(trust_env=False)
        channel = FeishuChannel(
            "feishu",
            replace(self.settings, **changes),
            storage=self.storage,
            bus=bus,
            clock=ClockAhead(later_s),
            accept=self.accept,
            recalled=self.recall,
            answered_before=self.answered_before,
            has_ended=self.has_ended,
            retry_window_s=WINDOW_S,
            http=http,
            guard=Breaker("channel:feishu", self.breaker),
        )
        task = asyncio.get_running_loop().create_task(channel.run())
        await asyncio.sleep(0)
        process = Process(channel, bus, events, task, http)
        self.stack.push_async_callback(process.kill)
        return process

    async def accept(self, message: Message) -> bool:
        """As the inbox does it: a message that is known is not accepted again."""
        new = all(message.turn_id != known.turn_id for known in self.accepted)
        self.accepted.append(message)
        return new

    async def recall(self, turn_id: str) -> None:
        self.recalled.append(turn_id)

    async def answered_before(self, turn_id: str) -> bool:
        return turn_id in self.answered

    async def has_ended(self, turn_id: str) -> bool:
        return turn_id in self.ended

    async def listen(self, process: Process) -> None:
        """Let the platform call this process from now on."""
        origin = await self.stack.enter_async_context(serve(process.channel.routes))
        await self.platform.subscribe(f"{origin}/webhook/event", f"{origin}/webhook/card")

    async def ask(self, text: str = "hello", **how: object) -> Message:
        """Somebody says something; this is the message as the webhook has read it."""
        said = await self.platform.say(text, **{"sender": f"ou_{uuid4().hex}"} | how)

        async def arrived() -> bool:
            return any(message.external_id == said.message_id for message in self.accepted)

        await eventually(arrived)
        return next(message for message in self.accepted if message.external_id == said.message_id)

    async def post(self, replier: FeishuReplier, final: Finished) -> None:
        await self.storage.write(lambda tx: replier.post(tx, final))

    async def finish(self, replier: FeishuReplier, text: str, outcome: Outcome = Outcome.ANSWERED, **more) -> None:
        await self.post(replier, Finished(outcome=outcome, text=text, **more))
        await replier.deliver()

    def start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Let it run beside the test, until the test ends."""
        task = asyncio.get_running_loop().create_task(work)
        self.stack.callback(task.cancel)
        return task

    async def until_refused(self, code: int) -> None:
        """The platform has answered with this code."""

        async def refused() -> bool:
            return code in await self.codes()

        await eventually(refused)

    async def until_no_card_is_followed(self, message: Message) -> None:
        """Whoever wrote to the card of this message has ended."""

        async def ended() -> bool:
            return all(task.get_name() != f"card {message.turn_id}" for task in asyncio.all_tasks())

        await eventually(ended)

    eventually = staticmethod(eventually)

    async def until_held(self) -> None:
        """The platform has done what was asked, and keeps its answer back."""

        async def held() -> bool:
            return bool((await self.platform.state())["held"])

        await eventually(held)

    async def verdict(self, message: Message) -> Verdict:
        return next(each for each in await self.platform.outcomes() if each.message_id == message.external_id)

    async def replies(self, message: Message) -> tuple[Reply, ...]:
        record = await self.platform.record()
        return next(each.replies for each in record.messages if each.message_id == message.external_id)

    async def until_final(self, message: Message) -> Verdict:
        async def final() -> bool:
            return (await self.verdict(message)).state == "final"

        await eventually(final)
        return await self.verdict(message)

    async def codes(self) -> set[int]:
        """What the platform has answered in this test."""
        return {call["code"] for call in (await self.platform.calls())[self.calls_before :]}

    async def calls(self, method: str, fragment: str) -> int:
        """How many calls the platform has got in this test."""
        calls = (await self.platform.calls())[self.calls_before :]
        return sum(call["method"] == method and fragment in call["path"] for call in calls)


@asynccontextmanager
async def serve(routes: Sequence[tuple[str, ASGIApp]]) -> AsyncIterator[str]:
    """The origin at which these applications answer."""
    apps = dict(routes)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await apps[scope["path"]](scope, receive, send)

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # With its protocol named: else asyncio leaves Nagle's algorithm on, and every answer takes 40 ms more.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        # Not `serve`: it takes over the signals of the process.
        await server.startup([listener])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for listening in server.servers:
                listening.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            await asyncio.gather(*server.server_state.tasks)


@pytest.fixture
def served() -> Callable[[Sequence[tuple[str, ASGIApp]]], AbstractAsyncContextManager[str]]:
    return serve


class ClockAhead(SystemClock):
    """The clock of a machine that looks at things an hour or a day later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def monotonic(self) -> float:
        return super().monotonic() + self._seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._seconds)


@pytest.fixture
async def world(tmp_path: Path, sandbox_process: SandboxAddress) -> AsyncIterator[World]:
    """A bot whose requests are quick to give up and to try again, so that no test waits for a default."""
    address = sandbox_process
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
        deliver_wait=10.0,
    )
    url = f"sqlite:///{tmp_path / 'feishu.db'}"
    migrated(url, ["mainstay.channels.feishu"])
    async with AsyncExitStack() as stack:
        storage = FailingStorage(StorageSettings(url=url, synchronous="normal"), clock=SystemClock())
        await storage.open({"feishu": HEAD})
        stack.push_async_callback(storage.close)
        platform = await stack.enter_async_context(SandboxClient(address))
        world = World(platform, storage, settings, stack, len(await platform.calls()))
        front = await world.process()
        await front.channel.resolve_bot()
        await front.kill()
        origin = await stack.enter_async_context(serve(front.channel.routes))
        await platform.subscribe(f"{origin}/webhook/event", f"{origin}/webhook/card")
        yield world
        await platform.clear()
