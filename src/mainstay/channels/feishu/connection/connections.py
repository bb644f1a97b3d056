"""How is a bot kept connected, how is that shown, and what is fetched after a gap?

As many `Slot` as were asked for. When one is open again after a gap, and when one has brought nothing for long,
the histories are asked (`Backfill`). One that answers every ping and brings no events is replaced where there is
evidence of it (`Quiet`): messages in the histories that should have come by it, or many events over the others.
Replacing it by the clock alone would cost a gap each time, and could not tell whether there was any need.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from secrets import SystemRandom
from typing import Final, Literal, NoReturn

import httpx2

from mainstay.bus import Bus
from mainstay.channels.feishu.client import FeishuClient
from mainstay.channels.feishu.connection.backfill import Backfill, Found
from mainstay.channels.feishu.connection.model import Container, FailureKind
from mainstay.channels.feishu.connection.quiet import Quiet
from mainstay.channels.feishu.connection.sqlite import Chats
from mainstay.channels.feishu.connection.websocket import Slot
from mainstay.channels.feishu.intake import Intake
from mainstay.channels.feishu.machine import backoff
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.checks import Check, Condition
from mainstay.clock import Clock, iso

__all__ = ["Connections"]

_CHANCE: Final = SystemRandom().random
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
        self._backfill = Backfill(name, settings, client=client, chats=chats, intake=intake, bus=bus)
        self._quiet = Quiet(settings.quiet_after, settings.connections, clock.monotonic())
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
                opened=partial(self._opened, number - 1),
                heard=partial(self._heard, number - 1),
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

    @property
    def _open(self) -> list[int]:
        return [number for number, slot in enumerate(self._slots) if slot.since]

    def _opened(self, number: int, good_at: datetime | None, gap_s: float) -> None:
        self._quiet.opened(number)
        is_first = not self.opened.is_set()
        self.opened.set()
        if is_first or (good_at is not None and gap_s >= self._settings.backfill_after):
            self._missed_since(good_at)

    def _missed_since(self, at: datetime | None) -> None:
        if self._settings.backfill_chats:
            self._chats.hold()
            self._gaps.append(at)
            self._woken.set()

    def _heard(self, number: int) -> None:
        for each in self._quiet.heard(number, self._open, self._clock.monotonic()):
            slot = self._slots[each]
            self._missed_since(slot.quiet_since)
            slot.suspect("stale: event after event came over the other connections, and none over it")

    async def _fetch(self) -> NoReturn:
        if not self._settings.backfill_chats:
            await asyncio.Event().wait()
        while True:
            self._woken.clear()
            left_s = self._quiet.due_s(self._open) - self._clock.monotonic()
            if self._gaps:
                await self._catch_up()
            elif left_s <= 0.0:
                await self._look()
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await self._woken.wait()

    async def _catch_up(self) -> None:
        gaps, self._gaps = self._gaps, []
        known = [each for each in gaps if each is not None]
        since = min(known) if len(known) == len(gaps) else None
        found = await self._ask(since)
        if not self._gaps:
            self._chats.release()
        elif found.again:
            self._gaps.append(since)

    async def _look(self) -> None:
        """Some have brought nothing for long: is there nothing?"""
        now_s = self._clock.monotonic()
        self._quiet.looked(now_s)
        quiet = self._quiet.quiet(self._open, now_s)
        since = [at for at in (self._slots[each].quiet_since for each in quiet) if at is not None]
        if not since:
            return
        found = await self._ask(min(since))
        for each in self._quiet.quiet(quiet, self._clock.monotonic()) if found.missed else ():
            self._slots[each].suspect(f"stale: {found.missed} messages were said that it did not bring")

    async def _ask(self, since: datetime | None) -> Found:
        """Until all have answered, there is another gap, or what was missed is too old anyway."""
        began_s, tries, missed = self._clock.monotonic(), 0, 0
        containers: Sequence[Container] | None = None
        while True:
            found = await self._backfill.since(since, containers)
            tries, missed, containers = tries + 1, missed + found.missed, found.again
            late = self._clock.monotonic() - began_s >= self._settings.backfill_max_age
            if not containers or self._gaps or late:
                return Found(missed=missed, again=found.again)
            await asyncio.sleep(backoff(tries, base_s=self._settings.retry_base, cap_s=self._settings.retry_cap))

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
            "historiesLeftOut": self._backfill.left_out,
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
        "lastReason": max((slot.last_reason for slot in slots), key=lambda each: each[0])[1] or None,
    }


def _latest(moments: Iterable[datetime | None]) -> str | None:
    known = [each for each in moments if each is not None]
    return iso(max(known)) if known else None
