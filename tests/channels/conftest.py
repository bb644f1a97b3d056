"""A service in this process, as far as a channel sees it: inbox, turns, database, and real HTTP."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx2
from tests.databases import migrated

from mainstay.bus import Bus
from mainstay.channels.kinds import ChannelSettings
from mainstay.channels.plugged import made
from mainstay.channels.seam import Channel, Service
from mainstay.clock import SystemClock
from mainstay.events import Event
from mainstay.guard import Unguarded
from mainstay.inbox.model import InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.memory.model import MemorySettings
from mainstay.memory.sqlite import Memory
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, TextAppended, Turn
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.answers import ScriptedResponder
from mainstay.turns.attempt import Rooms
from mainstay.turns.model import TurnSettings
from mainstay.turns.runner import Turns
from mainstay.web.access import Access, load_tokens
from mainstay.web.app import App
from mainstay.web.server import listen, serving

DEADLINE_S = 30.0
ROOMS = ("mainstay.inbox", "mainstay.memory", "mainstay.turns", "mainstay.channels.outbox")
Script = Callable[[Message, Turn], AsyncGenerator[AnswerEvent, None]]


async def echo(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
    yield TextAppended(f"re: {message.text}")
    yield Finished(outcome=Outcome.ANSWERED, text=f"re: {message.text}", agent="manager", model="primary")


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds; fails after a deadline that only a broken program reaches."""
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():  # noqa: ASYNC110  what is waited for announces itself to nobody
            await asyncio.sleep(0.01)


async def no_suggestions(_message: Message, _answer: str) -> tuple[str, ...]:
    return ()


@dataclass
class Running:
    """One run of a service with these channels; leaving it is a stop without a drain."""

    home: Path
    channels: Mapping[str, ChannelSettings]
    script: Script = echo
    settings: TurnSettings = field(default_factory=lambda: TurnSettings(start_interval=0.001))
    answering: bool = True
    retry_window_s: float = 60.0
    events: list[Event] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._stack = await AsyncExitStack().__aenter__()
        self._seen = asyncio.Event()
        clock, self.bus = SystemClock(), Bus()
        self.bus.subscribe_all(self._saw)
        url = f"sqlite:///{self.home}/mainstay.db"
        migrated(url, ROOMS)
        self.storage = Storage(StorageSettings(url=url, synchronous="normal"), clock=clock)
        await self.storage.open({})
        self._stack.push_async_callback(self.storage.close)
        self.memory = Memory(self.storage, MemorySettings(), clock=clock)
        self.inbox = Inbox(self.storage, InboxSettings(), clock=clock, worker="here")
        http = await self._stack.enter_async_context(httpx2.AsyncClient(trust_env=False))
        self.turns = Turns(
            Rooms(
                storage=self.storage,
                inbox=self.inbox,
                memory=self.memory,
                bus=self.bus,
                clock=clock,
                settings=self.settings,
                turn_timeout_s=DEADLINE_S,
                lease_s=InboxSettings().lease,
            )
        )
        service = Service(
            storage=self.storage,
            bus=self.bus,
            clock=clock,
            http=http,
            guard=Unguarded(),
            accept=self.inbox.put,
            cancel=self.turns.recall,
            stop=self.turns.stop,
            find=self.inbox.find,
            unanswered=self.inbox.unanswered,
            depth=self.inbox.depth,
            answered_before=self.memory.remembers,
            suggest=no_suggestions,
            retry_window_s=self.retry_window_s,
        )
        self.made = {name: made(name, settings, service) for name, settings in self.channels.items()}
        for name, channel in self.made.items():
            self.turns.answer_through(name, channel.replier)
        await self._serve()
        self.responder = ScriptedResponder(self.script)
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._stack.push_async_callback(self._stop)
        self._running = [self._tasks.create_task(channel.run()) for channel in self.made.values()]
        if self.answering:
            self._tasks.create_task(self.turns.run(self.responder, failed=self.failures.append))
            await asyncio.sleep(0)  # its tasks begin, so that they can end
            await asyncio.sleep(0)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()
        assert self.failures == []

    async def _serve(self) -> None:
        access = Access(load_tokens(self.home))
        self.token = load_tokens(self.home).operator.reveal()
        mounts = [mount for channel in self.made.values() for mount in channel.mounts]
        app = App(mounts, access, lambda _path, error: self.failures.append(error))
        listener = self._stack.enter_context(listen("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server = await self._stack.enter_async_context(serving(app, listener, drain_s=1.0))

    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._server.server_state.connections)

    async def leave(self) -> None:
        """The channels stop, as they do when the service does."""
        for task in self._running:
            task.cancel()
        await asyncio.wait(self._running)

    async def _stop(self) -> None:
        await self.turns.drain(0)
        await self.leave()

    def _saw(self, event: Event) -> None:
        self.events.append(event)
        self._seen.set()

    async def until(self, kind: type[Event], count: int = 1) -> None:
        """So many events of this kind have been emitted."""
        async with asyncio.timeout(DEADLINE_S):
            while len([each for each in self.events if type(each) is kind]) < count:
                self._seen.clear()
                await self._seen.wait()

    def channel(self, name: str) -> Channel:
        return self.made[name]


@asynccontextmanager
async def visiting(running: Running, token: str | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that shows the operator's token, or this one."""
    headers = {"Authorization": f"Bearer {running.token if token is None else token}"}
    async with httpx2.AsyncClient(
        base_url=running.url, headers=headers, trust_env=False, timeout=DEADLINE_S
    ) as http:
        yield http
