"""What does the long connection need to know, and what can become of an attempt to open it?"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mainstay.settings import duration, setting

__all__ = [
    "Ask",
    "ClientConfig",
    "ConnectionSettings",
    "Container",
    "Drop",
    "Endpoint",
    "Failure",
    "FailureKind",
    "Open",
    "Ping",
    "Step",
    "Wait",
]

MOST_CONNECTIONS = 50
"""The platform allows no more of them for one app."""


def _connections(written: object) -> int:
    count = int(str(written))
    if not 1 <= count <= MOST_CONNECTIONS:
        raise ValueError(
            f"{count} connections: write a number from 1 to {MOST_CONNECTIONS}, which the platform allows"
        )
    return count


def _calls(written: object) -> int:
    count = int(str(written))
    if not 1 <= count <= 3600:
        raise ValueError(f"{count} calls an hour: write a number from 1 to 3600")
    return count


def _chats(written: object) -> int:
    count = int(str(written))
    if not 0 <= count <= 200:
        raise ValueError(f"{count} chats: write a number from 0 (none is asked) to 200")
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """The long connection of one bot, where it has one."""

    connections: int = setting(
        1,
        help="How many long connections are kept; the platform gives each event to one of them, by chance.",
        parse=_connections,
    )
    reconnect_base: float = duration(
        "500ms", help="The first delay after a failed try to connect; it doubles, and the delay is any part of it."
    )
    reconnect_cap: float = duration("1m", help="The longest delay between two tries to connect.")
    rejected_retry: float = duration(
        "2m", help="How often it is tried again when the platform does not accept the app's credentials."
    )
    ping_interval: float = duration(
        "30s", help="The longest time between two pings; the platform may ask for more of them, not for fewer."
    )
    pong_timeout: float = duration(
        "10s", help="How long a pong may take; the connection is given up after two pings without one."
    )
    deaf_after: float = duration(
        "30s", help="How long there may be no connection until the service's health is no longer good."
    )
    backfill_chats: int = setting(
        20,
        help="How many of the latest chats are asked for what was said while there was no connection, and how many "
        "threads that are seen in them; 0: none.",
        parse=_chats,
    )
    backfill_calls: int = setting(
        60,
        help="How many histories are asked for in an hour at most; each costs a call of the month's quota, or two.",
        parse=_calls,
    )
    backfill_max_age: float = duration(
        "15m", help="How old a message may be that is fetched from a chat's history."
    )
    backfill_after: float = duration(
        "5s", help="After a shorter gap no history is asked for: the platform repeats what it could not deliver."
    )
    quiet_after: float = duration(
        "30m",
        help="After so long without any event over a connection the histories are looked at: if they have what did "
        "not come, it is replaced. While they agree, the time doubles, up to 8 times of it.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """What the platform has asked of its clients so far; None: nothing that makes sense.

    It also names a number of tries and a random delay for the first of them. Both are left alone: who gives up is
    deaf for good, and who waits is deaf meanwhile.
    """

    ping_interval_s: float | None = None
    reconnect_interval_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to connect to.

    Attributes:
        url: has a ticket in it: it is never written anywhere.
        config: as it came; see `mainstay.channels.feishu.connection.machine.merge`.
    """

    url: str = field(repr=False)
    service: int
    config: object = None


class FailureKind(StrEnum):
    """Why there is no connection."""

    TRANSIENT = "transient"
    """It may go the next time."""
    TICKET = "ticket"
    """The platform did not accept the ticket that it had just given. Once this is chance."""
    REJECTED = "rejected"
    """The app's credentials are wrong, or the app is not allowed to: somebody has to change that."""
    CROWDED = "crowded"
    """The app has as many connections as it may have already."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One try that went wrong. ``reason`` is for people."""

    kind: FailureKind
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to do until that moment, unless something happens; None: until something happens."""

    until_s: float | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask the platform where to connect to."""


@dataclass(frozen=True, slots=True)
class Open:
    """Connect."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a ping."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Give the connection up: nothing will come over it any more."""

    reason: str


Step = Wait | Ask | Open | Ping | Drop


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """Something that has a history of its own: a chat, or a thread in one.

    Attributes:
        container_id: of the thread if it is one, else the chat's.
        heard_at: when the last message was said in it that has come to us.
    """

    container_id: str
    is_thread: bool
    chat_id: str
    chat_type: str
    heard_at: datetime
