"""Which outcomes are being shown now, and what becomes of those that are refused?

The one place that shows outcomes, for turns that end now and for what an earlier process left alike. Outcomes of
one lane go out one after another, those of different lanes at the same time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import SystemRandom
from typing import Final, assert_never

from mainstay.bus import Bus
from mainstay.channels.feishu.client import Refused
from mainstay.channels.feishu.courier import Courier
from mainstay.channels.feishu.machine import Degrade, Drop, GiveUp, Refusal, Retry, after, failed_request
from mainstay.channels.feishu.model import Delivery, FeishuSettings
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.outbox.model import Backlog
from mainstay.clock import Clock
from mainstay.errors import Category, StorageUnavailable
from mainstay.events import DeadLettered, DeliveryRetried, ErrorSeen, OutcomeDelivered

__all__ = ["Pump"]

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 8
_LOOK_EVERY_S: Final = 5.0  # for what another process left when it died
_PRUNE_EVERY_S: Final = 3600.0


class Pump:
    """Shows outcomes until it is cancelled.

    Args:
        name: of the channel.
        quiet: ends what still writes to the card of an attempt; called before its outcome is written.
        shown: told of each outcome that the person sees.
    """

    def __init__(
        self,
        name: str,
        settings: FeishuSettings,
        *,
        outbox: Outbox,
        courier: Courier,
        bus: Bus,
        clock: Clock,
        quiet: Callable[[str, int], Awaitable[None]],
        shown: Callable[[Delivery], None],
    ) -> None:
        self._name = name
        self._settings = settings
        self._outbox = outbox
        self._courier = courier
        self._bus = bus
        self._clock = clock
        self._quiet = quiet
        self._shown = shown
        self._random = SystemRandom()
        self._wake = asyncio.Event()
        self._now_due: dict[str, float] = {}
        self._busy: set[int] = set()
        self._waiting: dict[str, asyncio.Event] = {}
        self.backlog = Backlog()
        """As of the last look."""

    async def deliver(self, turn_id: str) -> None:
        """Show the outcome of a turn now; returns when it is settled, or after ``deliver_wait``."""
        settled = self._waiting.setdefault(turn_id, asyncio.Event())
        self._hurry(turn_id)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.deliver_wait):
                    await settled.wait()
        finally:
            self._waiting.pop(turn_id, None)

    def _hurry(self, turn_id: str) -> None:
        """Its row is leased to us until then, and due by itself after."""
        self._now_due[turn_id] = self._clock.monotonic() + self._settings.delivery_timeout
        self._wake.set()

    async def run(self) -> None:
        """First what an earlier process left, then what is posted."""
        started, prune_at = False, self._clock.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    if not started:
                        await self._outbox.make_due()
                        started = True
                    wait_s = await self._start_due(tasks)
                    if self._clock.monotonic() >= prune_at:
                        await self._outbox.prune(self._settings.keep)
                        await self._outbox.prune_dead(self._settings.keep_undelivered)
                        prune_at = self._clock.monotonic() + _PRUNE_EVERY_S
                except StorageUnavailable as error:
                    self._saw(Category.DATABASE, str(error), "")
                    wait_s = self._settings.retry_base
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()

    async def _start_due(self, tasks: asyncio.TaskGroup) -> float:
        """Show what is due; returns the seconds until something else may be."""
        now_s, free = self._clock.monotonic(), _AT_ONCE - len(self._busy)
        self._now_due = {turn_id: until_s for turn_id, until_s in self._now_due.items() if until_s > now_s}
        self.backlog = await self._outbox.backlog()
        due_s = self.backlog.next_due_s
        if free and (self._now_due or due_s == 0.0):
            taken = await self._outbox.take(free, now_due=list(self._now_due), busy=list(self._busy))
            for delivery in taken:
                self._busy.add(delivery.seq)
                self._now_due.pop(delivery.turn_id, None)
                tasks.create_task(self._show(delivery), name=f"deliver {delivery.turn_id}")
        return min(due_s, _LOOK_EVERY_S) if due_s else _LOOK_EVERY_S

    async def _show(self, delivery: Delivery) -> None:
        try:
            refusal = await self._try(delivery)
            if refusal is not None:
                await self._settle_refused(delivery, refusal)
        except StorageUnavailable as error:
            self._saw(Category.DATABASE, str(error), delivery.turn_id)
            await asyncio.sleep(self._settings.retry_base)
            self._hurry(delivery.turn_id)
        finally:
            self._busy.discard(delivery.seq)
            self._wake.set()

    async def _try(self, delivery: Delivery) -> Refusal | None:
        try:
            async with asyncio.timeout(self._settings.delivery_timeout):
                await self._quiet(delivery.turn_id, delivery.attempt)
                via = await self._courier.deliver(delivery)
        except Refused as refused:
            return refused.refusal
        except TimeoutError:
            return failed_request(Category.TIMEOUT, f"not shown within {self._settings.delivery_timeout:g} s")
        except StorageUnavailable:
            raise
        except Exception as error:  # noqa: BLE001  one outcome's bug must not keep the others from being shown
            _log.exception("an outcome could not be shown")
            self._saw(Category.INTERNAL, type(error).__name__, delivery.turn_id, logged=True)
            return failed_request(Category.INTERNAL, type(error).__name__)
        if await self._outbox.settle(delivery.seq, shown=True):
            self._bus.emit(OutcomeDelivered(turn_id=delivery.turn_id, via=via))
            self._shown(delivery)
        self._told(delivery.turn_id)
        return None

    async def _settle_refused(self, delivery: Delivery, refusal: Refusal) -> None:
        turn_id = delivery.turn_id
        decision = after(
            refusal,
            delivery,
            age_s=(self._clock.now() - delivery.created_at).total_seconds(),
            base_s=self._settings.retry_base,
            cap_s=self._settings.retry_cap,
            max_age_s=self._settings.max_age,
            jitter=self._random.random(),
        )
        match decision:
            case Retry(after_s):
                await self._outbox.put_off(delivery.seq, after_s, refusal.reason)
                self._bus.emit(DeliveryRetried(turn_id=turn_id, tries=delivery.tries, reason=refusal.reason))
            case Degrade(via, apologise):
                await self._outbox.degrade(delivery.seq, via, apologise=apologise, error=refusal.reason)
                self._hurry(turn_id)
            case GiveUp(reason):
                if await self._outbox.settle(delivery.seq, shown=False, error=reason):
                    for dead in delivery.message.turn_ids:
                        self._bus.emit(DeadLettered(turn_id=dead, reason=reason))
                self._told(turn_id)
            case Drop():
                await self._outbox.settle(delivery.seq, shown=True, error=refusal.reason)
                self._told(turn_id)
            case _:
                assert_never(decision)

    def _told(self, turn_id: str) -> None:
        waiting = self._waiting.get(turn_id)
        if waiting is not None:
            waiting.set()

    def _saw(self, category: Category, message: str, turn_id: str, *, logged: bool = False) -> None:
        where = f"{self._name}.outbox"
        self._bus.emit(ErrorSeen(category=category, message=message, where=where, turn_id=turn_id, logged=logged))
