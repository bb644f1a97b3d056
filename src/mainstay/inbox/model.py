"""What is an accepted message until it has its outcome?"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mainstay.messages import Message, Outcome
from mainstay.settings import duration, setting
from mainstay.units import parse_duration

__all__ = ["Claim", "Depth", "Entry", "Head", "InboxSettings", "Row", "State"]

_SHORTEST_RETENTION_S = 8 * 3600.0


def _retention(text: Any) -> float:  # noqa: ANN401  whatever the file holds; `parse_duration` refuses the rest
    seconds = parse_duration(text)
    if seconds < _SHORTEST_RETENTION_S:
        raise ValueError("must be 8h or more: Feishu delivers an event again for up to 7 hours")
    return seconds


def _count(text: Any) -> int:  # noqa: ANN401  whatever the file holds
    count = int(text)
    if count < 0:
        raise ValueError("must be 0 or more")
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxSettings:
    """The section ``[inbox]``."""

    lease: float = duration(
        "30s", help="How long a silent worker keeps a message before another one may take it over."
    )
    retention: float = setting(
        parse_duration("24h"),
        help="How long a finished message is remembered, so that a repeat is recognised; at least 8h.",
        unit="s",
        parse=_retention,
    )
    dead_retention: float = duration("30d", help="How long a dead letter is kept.")
    max_age: float = duration("24h", help="A message that could not even be begun by then becomes a dead letter.")
    backoff: float = duration(
        "1s",
        help="The wait before a message is tried again after a second worker vanished with it; doubles each time.",
    )
    max_backoff: float = duration("5m", help="The longest wait before a message is tried again.")
    merge_after: int = setting(
        5,
        help="When so many messages of one conversation wait already, what the same person says next is answered "
        "together with the last of them, in one answer that names each; 0: each gets an answer of its own.",
        parse=_count,
    )


class State(StrEnum):
    """Where a message is in its life. The first two are *open*: they hold up what comes after them in the lane."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The oldest open message of a lane: what a claim looks at.

    Attributes:
        attempt: how often it was claimed; with ``owner`` the fence that refuses a worker which lost it.
        crashes: how often a worker vanished with it.
        owner: the worker that has it, or had it last.
        due_at: when it may be claimed, while it is queued.
        lease_until_at: until when it is its owner's, while it is running.
    """

    turn_id: str
    lane: str
    state: State
    attempt: int
    crashes: int
    owner: str
    accepted_at: datetime
    due_at: datetime
    lease_until_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(Head):
    """All that is known about a message.

    Attributes:
        message: ``Message.to_json``; empty once it is finished, when only the key is still needed.
        outcome: how it ended, or empty.
        detail: what the finisher wrote about it, JSON.
        reason: why it was last given back, or buried.
        closed_at: when it was finished or buried.
    """

    message: str
    outcome: str = ""
    detail: str = ""
    reason: str = ""
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to answer a message, until the lease runs out.

    Attributes:
        attempt: 1 at first; grows with every claim, whatever ended the one before.
        waited_s: since it was accepted.
        crashes: how many of the earlier attempts ended with their worker vanishing.
    """

    message: Message
    turn_id: str
    attempt: int
    accepted_at: datetime
    waited_s: float
    crashes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much is there. ``oldest_age_s``: since the oldest open message was accepted; 0 if none is open."""

    queued: int
    running: int
    dead: int
    oldest_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the inbox tells about one message.

    ``outcome`` is None until it has one; ``detail`` is JSON or empty; ``message`` is as in `Row`.
    """

    turn_id: str
    lane: str
    state: State
    attempt: int
    crashes: int
    owner: str
    accepted_at: datetime
    closed_at: datetime | None
    outcome: Outcome | None
    detail: str
    reason: str
    message: str
