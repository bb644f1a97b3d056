"""Which line does each event become?

Lines are for people: agents by name with a capital letter, seconds as seconds, failures with the word ``Error``.
In JSON the event's own fields come along.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mainstay import events as happened
from mainstay.bus import Bus
from mainstay.messages import Outcome
from mainstay.units import format_dollars

__all__ = ["LINES", "Line", "watch"]

_log = logging.getLogger("mainstay.events")


@dataclass(frozen=True, slots=True)
class Line:
    """How one kind of event is written; the level and the text may depend on its fields."""

    level: int | Callable[[Any], int]
    text: Callable[[Any], str]


def _name(agent: str) -> str:
    return agent[:1].upper() + agent[1:]


def _finished(event: happened.TurnFinished) -> str:
    name = _name(event.agent) or "The channel"
    if event.outcome is Outcome.CANCELLED:
        return f"{name} stopped after {event.latency_s:.2f} s: the message was taken back"
    if event.outcome is Outcome.FAILED:
        return f"Error: {name} failed after {event.latency_s:.2f} s: {event.category or 'unknown'}"
    by = f", by {_name(event.answered_by)}" if event.answered_by not in ("", event.agent) else ""
    model = f", model {event.model}" if event.model else ""
    again = f", attempt {event.attempt}" if event.attempt > 1 else ""
    return f"{name} answered in {event.latency_s:.2f} s{by}{model}{again}"


def _handed_over(event: happened.HandOver) -> str:
    how = event.strategy if event.score is None else f"{event.strategy}, {event.score:.2f}"
    return f"{_name(event.from_agent)} handed over to {_name(event.to_agent)} ({how})"


def _called(event: happened.AgentCalled) -> str:
    result = "answered in" if event.success else "failed with an Error after"
    return f"{_name(event.agent)} {result} {event.latency_s:.2f} s"


def _attempt_failed(event: happened.AttemptFailed) -> str:
    asked = "" if event.retry_after_s is None else f" (it asks to be left alone for {event.retry_after_s:g} s)"
    return f"{_name(event.agent)}: Error {event.category} from model {event.model}: {event.message}{asked}"


def _ran(event: happened.ToolRan) -> str:
    result = "returned" if event.success else "failed with an Error"
    return f"{_name(event.agent)}: tool {event.tool} {result} after {event.duration_s:.2f} s"


def _breaker(event: happened.BreakerChanged) -> str:
    if event.state == "closed":
        return f"{event.target} is used again"
    if event.state == "half_open":
        return f"{event.target} is tried: one call is let through"
    why = f" after Error {event.category}: {event.message}" if event.category else ""
    return f"{event.target} is left alone for {event.open_s:.3g} s ({event.cause}){why}"


def _budget(event: happened.BudgetReached) -> str:
    whose = {"model": f" of model {event.model}", "chat": f" of chat {event.chat}"}.get(event.scope, "")
    spent, limit = format_dollars(event.spent), format_dollars(event.limit)
    under_way = f", {format_dollars(event.under_way)} under way" if event.under_way else ""
    needed = f"model {event.model} is not asked, it might cost {format_dollars(event.needed)}"
    return f"today's budget{whose} is reached: {spent} of {limit} USD spent{under_way}; {needed}"


def _quota(event: happened.QuotaChanged) -> str:
    used = f"{event.used} calls of {event.quota or 'an unknown number'}"
    match event.state:
        case "stretched":
            return f"{event.channel}: {used} are used this month; cards are updated less often"
        case "exhausted":
            return f"Error: {event.channel} has no call left this month ({used} were ours): nothing is streamed"
    return f"{event.channel}: there are calls again ({used} are used this month)"


def _mcp(event: happened.McpServerChanged) -> str:
    if event.connected:
        return f"MCP server {event.server} is connected; it offers {event.tools} tools"
    return f"MCP server {event.server} is not connected: {event.reason}"


LINES: Final[dict[type[happened.Event], Line]] = {
    happened.MessageAccepted: Line(logging.INFO, lambda e: f"message accepted from {e.channel}"),
    happened.MessageDuplicated: Line(logging.INFO, lambda e: f"message from {e.channel} was known already"),
    happened.MessageJoined: Line(
        logging.INFO, lambda e: f"message from {e.channel} is answered with turn {e.into}"
    ),
    happened.MessageRefused: Line(
        logging.ERROR, lambda e: f"Error: message from {e.channel} not stored, not acknowledged: {e.reason}"
    ),
    happened.WebhookRejected: Line(
        logging.WARNING, lambda e: f"request to the webhook of {e.channel} rejected with {e.status}: {e.reason}"
    ),
    happened.ConnectionOpened: Line(logging.INFO, lambda e: f"{e.channel}: connection {e.connection} is open"),
    happened.ConnectionLost: Line(
        logging.WARNING,
        lambda e: f"{e.channel}: connection {e.connection} lost after {e.lasted_s:.1f} s: {e.reason}",
    ),
    happened.ConnectionRefused: Line(
        lambda e: logging.ERROR if e.kind in ("rejected", "crowded") else logging.WARNING,
        lambda e: (
            f"Error: {e.channel}: connection {e.connection} not opened, tried again in {e.retry_s:.1f} s: "
            f"{e.reason}"
        ),
    ),
    happened.FeedbackGiven: Line(
        logging.INFO,
        lambda e: f"somebody's opinion of the answer: {e.vote}{f', before {e.before}' if e.before else ''}",
    ),
    happened.FrameRejected: Line(logging.WARNING, lambda e: f"frame from {e.channel} left out: {e.reason}"),
    happened.HistoryRead: Line(
        logging.INFO,
        lambda e: f"{e.channel}: missed messages found in the histories of chats: {e.messages} ({e.chats} asked)",
    ),
    happened.HistoryRefused: Line(
        logging.WARNING,
        lambda e: (
            f"{e.channel}: messages missed in {e.chat_type} chats can not be fetched: {e.reason}; allow the app "
            "im:message:readonly, for groups im:message.group_msg too, and restart"
        ),
    ),
    happened.TurnStarted: Line(
        logging.DEBUG, lambda e: f"turn started, attempt {e.attempt}, after a wait of {e.waited_s:.2f} s"
    ),
    happened.TurnFinished: Line(
        lambda e: logging.ERROR if e.outcome is Outcome.FAILED else logging.INFO, _finished
    ),
    happened.TurnCutOff: Line(
        logging.WARNING,
        lambda e: f"attempt {e.attempt} was cut off ({e.reason}); the message goes back to the inbox",
    ),
    happened.AgentCalled: Line(lambda e: logging.INFO if e.success else logging.WARNING, _called),
    happened.HandOver: Line(logging.INFO, _handed_over),
    happened.ToolRan: Line(lambda e: logging.DEBUG if e.success else logging.WARNING, _ran),
    happened.AttemptFailed: Line(logging.WARNING, _attempt_failed),
    happened.ModelHop: Line(
        logging.WARNING,
        lambda e: f"{_name(e.agent)} goes on with model {e.to_model} after {e.category} from {e.from_model}",
    ),
    happened.BreakerChanged: Line(lambda e: logging.WARNING if e.state == "open" else logging.INFO, _breaker),
    happened.BudgetReached: Line(logging.WARNING, _budget),
    happened.QuotaChanged: Line(
        lambda e: {"exhausted": logging.ERROR, "stretched": logging.WARNING}.get(e.state, logging.INFO), _quota
    ),
    happened.McpServerChanged: Line(lambda e: logging.INFO if e.connected else logging.WARNING, _mcp),
    happened.CardCreated: Line(logging.DEBUG, lambda _: "card created"),
    happened.CardSent: Line(logging.DEBUG, lambda _: "card sent"),
    happened.CardUpdated: Line(logging.DEBUG, lambda e: f"card shows {e.chars} characters"),
    happened.CardClosed: Line(logging.WARNING, lambda _: "card closed, as no outcome could be shown on it"),
    happened.OutcomeDelivered: Line(logging.INFO, lambda e: f"outcome delivered as {e.via}"),
    happened.DeliveryRetried: Line(
        logging.WARNING, lambda e: f"outcome not taken by the platform yet, after {e.tries} tries: {e.reason}"
    ),
    happened.DeadLettered: Line(logging.ERROR, lambda e: f"Error: dead letter, nobody will see it: {e.reason}"),
    happened.ErrorSeen: Line(
        lambda e: logging.DEBUG if e.logged else logging.ERROR,
        lambda e: f"Error {e.category} in {e.where}: {e.message}",
    ),
    happened.ServiceReady: Line(
        logging.INFO, lambda e: f"ready for messages after {e.startup_s:.2f} s; Health is at /health"
    ),
    happened.ServiceFailing: Line(
        logging.ERROR, lambda e: f"Error: the service ends itself, it takes nothing more in: {e.reason}"
    ),
    happened.ServiceStopping: Line(
        logging.INFO, lambda e: f"stopping: no new messages; answers may finish for {e.drain_s:g} s"
    ),
}


def watch(bus: Bus) -> None:
    """Write a line for every event from now on; nothing is formatted that the level leaves out."""
    bus.subscribe_all(_write)


def _write(event: happened.Event) -> None:
    line = LINES.get(type(event))
    if line is None:
        _log.info("%s", event.name, extra={"event": event})
        return
    level = line.level if isinstance(line.level, int) else line.level(event)
    if _log.isEnabledFor(level):
        extra = {"event": event, "turn_id": getattr(event, "turn_id", "")}
        _log.log(level, "%s", line.text(event), extra=extra)
