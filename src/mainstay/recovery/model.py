"""What is a failure, what does it mean for what is done next, and what may be set about that?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mainstay.errors import Category, MainstayError
from mainstay.settings import duration, setting

__all__ = [
    "TRAITS",
    "AttemptError",
    "Failure",
    "Limit",
    "RecoverySettings",
    "TimedOut",
    "Traits",
]

Limit = Literal["first token", "idle", "total", "deadline"]
"""Which of an attempt's limits ran out: see `mainstay.recovery.call.model.Limits`; the deadline is the turn's."""


class AttemptError(MainstayError):
    """An attempt that ended without an exception of its own and still is no answer: cut off, empty, filtered."""

    def __init__(self, category: Category, message: str) -> None:
        super().__init__(message)
        self.category = category


class TimedOut(AttemptError):
    """One of the limits of an attempt has run out; ``limit`` says which."""

    def __init__(self, limit: Limit, after_s: float) -> None:
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


def _at_least_none(written: object) -> int:
    number = int(str(written))
    if number < 0:
        raise ValueError(f"{written!r} is negative: write a whole number, 0 or more")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """``[recovery]``: what is done about one failed call."""

    retries: int = setting(
        2,
        help="How often a model is asked again in one call when no other is left; some failures allow less.",
        parse=_at_least_none,
    )
    retry_base: float = duration("500ms", help="The wait before a model is asked again; it doubles, with jitter.")
    retry_cap: float = duration("8s", help="The longest such wait.")
    longest_wait: float = duration(
        "15s",
        help="How long a person is kept waiting at most, in one call, for models that asked for a delay "
        "(Retry-After), are left alone or are asked again.",
    )
    retry_budget: int = setting(
        500,
        help="Retries at one provider are paid for out of this many tokens: 5 each, 10 after a timeout; a good "
        "answer gives 1 back. Without tokens nothing is retried: a provider in trouble gets no more load.",
        parse=_at_least_none,
    )
    min_attempt: float = duration("500ms", help="With less time left than this no attempt is begun.")
    chat_places: int = setting(8, help="How many questions of one chat are answered at once.")
    chat_line: int = setting(16, help="How many more of it may wait; the next one is told that it is too much.")
    content_filter_fallback: bool = setting(
        default=False, help="Whether what one model's content filter stopped is asked of the next model."
    )
