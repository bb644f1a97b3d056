"""How does an outcome reach the person, when a channel can only say it as a whole?

What a channel of your own needs beside its platform's API: `Sending` stores outcomes, shows them one after another
in each lane, tries again what fails, and buries what can not be shown at all. The channel brings one function,
which shows one outcome.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import SystemRandom
from typing import Final

from sqlalchemy import Connection

from mainstay.channels.outbox.model import Backlog, Showing, Stored, TryLater, Undeliverable, body_of, showing_of
from mainstay.channels.outbox.sqlite import Outcomes
from mainstay.channels.seam import Service
from mainstay.checks import Condition
from mainstay.errors import Category, LeftAlone, StorageUnavailable
from mainstay.events import DeadLettered, DeliveryRetried, ErrorSeen, OutcomeDelivered
from mainstay.messages import AnswerEvent, Finished, Message
from mainstay.recovery.classify import classify

__all__ = ["Patience", "Sending", "SendingReplier"]

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 8
_LOOK_EVERY_S: Final = 5.0  # for what another process left when it died
_PRUNE_EVERY_S: Final = 3600.0
_LEASE_MARGIN_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an outcome is tried. All in seconds.

    Attributes:
        timeout_s: of one try.
        wait_s: how long the end of a turn waits for its outcome to be shown, before the lane's next turn begins.
        base_s: the first delay between two tries; it doubles.
        cap_s: the longest delay between two tries.
        max_age_s: after this it becomes a dead letter.
        keep_s: how long an outcome that was shown stays in the database.
    """

    timeout_s: float = 10.0
    wait_s: float = 5.0
    base_s: float = 1.0
    cap_s: float = 60.0
    max_age_s: float = 6 * 3600.0
    keep_s: float = 24 * 3600.0


class Sending:
    """Shows outcomes until it is cancelled.

    Args:
        name: of the channel.
        service: see `Service`.
        show: shows one outcome, whole. Raises TryLater, or Undeliverable; whatever else it raises is a failure of
            the platform, reported and tried again, at the time that a response with ``Retry-After`` asks for.
        patience: see `Patience`.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        show: Callable[[Showing], Awaitable[None]],
        *,
        patience: Patience | None = None,
    ) -> None:
        self._name = name
        self._service = service
        self._show = show
        self._patience = patience or Patience()
        self._outcomes = Outcomes(
            service.storage,
            name,
            clock=service.clock,
            lease_s=self._patience.timeout_s + _LEASE_MARGIN_S,
            on_buried=self._buried,
        )
        self._random = SystemRandom()
        self._wake = asyncio.Event()
        self._now_due: set[str] = set()
        self._busy: set[int] = set()
        self._told: dict[str, asyncio.Event] = {}
        self._backlog = Backlog()
        self._last_error = ""

    def replier(self, message: Message, turn_id: str, attempt: int) -> "SendingReplier":  # noqa: ARG002
        """See `mainstay.channels.seam.Channel.replier`: nothing is shown but the outcome."""
        return SendingReplier(message, outcomes=self._outcomes, deliver=self._deliver)

    def check(self) -> Condition:
        """How the platform takes what is said."""
        retrying = self._backlog.retrying
        why = f"{retrying} outcomes can not be shown yet: {self._last_error}"
        return Condition(
            name=self._name,
            status="degraded" if retrying else "ok",
            required=False,
            reason=why if retrying else "",
            detail={"outbox": self._backlog.pending, "lastError": self._last_error or None},
        )

    async def run(self) -> None:
        """Show what is due, first what an earlier process left."""
        prune_at_s = self._service.clock.monotonic()
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    wait_s = await self._start_due(tasks)
                    if self._service.clock.monotonic() >= prune_at_s:
                        await self._outcomes.prune(self._patience.keep_s)
                        prune_at_s = self._service.clock.monotonic() + _PRUNE_EVERY_S
                except StorageUnavailable as error:
                    self._saw(Category.DATABASE, str(error))
                    wait_s = self._patience.base_s
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()

    async def _deliver(self, turn_id: str) -> None:
        told = self._told.setdefault(turn_id, asyncio.Event())
        self._now_due.add(turn_id)
        self._wake.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience.wait_s):
                    await told.wait()
        finally:
            self._told.pop(turn_id, None)
            self._now_due.discard(turn_id)

    async def _start_due(self, tasks: asyncio.TaskGroup) -> float:
        """Show what is due; returns the seconds until something else may be."""
        self._backlog = await self._outcomes.backlog()
        due_s, free = self._backlog.next_due_s, _AT_ONCE - len(self._busy)
        if free and (self._now_due or due_s == 0.0):
            taken = await self._outcomes.take(free, now_due=list(self._now_due), busy=list(self._busy))
            for stored in taken:
                self._busy.add(stored.seq)
                self._now_due.discard(stored.turn_id)
                tasks.create_task(self._shown(stored), name=f"show {stored.turn_id}")
        return min(due_s, _LOOK_EVERY_S) if due_s else _LOOK_EVERY_S

    async def _shown(self, stored: Stored) -> None:
        try:
            await self._try(stored)
        except StorageUnavailable as error:  # its lease runs out, and it is shown again
            self._saw(Category.DATABASE, str(error), stored.turn_id)
        finally:
            self._busy.discard(stored.seq)
            self._wake.set()

    async def _try(self, stored: Stored) -> None:
        turn_id, tries = stored.turn_id, stored.tries + 1
        try:
            with self._service.guard.permit():
                async with asyncio.timeout(self._patience.timeout_s):
                    refused = await self._refused(showing_of(stored, tries))
        except LeftAlone as error:
            refused = TryLater(str(error), error.wait_s)
        except Exception as error:  # noqa: BLE001  one outcome's bug must not keep the others from being shown
            failure = classify(error)
            if is_bug := failure.category is Category.INTERNAL:
                _log.exception("an outcome could not be shown")
            self._saw(failure.category, failure.message, turn_id, logged=is_bug)
            refused = TryLater(failure.message, failure.retry_after_s or 0.0)
        match refused:
            case None:
                if await self._outcomes.settle(stored.seq, shown=True):
                    self._service.bus.emit(OutcomeDelivered(turn_id=turn_id, via="text"))
                self._settled(turn_id)
            case TryLater():
                await self._put_off(stored, tries, str(refused), refused.after_s)
            case Undeliverable():
                await self._bury(stored, str(refused))

    async def _refused(self, showing: Showing) -> TryLater | Undeliverable | None:
        """Why it was not shown. What the platform says is no failure of the platform."""
        try:
            if showing.said:  # else the message was taken back, and nothing is to be said
                await self._show(showing)
        except (TryLater, Undeliverable) as refused:
            return refused
        return None

    async def _put_off(self, stored: Stored, tries: int, reason: str, at_least_s: float) -> None:
        patience = self._patience
        age_s = (self._service.clock.now() - stored.created_at).total_seconds()
        if age_s > patience.max_age_s:
            await self._bury(stored, f"not shown within its age limit: {reason}")
            return
        self._last_error = reason
        delay_s = min(patience.cap_s, patience.base_s * 2.0 ** min(tries - 1, 30))
        await self._outcomes.put_off(stored.seq, max(at_least_s, delay_s * self._random.uniform(0.5, 1.0)), reason)
        self._service.bus.emit(DeliveryRetried(turn_id=stored.turn_id, tries=tries, reason=reason))

    async def _bury(self, stored: Stored, reason: str) -> None:
        if await self._outcomes.settle(stored.seq, shown=False, error=reason):
            for turn_id in stored.message.turn_ids:
                self._buried(turn_id, reason)
        self._settled(stored.turn_id)

    def _buried(self, turn_id: str, reason: str) -> None:
        self._service.bus.emit(DeadLettered(turn_id=turn_id, reason=reason))
        self._settled(turn_id)

    def _settled(self, turn_id: str) -> None:
        if (told := self._told.get(turn_id)) is not None:
            told.set()

    def _saw(self, category: Category, message: str, turn_id: str = "", *, logged: bool = False) -> None:
        where = f"{self._name}.outbox"
        self._service.bus.emit(
            ErrorSeen(category=category, message=message, where=where, turn_id=turn_id, logged=logged)
        )


class SendingReplier:
    """See `mainstay.messages.Replier`."""

    def __init__(self, message: Message, *, outcomes: Outcomes, deliver: Callable[[str], Awaitable[None]]) -> None:
        self._message = message
        self._outcomes = outcomes
        self._deliver = deliver

    def show(self, event: AnswerEvent) -> None:
        """See `mainstay.messages.Replier.show`."""

    def post(self, tx: Connection, final: Finished) -> None:
        """See `mainstay.messages.Replier.post`."""
        self._outcomes.post(tx, self._message, body_of(final), waiting=True)

    async def deliver(self) -> None:
        """See `mainstay.messages.Replier.deliver`."""
        await self._deliver(self._message.turn_id)

    async def pause(self, notice: str) -> None:
        """See `mainstay.messages.Replier.pause`."""
