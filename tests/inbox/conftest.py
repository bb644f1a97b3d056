"""One world for every implementation of the inbox: two workers, one store, a clock that stands still."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from tests.databases import migrated

from mainstay.inbox.model import Claim, InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.inbox.tables import HEAD
from mainstay.messages import Message, Outcome
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock
from mainstay.testing.inbox import InboxInMemory, Rows

SETTINGS = InboxSettings(lease=30, backoff=1, max_backoff=60, merge_after=0)


@dataclass
class Post:
    """What the contract's tests need: workers by name, and the transaction in which a turn is finished."""

    open: Callable[..., Any]
    write: Callable[[Callable[[Any], Any]], Awaitable[Any]]
    clock: ManualClock
    buried: list[tuple[str, str]] = field(default_factory=list)
    joined: list[tuple[Message, str]] = field(default_factory=list)

    def message(self, name: str, chat: str = "chat") -> Message:
        return Message(
            channel="feishu",
            bot_id="bot",
            external_id=name,
            chat_id=chat,
            sender_id="somebody",
            text=f"text of {name}",
            sent_at=self.clock.now(),
            may_join=True,
        )

    async def finish(self, inbox, claim: Claim, outcome: Outcome = Outcome.ANSWERED, detail: str = "") -> None:
        await self.write(lambda tx: inbox.finish(tx, claim, outcome, detail))


@pytest.fixture(params=["memory", "sqlite"])
async def post(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Post]:
    clock = ManualClock()
    buried: list[tuple[str, str]] = []

    joined: list[tuple[Message, str]] = []

    def noted(turn_id: str, reason: str) -> None:
        buried.append((turn_id, reason))

    def kept(worker: str, changes: dict[str, Any]) -> dict[str, Any]:
        settings = replace(SETTINGS, **changes)
        told = {"on_buried": noted, "on_joined": lambda message, into: joined.append((message, into))}
        return {"settings": settings, "clock": clock, "worker": worker} | told

    if request.param == "memory":
        rows = Rows()
        yield Post(
            lambda worker, **changes: InboxInMemory(rows, **kept(worker, changes)),
            rows.write,
            clock,
            buried,
            joined,
        )
        return
    url = f"sqlite:///{tmp_path / 'inbox.db'}"
    migrated(url, ["mainstay.inbox"])
    storage = Storage(StorageSettings(url=url), clock=clock)
    await storage.open({"inbox": HEAD})
    yield Post(
        lambda worker, **changes: Inbox(storage, **kept(worker, changes)),
        storage.write,
        clock,
        buried,
        joined,
    )
    await storage.close()
