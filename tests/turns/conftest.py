"""The room `turns` at work on real storage, inbox and memory, between a scripted agent and a recording channel."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection
from tests.databases import migrated

from mainstay.bus import Bus
from mainstay.clock import SystemClock
from mainstay.errors import StorageUnavailable
from mainstay.events import Event, TurnFinished
from mainstay.inbox.model import Claim, InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.memory.model import MemorySettings
from mainstay.memory.sqlite import Memory
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, TextAppended, Turn
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.answers import RecordingReplier, ScriptedResponder
from mainstay.turns.attempt import Rooms
from mainstay.turns.model import TurnSettings
from mainstay.turns.runner import Turns

T = TypeVar("T")
E = TypeVar("E", bound=Event)

ROOMS = ("mainstay.inbox", "mainstay.memory", "mainstay.turns")


def message(number: int, *, chat: str = "oc_1", channel: str = "test", said: str = "") -> Message:
    return Message(
        channel=channel,
        bot_id="bot",
        external_id=f"om_{number}",
        chat_id=chat,
        sender_id="ou_1",
        text=said or f"question {number}",
        sent_at=datetime.now(UTC),
        may_join=True,
    )


async def echo(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
    yield TextAppended(f"re: {message.text}")
    yield Finished(outcome=Outcome.ANSWERED, text=f"re: {message.text}", agent="manager", model="primary")


@dataclass
class World:
    inbox: Inbox
    memory: Memory
    storage: Storage
    turns: Turns
    bus: Bus
    events: list[Event] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)
    repliers: dict[str, list[RecordingReplier]] = field(default_factory=dict)
    _seen: asyncio.Event = field(default_factory=asyncio.Event)

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self._seen.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._seen.clear()
                await self._seen.wait()

    async def finished(self, count: int) -> None:
        await self.until(lambda: len(self.of(TurnFinished)) >= count)

    def outcomes(self, message: Message) -> list[Finished]:
        return [final for replier in self.repliers[message.turn_id] for final in replier.delivered]


class Watched(Inbox):
    """Counts how often somebody looks for work."""

    looks = 0

    async def claim(self, limit: int, *, but: Collection[str] = ()) -> list[Claim]:
        self.looks += 1
        return await super().claim(limit, but=but)


class Forgetful(Storage):
    """Stores the first outcome, and then says that it could not: the answer to a write that took too long."""

    forgot = False

    async def write(self, work: Callable[[Connection], T]) -> T:
        stored = await super().write(work)
        if not self.forgot and "_settling" in getattr(work, "__qualname__", ""):
            self.forgot = True
            raise StorageUnavailable("it may still be stored")
        return stored


class Full(Storage):
    """Has room for everything but outcomes."""

    async def write(self, work: Callable[[Connection], T]) -> T:
        if "_settling" in getattr(work, "__qualname__", ""):
            raise StorageUnavailable("the disk is full")
        return await super().write(work)


@asynccontextmanager
async def world(
    path: Path,
    *,
    kind: type[Storage] = Storage,
    queue: type[Inbox] = Inbox,
    settings: TurnSettings | None = None,
    inbox: InboxSettings | None = None,
    turn_timeout_s: float = 10.0,
    worker: str = "here",
) -> AsyncIterator[World]:
    url = f"sqlite:///{path}/mainstay.db"
    migrated(url, ROOMS)
    clock = SystemClock()
    storage = kind(StorageSettings(url=url), clock=clock)
    await storage.open({})
    inbox_settings = inbox or InboxSettings()
    box = queue(storage, inbox_settings, clock=clock, worker=worker)
    memory = Memory(storage, MemorySettings(), clock=clock)
    bus = Bus()

    def opened(message: Message, turn_id: str, attempt: int) -> RecordingReplier:
        replier = RecordingReplier()
        made.repliers.setdefault(turn_id, []).append(replier)
        return replier

    rooms = Rooms(
        storage=storage,
        inbox=box,
        memory=memory,
        bus=bus,
        clock=clock,
        settings=settings or TurnSettings(),
        turn_timeout_s=turn_timeout_s,
        lease_s=inbox_settings.lease,
    )
    made = World(box, memory, storage, Turns(rooms), bus)
    made.turns.answer_through("test", opened)
    bus.subscribe_all(made.on_event)
    try:
        yield made
        assert made.failures == []
    finally:
        await storage.close()


@asynccontextmanager
async def working(made: World, responder: ScriptedResponder) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.turns.run(responder, failed=made.failures.append))
        try:
            yield
        finally:
            await made.turns.drain(0)
            await running
