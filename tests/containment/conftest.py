"""What was reported, and what was written."""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from tests.logs.conftest import start

from mainstay.bus import Bus
from mainstay.containment.ending import Ending
from mainstay.containment.model import Origin
from mainstay.events import Event

__all__ = ["start"]


@dataclass
class Reports:
    """A `mainstay.containment.reporter.Report` that keeps what it is told."""

    seen: list[tuple[Origin, str, BaseException | None, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, origin: Origin, where: str, error: BaseException | None, words: str = "") -> None:
        self.seen.append((origin, where, error, words))
        self.changed.set()

    async def count(self, wanted: int) -> None:
        async with asyncio.timeout(20):
            while len(self.seen) < wanted:
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Ended:
    """An `Ending` with all that it did."""

    ending: Ending
    events: list[Event]
    end_by: list[float]


@pytest.fixture
async def ended() -> Iterator[Ended]:
    bus, events, end_by = Bus(), [], []
    bus.subscribe_all(events.append)
    yield Ended(Ending(bus, within_s=7.0, end_by=end_by.append), events, end_by)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().remove_signal_handler(number)
