"""What is one call along a chain of candidates: what goes in, and what comes out?"""

from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from mainstay.errors import Category
from mainstay.messages import Hop
from mainstay.recovery.model import Failure, above_zero

__all__ = [
    "Alive",
    "Ask",
    "Began",
    "CallEvent",
    "Done",
    "GaveUp",
    "Hopped",
    "Item",
    "Limits",
    "Lost",
    "Piece",
    "Wait",
    "Waiting",
    "Why",
]

T = TypeVar("T")
S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long one attempt may take, in seconds; None: as long as the other limits let it.

    Attributes:
        first_token_s: from the start to the first content of a stream, be it text, thought or a tool call.
        idle_s: between two pieces of content; comments that only keep the connection open do not count.
        total_s: from the start to the end.

    Raises:
        ValueError: if one of them is not finite, or not more than 0.
    """

    first_token_s: float | None = None
    idle_s: float | None = None
    total_s: float | None = None

    def __post_init__(self) -> None:
        above_zero(self, "first_token_s", "idle_s", "total_s")


@dataclass(frozen=True, slots=True)
class Item(Generic[S]):
    """A piece of a stream that is shown; ``size`` is its share of what a hop reports as shown, e.g. characters."""

    value: S
    size: int = 1


@dataclass(frozen=True, slots=True)
class Alive:
    """Content that is not shown, such as a thought or a piece of a tool call: the other side is at work."""


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The attempt is complete; a stream that ends without it was cut off.

    Attributes:
        candidate: who did it; filled in by the call.
    """

    value: T
    candidate: str = ""


Piece = Item[S] | Alive | Done[T]
"""What an attempt yields."""


@dataclass(frozen=True, slots=True)
class Began:
    """An attempt begins at this candidate; told by `Fallback.run` only."""

    candidate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An attempt failed. ``error`` is for the log of bugs only; ``failure`` is for everybody else."""

    candidate: str
    failure: Failure
    error: BaseException
    shown: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Hopped:
    """Another attempt begins, at the next candidate or once more at the same one.

    Its items take the place of what this call has shown.
    """

    hop: Hop


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Nobody else is left to ask now, and it is worth waiting.

    Attributes:
        seconds: how long.
    """

    candidate: str
    seconds: float
    failure: Failure


Why = Literal["failed", "left_alone", "busy", "forbidden", "late"]
"""Why a call was given up.

The last attempt failed; nobody was asked, because every breaker is open; every place is taken; nothing may be spent
on it; there was no time left for an attempt.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp:
    """Nobody is left to ask, or no time.

    Attributes:
        wait_s: seconds until it may be worth trying again; None when nobody knows.
    """

    failure: Failure
    why: Why = "failed"
    wait_s: float | None = None


CallEvent = Began | Item[S] | Lost | Hopped | Waiting | GaveUp | Done[T]
"""What a call yields: ends with exactly one `Done` or `GaveUp`."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Decision: make an attempt at the candidate of this index.

    Attributes:
        last_resort: whether its breaker should be asked to make an exception; see
            `mainstay.recovery.breaker.machine`.
        after: of a retry: what the last attempt there failed of. It has to be paid for out of the retry budget.
    """

    index: int
    last_resort: bool = False
    after: Category | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Decision: wait so many seconds, for the candidate of this index."""

    index: int
    seconds: float
