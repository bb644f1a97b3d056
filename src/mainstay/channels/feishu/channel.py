"""How does a Feishu bot join the service?

Puts the parts of the room together: `Webhook` or `Connections` bring messages in, a `CardWriter` follows each
answer while it is made, the `Pump` shows outcomes, `Presses` acts on what is pressed under them. Nothing is decided
here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import httpx2

from mainstay.asgi import ASGIApp, Mount
from mainstay.bus import Bus
from mainstay.channels.feishu.client import REACTIONS, FeishuClient, Refused
from mainstay.channels.feishu.connection.sqlite import Chats
from mainstay.channels.feishu.courier import Courier
from mainstay.channels.feishu.courtesies import Courtesies
from mainstay.channels.feishu.edited import Edits
from mainstay.channels.feishu.feedback import Feedback
from mainstay.channels.feishu.governor.gate import Gate
from mainstay.channels.feishu.governor.model import Mode
from mainstay.channels.feishu.governor.quota import Quota
from mainstay.channels.feishu.governor.sqlite import StoredCalls
from mainstay.channels.feishu.intake import Intake
from mainstay.channels.feishu.leftovers import Leftovers
from mainstay.channels.feishu.machine import Refusal, backoff
from mainstay.channels.feishu.marks import Marks
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.presses import Presses
from mainstay.channels.feishu.pump import Pump
from mainstay.channels.feishu.reading import Reader
from mainstay.channels.feishu.receipts import Receipts
from mainstay.channels.feishu.replier import FeishuReplier
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.feishu.standing import standing
from mainstay.channels.feishu.webhook import Webhook, webhook_path
from mainstay.channels.feishu.writer import CardWriter
from mainstay.channels.feishu.writers import Writers
from mainstay.checks import Check, Condition
from mainstay.clock import Clock
from mainstay.errors import Category, StorageUnavailable
from mainstay.events import DeadLettered, ErrorSeen, QuotaChanged
from mainstay.guard import Guard
from mainstay.messages import Message, turn_id_of
from mainstay.storage.sqlite import Storage

if TYPE_CHECKING:
    from mainstay.channels.feishu.connection.connections import Connections

__all__ = ["FeishuChannel"]

_log = logging.getLogger(__name__)
_RECENT_S: Final = 300.0
_SEVERITY: Final = ("ok", "degraded", "down")
_TIDY_EVERY_S: Final = 3600.0


async def _never(_turn_id: str) -> bool:
    return False


async def _unknown(_turn_id: str) -> None:
    return None


async def _nothing(_message: Message, _answer: str) -> tuple[str, ...]:
    return ()


async def _nobody(_messages: Sequence[Message]) -> None:
    return None


async def _none(_chat: str) -> tuple[Message, ...]:
    return ()


class FeishuChannel:
    """One bot.

    Args:
        name: the configured name, which is also that of its `Condition`.
        accept: stores a message; raises StorageUnavailable, and then the platform is not told that we have it.
        recalled: remembers the turn_id of a message that its author took back, whether or not it is being answered;
            raises StorageUnavailable.
        stopped: ends the answers to messages because who asked wants no more of them; raises StorageUnavailable.
        answered_before: whether the turn with this id was answered; raises StorageUnavailable.
        unanswered: what has no outcome yet in a chat (`Message.chat`). Raises StorageUnavailable.
        find: what became of the turn with this id; None if it is not known. Raises StorageUnavailable.
        retry_window_s: how long after its failure a turn may be tried again.
        guard: of the platform, see `FeishuClient`.
        suggest: what may be said next under an answer, asked once it was shown.
        waiting: the message of the turn with this id, if it has no outcome yet; raises StorageUnavailable.
        has_ended: whether nobody works on the turn with this id, nor will; raises StorageUnavailable.

    Raises:
        ConfigError: if the settings would leave the webhook open or the bot mute.
    """

    def __init__(
        self,
        name: str,
        settings: FeishuSettings,
        *,
        storage: Storage,
        bus: Bus,
        clock: Clock,
        accept: Callable[[Message], Awaitable[bool]],
        recalled: Callable[[str], Awaitable[object]],
        answered_before: Callable[[str], Awaitable[bool]],
        retry_window_s: float,
        http: httpx2.AsyncClient,
        guard: Guard,
        suggest: Callable[[Message, str], Awaitable[Sequence[str]]] = _nothing,
        waiting: Callable[[str], Awaitable[Message | None]] = _unknown,
        has_ended: Callable[[str], Awaitable[bool]] = _never,
        find: Callable[[str], Awaitable[object]] = _unknown,
        stopped: Callable[[Sequence[Message]], Awaitable[object]] = _nobody,
        unanswered: Callable[[str], Awaitable[Sequence[Message]]] = _none,
    ) -> None:
        settings.validate(name)
        self._name = name
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._guard = guard
        self._quota = Quota(settings.monthly_quota)
        self._gate = Gate(settings, quota=self._quota, clock=clock, on_mode=self._allowed)
        self._calls = StoredCalls(
            storage,
            settings.app_id,
            quota=self._quota,
            clock=clock,
            on_stretched=lambda _: self._allowed(Mode.STRETCHED),
        )
        self._client = FeishuClient(
            settings, http=http, clock=clock, gate=self._gate, guard=guard, on_error=self._saw
        )
        self._outbox = Outbox(
            storage,
            name,
            clock=clock,
            lease_s=settings.delivery_timeout + 10.0,
            on_buried=lambda turn_id, reason: bus.emit(DeadLettered(turn_id=turn_id, reason=reason)),
        )
        self._accept = accept
        self._marks = Marks(storage, name, clock=clock)
        self._reader = Reader(settings, client=self._client, marks=self._marks, bot=lambda: self._bot)
        by_reaction = settings.receipts == "reaction"
        self._receipts = Receipts(client=self._client, marks=self._marks, bus=bus) if by_reaction else None
        self._courier = Courier(settings, self._client, self._outbox, bus=bus, clock=clock)
        self._writers = Writers(self._broke)
        self._courtesies = Courtesies(settings, self._courier, suggest, broke=self._broke)
        self._leftovers = Leftovers(name, outbox=self._outbox, courier=self._courier, bus=bus, has_ended=has_ended)
        self._pump = Pump(
            name,
            settings,
            outbox=self._outbox,
            courier=self._courier,
            bus=bus,
            clock=clock,
            quiet=self._writers.quiet,
            shown=self._courtesies.shown,
        )
        self._presses = Presses(
            outbox=self._outbox,
            feedback=Feedback(storage, name, clock=clock),
            clock=clock,
            bus=bus,
            accept=accept,
            writer=self._writers.get,
            waiting=waiting,
            stop=self._stop,
            window_s=retry_window_s,
        )
        chats = Chats(storage, name) if settings.by_connection else None
        self._find = find
        self._stopped = stopped
        self._answered_before = answered_before
        edits = Edits(settings, client=self._client, marks=self._marks, known=self._knows)
        self._intake = Intake(
            name,
            settings,
            bus=bus,
            clock=clock,
            accept=self._accepted,
            recalled=recalled,
            edited=edits.edited,
            answered_before=answered_before,
            pressed=self._presses.pressed,
            answered=lambda pressed: self._courtesies.withdraw(pressed.turn_id),
            bot=lambda: self._bot,
            unanswered=unanswered,
            stop=self._stop,
            heard=chats.note if chats else lambda _: None,
        )
        self._webhook = Webhook(name, settings, bus=bus, clock=self._client.time, intake=self._intake)
        self.connections: Connections | None = None
        """Where events come from, where they do not come by webhook."""
        if chats:
            from mainstay.channels.feishu.connection import connections  # 15 MB that a webhook does not need

            self.connections = connections.Connections(
                name,
                settings,
                http=http,
                client=self._client,
                chats=chats,
                intake=self._intake,
                bus=bus,
                clock=clock,
            )
        self._bot: Bot | None = None
        self._known = asyncio.Event()
        self._last_refusal: Refusal | None = None
        self._refused_at_s = 0.0

    @property
    def routes(self) -> list[tuple[str, ASGIApp]]:
        """Path and application of each webhook, where there are any; they verify every request themselves."""
        if self.connections is not None:
            return []
        return [("/webhook/event", self._webhook.event), ("/webhook/card", self._webhook.card)]

    @property
    def mounts(self) -> list[Mount]:
        """See `mainstay.channels.seam.Channel.mounts`."""
        return [
            Mount(
                path=webhook_path(self._name, path),
                app=app,
                access="signature",
                # wider than the webhook's own limits: what it refuses it counts, too
                max_body_bytes=2 * self._settings.body_limit,
                body_timeout_s=2 * self._settings.ack_timeout,
            )
            for path, app in self.routes
        ]

    async def run(self) -> None:
        """Stay connected and show outcomes, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._writers.run_in(tasks)
                self._courtesies.run_in(tasks)
                tasks.create_task(self._stay_connected())
                if self.connections is not None:
                    tasks.create_task(self._hear(self.connections))
                tasks.create_task(self._tidy())
                tasks.create_task(self._leftovers.run())
                if self._receipts is not None:
                    tasks.create_task(self._receipts.run())
                tasks.create_task(self._calls.run())
                await self._pump.run()
        finally:
            self._writers.run_in(None)
            self._courtesies.run_in(None)

    def leave(self) -> None:
        """Take no events over long connections any more; outcomes are shown as before."""
        if self.connections is not None:
            self.connections.leave()

    async def connected(self) -> None:
        """Return once events can come in."""
        if self.connections is not None:
            await self.connections.opened.wait()

    async def resolve_bot(self) -> Bot:
        """Who this bot is, asked once. Raises DeliveryError."""
        if self._bot is None:
            self._bot = await self._client.bot()
            self._known.set()
        return self._bot

    async def read(self, message: Message) -> Message:
        """The message as it is when its answer begins, with what it refers to. Never raises."""
        return await self._reader.read(message)

    async def _stop(self, messages: Sequence[Message]) -> None:
        """End the answers to these, as whoever asked wants: what was written stays. Raises StorageUnavailable."""
        for message in messages:
            writer = self._writers.get(message.turn_id)
            if writer is not None:
                writer.was_stopped = True  # before its outcome is stored
        await self._stopped(messages)

    async def _knows(self, message_id: str) -> bool:
        turn_id = turn_id_of(self._name, self._settings.app_id, "message", message_id)
        return await self._find(turn_id) is not None or await self._answered_before(turn_id)

    async def _accepted(self, message: Message) -> bool:
        new = await self._accept(message)
        if new and self._receipts is not None:
            self._receipts.seen(message)
        return new

    def replier(self, message: Message, turn_id: str, attempt: int) -> FeishuReplier:
        """Begin to show an attempt at a turn; its card appears at once, unless all is known that will be said.

        The card of the turn that it tries again loses its button, if it still has it.
        """
        self._courtesies.withdraw(message.retry_of)
        writer = CardWriter(
            message,
            turn_id,
            attempt,
            settings=self._settings,
            client=self._client,
            courier=self._courier,
            outbox=self._outbox,
            bus=self._bus,
            clock=self._clock,
        )
        if not message.notice:
            self._writers.add(turn_id, writer)
        return FeishuReplier(
            message, turn_id, attempt, settings=self._settings, writer=writer, outbox=self._outbox, pump=self._pump
        )

    def checks(self) -> list[Check]:
        """How the connection to the platform is; of several long ones also each of them."""
        return [self._check, *(self.connections.checks() if self.connections else [])]

    def _check(self) -> Condition:
        refused_s = self._clock.monotonic() - self._refused_at_s
        status, reason = standing(
            self._last_refusal if refused_s < _RECENT_S else None,
            last=self._last_refusal,
            connected=bool(self._client.token_left_s and self._bot),
            pause_s=self._guard.pause_s,
            mode=self._gate.mode,
            retrying=self._pump.backlog.retrying,
        )
        incoming, why = self.connections.status() if self.connections else ("ok", "")
        if _SEVERITY.index(incoming) > _SEVERITY.index(status):
            status, reason = incoming, why or reason or "connecting"
        return Condition(
            name=self._name,
            status=status,
            affects_status=self.connections is not None and self.connections.is_deaf,
            reason=reason,
            detail={
                "bot": self._bot.name if self._bot else None,
                "tokenSeconds": round(self._client.token_left_s),
                "openSeconds": round(self._guard.pause_s, 1),
                "clockAheadSeconds": round(self._client.time.ahead_s),
                "outbox": self._pump.backlog.pending,
                "lastError": self._last_refusal.reason if self._last_refusal else None,
                "callsWaiting": self._gate.waiting,
                "callsThisMonth": self._quota.used(self._clock.now()),
                "monthlyQuota": self._settings.monthly_quota or None,
                "quota": self._gate.mode.value,
                "opinionsUp": self._presses.opinions["up"],
                "opinionsDown": self._presses.opinions["down"],
                "dropped": self._intake.dropped.total(),
                **(self.connections.detail() if self.connections else {}),
                "receiptsDropped": self._receipts.dropped.total() if self._receipts else 0,
            },
        )

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            try:
                await self._client.renew()
                await self.resolve_bot()
            except Refused as refused:
                failures += 1
                base_s, cap_s = self._settings.retry_base, self._settings.retry_cap
                at_least_s = refused.refusal.wait_s
                await asyncio.sleep(backoff(failures, base_s=base_s, cap_s=cap_s, at_least_s=at_least_s))
            else:
                failures = 0
                await asyncio.sleep(max(1.0, self._client.renew_in_s))

    async def _hear(self, connections: "Connections") -> None:
        """What comes before it is known who the bot is would have to come again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.request_timeout):
                await self._known.wait()
        await connections.run()

    def _broke(self, error: Exception, what: str, turn_id: str) -> None:
        _log.error("a card could not be written", exc_info=error)
        message, where = type(error).__name__, f"{self._name}.{what}"
        self._bus.emit(
            ErrorSeen(category=Category.INTERNAL, message=message, where=where, turn_id=turn_id, logged=True)
        )

    async def _tidy(self) -> None:
        while True:
            try:
                await self._marks.prune(self._settings.keep)
            except StorageUnavailable as error:
                where = f"{self._name}.marks"
                self._bus.emit(ErrorSeen(category=Category.DATABASE, message=str(error), where=where))
            await asyncio.sleep(_TIDY_EVERY_S)

    def _allowed(self, mode: Mode) -> None:
        used, monthly = self._quota.used(self._clock.now()), self._settings.monthly_quota
        self._bus.emit(QuotaChanged(channel=self._name, state=mode, used=used, quota=monthly))

    def _saw(self, refusal: Refusal, path: str) -> None:
        if REACTIONS in path:
            return  # a courtesy, which counts by itself what did not come of it
        self._last_refusal, self._refused_at_s = refusal, self._clock.monotonic()
        where = f"{self._name} {path.partition('?')[0]}"
        self._bus.emit(ErrorSeen(category=refusal.category, message=refusal.reason, where=where))
