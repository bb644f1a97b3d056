"""How is a bot kept connected, how is that shown, and what is fetched after a gap?

As many `Slot` as were asked for. When one is open again after a gap, and when none has brought anything for long,
the histories are asked (`Backfill`). That is also the only evidence there is against a connection that answers
every ping and brings no events: when the histories have messages that should have come by it, it is replaced.
Replacing it by the clock alone would cost a gap each time, and could not tell whether there was any need.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial
from secrets import SystemRandom
from typing import Final, Literal, NoReturn

import httpx2

from mainstay.bus import Bus
from mainstay.channels.feishu.client import FeishuClient
from mainstay.channels.feishu.connection.backfill import Backfill
from mainstay.channels.feishu.connection.machine import Quiet
from mainstay.channels.feishu.connection.model import FailureKind
from mainstay.channels.feishu.connection.sqlite import Chats
from mainstay.channels.feishu.connection.websocket import Slot
from mainstay.channels.feishu.intake import Intake
from mainstay.channels.feishu.machine import backoff
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.checks import Check, Condition
from mainstay.clock import Clock, iso

__all__ = ["Connections"]

_CHANCE: Final = SystemRandom().random
_MOST_TRIES: Final = 6
Detail = Mapping[str, str | int | float | bool | None]


class Connections:
    """The long connections of one bot.

    Args:
        name: of the channel.
        settings: of the channel.
        http: for the question where to connect to.
        client: asks the histories.
        chats: is told of every message by the intake.
        intake: takes events.
        bus: hears of everything.
        clock: for deadlines, and for what is shown.
    """

    def __init__(
        self,
        name: str,
        settings: FeishuSettings,
        *,
        http: httpx2.AsyncClient,
        client: FeishuClient,
        chats: Chats,
        intake: Intake,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        self._chats = chats
        self._backfill = Backfill(name, settings, client=client, chats=chats, intake=intake, bus=bus, clock=clock)
        self._quiet = Quiet(settings.quiet_after, clock.monotonic())
        self._heard_at = clock.now()
        self._gaps: list[datetime | None] = []
        self._woken = asyncio.Event()
        self._tasks: list[asyncio.Task[NoReturn]] = []
        self.opened = asyncio.Event()
        """Set when one was open for the first time."""
        self.rejected: Counter[str] = Counter()
        """What came and was left out, by reason."""
        self._slots = [
            Slot(
                number,
                name,
                settings,
                http=http,
                intake=intake,
                bus=bus,
                clock=clock,
                chance=_CHANCE,
                opened=self._opened,
                heard=self._heard,
                rejected=self.rejected,
            )
            for number in range(1, settings.connections + 1)
        ]

    async def run(self) -> None:
        """Be connected, and fetch what was missed, until cancelled or told to `leave`."""
        await self._chats.load()
        async with asyncio.TaskGroup() as tasks:
            work = (self._chats.run(), self._fetch(), *(slot.run() for slot in self._slots))
            self._tasks = [tasks.create_task(each) for each in work]

    def leave(self) -> None:
        """Close the connections, and open none any more."""
        for task in self._tasks:
            task.cancel()

    def _opened(self, good_at: datetime | None, gap_s: float) -> None:
        is_first = not self.opened.is_set()
        self.opened.set()
        if is_first or (good_at is not None and gap_s >= self._settings.backfill_after):
            self._gaps.append(good_at)
            self._woken.set()

    def _heard(self) -> None:
        self._heard_at = self._clock.now()
        self._quiet.heard(self._clock.monotonic())

    async def _fetch(self) -> NoReturn:
        if not self._settings.backfill_chats:
            await asyncio.Event().wait()
        while True:
            try:
                async with asyncio.timeout(max(0.0, self._quiet.due_s - self._clock.monotonic())):
                    await self._woken.wait()
            except TimeoutError:
                await self._look()
            else:
                self._woken.clear()
                gaps, self._gaps = self._gaps, []
                known = [each for each in gaps if each is not None]
                await self._ask(min(known) if len(known) == len(gaps) else None)

    async def _look(self) -> None:
        """Nothing has come for long: is there nothing?"""
        self._quiet.looked(self._clock.monotonic())
        if not any(slot.since for slot in self._slots):
            return
        missed = await self._ask(self._heard_at)
        if missed:
            for slot in self._slots:
                slot.suspect(f"stale: {missed} messages were said that it did not bring")

    async def _ask(self, since: datetime | None) -> int:
        """How many messages should have come by themselves."""
        missed = 0
        for tries in range(1, _MOST_TRIES):
            found = await self._backfill.since(since)
            missed += found.missed
            if not found.again:
                break
            await asyncio.sleep(backoff(tries, base_s=self._settings.retry_base, cap_s=self._settings.retry_cap))
        return missed

    def status(self) -> tuple[Literal["ok", "degraded", "down"], str]:
        """And why. Down: never connected, or not by itself again. Degraded: it is being connected again."""
        closed = [slot for slot in self._slots if slot.since is None]
        if not closed:
            return "ok", ""
        failures = [slot.failure for slot in closed if slot.failure is not None]
        worst = next((each for each in failures if each.kind is FailureKind.REJECTED), None)
        why = (worst or failures[0]).reason if failures else ""
        if worst is not None:
            why = f"the platform does not accept the app: {why}"
        if len(closed) == len(self._slots) and (worst is not None or not self.opened.is_set()):
            return "down", why
        return "degraded", f"{len(self._slots) - len(closed)} of {len(self._slots)} connections are open: {why}"

    @property
    def is_deaf(self) -> bool:
        """Whether there has been no connection for so long that it is no hiccup."""
        now_s = self._clock.monotonic()
        return all(slot.closed_for(now_s) > self._settings.deaf_after for slot in self._slots)

    def detail(self) -> Detail:
        """What is shown of all of them together."""
        return {
            "connections": f"{sum(slot.since is not None for slot in self._slots)}/{len(self._slots)}",
            **_shown(self._slots),
            "leftOut": self.rejected.total(),
            "historyRefused": "; ".join(f"{kind}: {why}" for kind, why in self._backfill.refused.items()) or None,
        }

    def checks(self) -> list[Check]:
        """One for each, if there are several; none of them is needed as long as another is there."""
        several = self._slots if len(self._slots) > 1 else []
        return [partial(self._check, number, slot) for number, slot in enumerate(several, start=1)]

    def _check(self, number: int, slot: Slot) -> Condition:
        return Condition(
            name=f"{self._name}:{number}",
            status="ok" if slot.since else "degraded",
            required=False,
            reason="" if slot.since else slot.failure.reason if slot.failure else "connecting",
            detail=_shown([slot]),
        )


def _shown(slots: list[Slot]) -> Detail:
    return {
        "connectedSince": _latest(slot.since for slot in slots),
        "lastEvent": _latest(slot.last_event_at for slot in slots),
        "lastPong": _latest(slot.last_pong_at for slot in slots),
        "reconnects": sum(max(0, slot.openings - 1) for slot in slots),
        "lastReason": next((slot.last_reason for slot in slots if slot.last_reason), None),
    }


def _latest(moments: Iterable[datetime | None]) -> str | None:
    known = [each for each in moments if each is not None]
    return iso(max(known)) if known else None
