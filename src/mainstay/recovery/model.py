"""What is known about one call, and about its failure?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, Literal, TypeVar

from mainstay.errors import Category, MainstayError
from mainstay.messages import Hop

__all__ = [
    "TRAITS",
    "Alive",
    "AttemptError",
    "Candidate",
    "ChainEvent",
    "Done",
    "Failure",
    "GaveUp",
    "Hopped",
    "Limits",
    "Lost",
    "Piece",
    "Text",
    "TimedOut",
    "Traits",
]

T = TypeVar("T")


class AttemptError(MainstayError):
    """An attempt that ended without an exception of its own and still is no answer: cut off, empty, filtered."""

    def __init__(self, category: Category, message: str) -> None:
        super().__init__(message)
        self.category = category


class TimedOut(AttemptError):
    """One of the limits of an attempt has run out; ``limit`` says which."""

    def __init__(self, limit: "Literal['first token', 'idle', 'total', 'deadline']", after_s: float) -> None:
        super().__init__(Category.TIMEOUT, f"no answer within the {limit} limit ({after_s:.3g} s)")
        self.limit = limit


@dataclass(frozen=True, slots=True)
class Traits:
    """What a kind of failure means for what is done next.

    Attributes:
        fallback: whether another candidate could do better.
        retries: how often the same one may be asked again in this call; 0 where it would fail the same way.
        counts: whether it says something about how the other side is, and so counts for its breaker.
    """

    fallback: bool
    retries: int
    counts: bool


_NEVER: Final = Traits(fallback=False, retries=0, counts=False)

TRAITS: Final[Mapping[Category, Traits]] = {
    Category.RATE_LIMIT: Traits(fallback=True, retries=2, counts=True),
    Category.QUOTA_EXHAUSTED: Traits(fallback=True, retries=0, counts=True),
    Category.TIMEOUT: Traits(fallback=True, retries=1, counts=True),
    Category.OVERLOADED: Traits(fallback=True, retries=2, counts=True),
    Category.CONNECTION: Traits(fallback=True, retries=2, counts=True),
    Category.SERVER_ERROR: Traits(fallback=True, retries=2, counts=True),
    Category.AUTH: Traits(fallback=True, retries=0, counts=False),
    Category.PERMISSION: Traits(fallback=True, retries=0, counts=False),
    Category.INVALID_REQUEST: _NEVER,
    Category.CONTEXT_LENGTH: Traits(fallback=True, retries=0, counts=False),
    Category.CONTENT_FILTER: _NEVER,
    Category.CANCELLED: _NEVER,
    Category.MALFORMED: Traits(fallback=True, retries=1, counts=True),
    Category.DATABASE: Traits(fallback=False, retries=1, counts=True),
    Category.INTERNAL: _NEVER,
}
"""What each category means, unless the rule that recognised a failure knows better (`Failure.traits`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a call failed, in words that are safe to log, store and show.

    Attributes:
        message: at most 200 characters, credentials removed.
        retry_after_s: how long the other side asked to be left alone; None when it did not say.
        status: the HTTP status, if there was one.
        nonsense: the headers that asked for a delay and made no sense (``"retry-after"``); they were ignored.
        special: traits that differ from those of the category, e.g. a model that does not exist (404).
    """

    category: Category
    message: str
    retry_after_s: float | None = None
    status: int | None = None
    nonsense: tuple[str, ...] = ()
    special: Traits | None = None

    @property
    def traits(self) -> Traits:
        """What it means for what is done next."""
        return self.special or TRAITS[self.category]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long one attempt may take, in seconds.

    Attributes:
        first_token_s: from the start to the first content, be it text, thought or a tool call.
        idle_s: between two pieces of content; comments that only keep the connection open do not count.
        total_s: from the start to the end.
    """

    first_token_s: float
    idle_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model of the chain, under its configured name."""

    name: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Text:
    """Text that the person may see."""

    text: str


@dataclass(frozen=True, slots=True)
class Alive:
    """Content that is not shown, such as a thought or a piece of a tool call: the model is at work."""


@dataclass(frozen=True, slots=True)
class Done(Generic[T]):
    """The attempt is complete; an attempt that ends without it was cut off."""

    value: T
    model: str = ""


Piece = Text | Alive | Done[T]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """An attempt failed. ``error`` is for the log of bugs only; ``failure`` is for everybody else."""

    model: str
    failure: Failure
    error: BaseException
    shown_chars: int
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class Hopped:
    """The next model has been asked; its text takes the place of what this call has shown."""

    hop: Hop


@dataclass(frozen=True, slots=True)
class GaveUp:
    """No model is left to ask, or no time."""

    failure: Failure


ChainEvent = Text | Lost | Hopped | GaveUp | Done[T]
