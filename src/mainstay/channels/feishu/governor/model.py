"""What does the platform limit, and which limits does one call come under?

The figures are those of the platform's documentation: an API that sends messages or changes cards takes 50 calls a
second and 1000 a minute of one app in one tenant; a chat takes 5 messages a second of all its bots together, and so
does a person, whose private chat stands for them here; a card takes 10 operations a second, a message 5 changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

__all__ = ["Busy", "Call", "Key", "Limit", "Mode", "Scope", "Urgency", "Window", "limits"]

_BURST: Final = 30


class Scope(StrEnum):
    """Whose calls a limit counts."""

    API = "api"
    CHAT = "chat"
    CARD = "card"
    MESSAGE = "message"


Key = tuple[Scope, str]
"""One bucket: of which API, chat, card or message."""


class Urgency(IntEnum):
    """Who goes first where not all can; the lower, the sooner."""

    OUTCOME = 0
    """Outcomes, replies, and whatever else is not named below."""
    UPDATE = 1
    """Of a card while its answer is made: the next one makes up for it."""
    COURTESY = 2
    """Nobody misses it: a reaction as receipt."""


class Mode(StrEnum):
    """How it stands with the month's calls."""

    NORMAL = "normal"
    STRETCHED = "stretched"
    """Most of them are used: cards are updated less often, so that the rest lasts until the month ends."""
    EXHAUSTED = "exhausted"
    """The platform takes no more: nothing is streamed, outcomes are tried until they are too old."""


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many calls in any so many seconds."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What one bucket lets through.

    Attributes:
        windows: what the platform counts.
        per_second: what is let through in the long run, after a burst; None: as much as the windows do. A burst
            that used a minute's calls up at once would have the next outcome wait for the rest of the minute.
        recovery_s: how long it takes until all of it is used again after a refusal. What is counted by the minute
            is tried more slowly: with 60 s, two processes that both had more to say than an API takes were refused
            five times as often, for a fifteenth more that got through.
    """

    windows: tuple[Window, ...]
    per_second: float | None = None
    burst: int = _BURST
    recovery_s: float = 60.0


def limits(calls_per_second: float) -> Mapping[Scope, Limit]:
    """The documented limits, and how fast an API is called in the long run."""
    five_a_second = Limit(windows=(Window(5, 1.0),))
    return {
        Scope.API: Limit(
            windows=(Window(50, 1.0), Window(1000, 60.0)), per_second=calls_per_second, recovery_s=300.0
        ),
        Scope.CHAT: five_a_second,
        Scope.CARD: Limit(windows=(Window(10, 1.0),)),
        Scope.MESSAGE: five_a_second,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that is to be made.

    Attributes:
        api: method and path, without the ids in it: what the platform counts together.
        buckets: everything that limits it.
        counted: whether it is one of the month's calls.
    """

    api: str
    buckets: tuple[Key, ...]
    urgency: Urgency = Urgency.OUTCOME
    counted: bool = True

    @property
    def owner(self) -> Key:
        """Whose it is, among those who share an API fairly: the narrowest bucket's."""
        return self.buckets[-1]


@dataclass(frozen=True, slots=True)
class Busy:
    """There is no place for it in time: none for at least so many seconds."""

    wait_s: float
