"""What can happen?

Every step of a message's life is one frozen event. Names and fields are API: additive changes only, unknown ones
are to be ignored. `envelope` is the form in which events leave the process.
"""

import os
import uuid
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from mainstay.clock import iso
from mainstay.errors import Category
from mainstay.messages import ModelUsage, Outcome

__all__ = [
    "AgentCalled",
    "AttemptFailed",
    "BreakerChanged",
    "BudgetReached",
    "CardClosed",
    "CardCreated",
    "CardSent",
    "CardUpdated",
    "ConnectionLost",
    "ConnectionOpened",
    "ConnectionRefused",
    "DeadLettered",
    "DeliveryRetried",
    "ErrorSeen",
    "Event",
    "FeedbackGiven",
    "FrameRejected",
    "HandOver",
    "HistoryRead",
    "HistoryRefused",
    "McpServerChanged",
    "MessageAccepted",
    "MessageDuplicated",
    "MessageJoined",
    "MessageRefused",
    "ModelHop",
    "OutcomeDelivered",
    "QuotaChanged",
    "ServiceFailing",
    "ServiceReady",
    "ServiceStopping",
    "ToolRan",
    "TurnCutOff",
    "TurnFinished",
    "TurnStarted",
    "WebhookRejected",
    "envelope",
    "uuid7",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The root. ``name`` is what the journal, alerts and the reference call it; ``v`` the version of its fields."""

    name: ClassVar[str] = "event"
    v: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageAccepted(Event):
    """A message is stored in the inbox: from here on it has exactly one outcome."""

    name: ClassVar[str] = "message.accepted"
    turn_id: str
    channel: str
    lane: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDuplicated(Event):
    """The platform delivered a message again that the inbox has already."""

    name: ClassVar[str] = "message.duplicated"
    turn_id: str
    channel: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageJoined(Event):
    """So many messages wait in its conversation that this one is answered together with another: turn ``into``."""

    name: ClassVar[str] = "message.joined"
    turn_id: str
    channel: str
    into: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRefused(Event):
    """A message or a press could not be stored. The platform delivers a message again; who pressed is told so."""

    name: ClassVar[str] = "message.refused"
    channel: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRejected(Event):
    """A request to a webhook was forged, stale, malformed or too large."""

    name: ClassVar[str] = "webhook.rejected"
    channel: str
    reason: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOpened(Event):
    """A long connection to the platform is open. ``gap_s``: since it was last known to be good, or the start."""

    name: ClassVar[str] = "connection.opened"
    channel: str
    connection: int
    gap_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLost(Event):
    """A long connection has ended, or was given up; it is opened again."""

    name: ClassVar[str] = "connection.lost"
    channel: str
    connection: int
    reason: str
    lasted_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionRefused(Event):
    """A long connection could not be opened; told once for each reason, until there is one.

    ``kind``: ``transient``, ``ticket``, ``rejected`` (the app's credentials) or ``crowded`` (too many connections).
    """

    name: ClassVar[str] = "connection.refused"
    channel: str
    connection: int
    kind: str
    reason: str
    retry_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRejected(Event):
    """Something came over a long connection that nobody can make sense of; the connection goes on."""

    name: ClassVar[str] = "frame.rejected"
    channel: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRead(Event):
    """Chats were asked for what was said while there was no connection; so many messages were not known yet."""

    name: ClassVar[str] = "history.read"
    channel: str
    chats: int
    messages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRefused(Event):
    """The app may not read the history of chats of this type: what is missed there is not fetched."""

    name: ClassVar[str] = "history.refused"
    channel: str
    chat_type: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStarted(Event):
    """A worker has claimed a message. ``waited_s``: since it was accepted."""

    name: ClassVar[str] = "turn.started"
    turn_id: str
    lane: str
    attempt: int
    waited_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnFinished(Event):
    """The outcome of a turn is stored. One user-visible request, counted once, under the root agent's name.

    ``agent``: empty where the person was told something without asking one: there was nothing that it could read.
    """

    name: ClassVar[str] = "turn.finished"
    turn_id: str
    lane: str
    agent: str
    answered_by: str
    model: str
    outcome: Outcome
    category: Category | None
    attempt: int
    latency_s: float
    usage: tuple[ModelUsage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCutOff(Event):
    """An attempt ended without an outcome (drain, lost lease, storage): the message goes back to the inbox."""

    name: ClassVar[str] = "turn.cut_off"
    turn_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCalled(Event):
    """A specialist has answered or failed, as part of a turn."""

    name: ClassVar[str] = "agent.called"
    turn_id: str
    agent: str
    latency_s: float
    success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver(Event):
    """One agent handed the turn to another; the fields are those of `mainstay.messages.HandedOver`."""

    name: ClassVar[str] = "agent.handed_over"
    turn_id: str
    from_agent: str
    to_agent: str
    strategy: str
    score: float | None
    reason: str
    alternatives: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolRan(Event):
    """A tool has returned or failed."""

    name: ClassVar[str] = "tool.ran"
    turn_id: str
    agent: str
    tool: str
    duration_s: float
    success: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Event):
    """One attempt with one model failed: the one place where a provider's error is counted.

    ``retry_after_s``: how long the provider asked to be left alone; None when it did not say. ``nonsense``: the
    headers that asked for it in a way that made no sense, and were ignored.
    """

    name: ClassVar[str] = "attempt.failed"
    turn_id: str
    agent: str
    model: str
    category: Category
    message: str
    shown_chars: int = 0
    elapsed_s: float = 0.0
    retry_after_s: float | None = None
    nonsense: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelHop(Event):
    """The chain moved on to the next model; the fields are those of `mainstay.messages.Hop`."""

    name: ClassVar[str] = "model.hop"
    turn_id: str
    agent: str
    from_model: str
    to_model: str
    category: Category
    shown_chars: int
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerChanged(Event):
    """Something is left alone from now on, is tried by one call, or is used again.

    ``target``: ``"model:primary"``, ``"agent:okr"``, ``"database"`` … ``state``: ``closed``, ``open`` or
    ``half_open``. ``cause``: why it is open: ``failures``, ``slow``, ``asked`` (by a Retry-After or a used-up
    quota) or ``told`` (by another process). ``open_s``: for how long.
    """

    name: ClassVar[str] = "breaker.changed"
    target: str
    state: str
    cause: str = ""
    open_s: float = 0.0
    category: Category | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetReached(Event):
    """A model was not asked, because of a budget; told once a day for each budget, by each process.

    ``scope``: ``day`` (all models together), ``model``, or ``chat``, which ``chat`` then names. In US dollars:
    ``spent`` today, what answers that are being written may cost (``under_way``), and what this one might have
    cost (``needed``): together that is more than the ``limit``.
    """

    name: ClassVar[str] = "budget.reached"
    turn_id: str
    scope: str
    limit: Decimal
    spent: Decimal
    under_way: Decimal
    needed: Decimal
    model: str
    chat: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServerChanged(Event):
    """An MCP server is connected, and offers so many tools; or it is not, for a reason that was not told before."""

    name: ClassVar[str] = "mcp.changed"
    server: str
    connected: bool
    tools: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardCreated(Event):
    """The platform knows the card and its id is stored; nobody sees it yet."""

    name: ClassVar[str] = "card.created"
    turn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardSent(Event):
    """The person sees the card."""

    name: ClassVar[str] = "card.sent"
    turn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CardUpdated(Event):
    """The card shows more of the answer."""

    name: ClassVar[str] = "card.updated"
    turn_id: str
    chars: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CardClosed(Event):
    """A card that no outcome will close, because there is none that could be shown, says so now."""

    name: ClassVar[str] = "card.closed"
    turn_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeDelivered(Event):
    """The person sees the outcome, or can fetch it.

    Attributes:
        via: ``"card"``, ``"post"``, ``"text"`` or ``"console"``.
    """

    name: ClassVar[str] = "outcome.delivered"
    turn_id: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackGiven(Event):
    """Somebody said what they think of an answer.

    ``vote``: ``"up"`` or ``"down"``; ``before``: what they had said of it earlier, and which counts no more.
    """

    name: ClassVar[str] = "feedback.given"
    turn_id: str
    channel: str
    vote: str
    before: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRetried(Event):
    """The platform did not take the outcome yet."""

    name: ClassVar[str] = "delivery.retried"
    turn_id: str
    tries: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChanged(Event):
    """A platform's monthly quota of calls runs short, is used up, or has calls again.

    ``state``: ``stretched`` (told once a month: from now on calls are kept for outcomes), ``exhausted`` (told by
    each process: nothing is streamed, and outcomes are late) or ``normal``. ``used`` are the calls that succeeded
    this month; ``quota`` is how many there are, 0 where nobody has said.
    """

    name: ClassVar[str] = "quota.changed"
    channel: str
    state: str
    used: int
    quota: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLettered(Event):
    """An outcome can not be shown to the person at all. Somebody has to know."""

    name: ClassVar[str] = "message.dead_lettered"
    turn_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSeen(Event):
    """Something failed outside of a model attempt: a bug, the database, the platform.

    ``logged``: its line, with the traceback, is in the log already.
    """

    name: ClassVar[str] = "error.seen"
    category: Category
    message: str
    where: str
    turn_id: str = ""
    logged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReady(Event):
    """The service accepts messages. ``startup_s``: since the process began to build it."""

    name: ClassVar[str] = "service.ready"
    startup_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFailing(Event):
    """The service can not go on: it takes nothing more in, drains, and the process ends with an error."""

    name: ClassVar[str] = "service.failing"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStopping(Event):
    """Intake has ended; running turns may finish until the drain's end."""

    name: ClassVar[str] = "service.stopping"
    drain_s: float


def uuid7(at: datetime) -> str:
    """A time-ordered id (RFC 9562, version 7): 48 bits of milliseconds, then random."""
    milliseconds = int(at.timestamp() * 1000)
    value = (milliseconds & (2**48 - 1)) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def envelope(event: Event, *, at: datetime, worker: str, trace_id: str = "") -> dict[str, object]:
    """The event as it leaves the process: ``{id, name, v, at, worker, turn_id, trace_id, data}``."""
    data = {field.name: getattr(event, field.name) for field in fields(event)}
    turn_id = data.pop("turn_id", "")
    return {
        "id": uuid7(at),
        "name": event.name,
        "v": event.v,
        "at": iso(at),
        "worker": worker,
        "turn_id": turn_id,
        "trace_id": trace_id,
        "data": data,
    }
