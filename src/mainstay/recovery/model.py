"""What is a failure, what does it mean for what is done next, and what may be set about that?"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from mainstay.errors import Category, MainstayError, nearest
from mainstay.settings import duration, setting

__all__ = [
    "TRAITS",
    "AttemptError",
    "Failure",
    "Limit",
    "RecoverySettings",
    "Rule",
    "TimedOut",
    "Traits",
    "above_zero",
    "parse_rules",
    "worth_another_try",
]

T = TypeVar("T", bool, int, str)
Limit = Literal["first token", "idle", "total", "deadline"]
"""Which of an attempt's limits ran out: see `mainstay.recovery.call.model.Limits`; the deadline is the turn's."""


def above_zero(holder: object, *names: str) -> None:
    """Raises ValueError if one of these attributes is given, and is not a finite number above 0."""
    for name in names:
        value = getattr(holder, name)
        if value is not None and not 0 < value < float("inf"):
            raise ValueError(f"{name} must be more than 0 and finite, not {value!r}")


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

_FAILS_THE_SAME_WAY: Final = frozenset(
    {Category.INVALID_REQUEST, Category.CONTEXT_LENGTH, Category.CONTENT_FILTER, Category.CANCELLED}
)


def worth_another_try(category: Category) -> bool:
    """Whether the person is offered to have a turn tried again that failed for this reason.

    Not when the same words would fail the same way. In every other case what was busy or broken recovers, an
    operator repairs an access, a bug may have needed just that coincidence; and unlike the same words said anew,
    another try does not repeat what tools have done.
    """
    return category not in _FAILS_THE_SAME_WAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one kind of error means: all of the conditions that are given have to hold for the same exception.

    Attributes:
        category: what it is then.
        class_name: the name of its class or of one that it derives from (``"MySdkBusy"``).
        code: a machine-readable code of the provider or of the exception, in any case (``"tpm_exceeded"``).
        status: the HTTP status, 100 to 599.
        text: a regular expression, found in what the provider said or in the exception's text, in any case.
        traits: where they differ from those of the category.

    Raises:
        ValueError: if no condition is given, or one can not hold.
    """

    category: Category
    class_name: str = ""
    code: str = ""
    status: int | None = None
    text: str = ""
    traits: Traits | None = None

    def __post_init__(self) -> None:
        if not (self.class_name or self.code or self.text) and self.status is None:
            raise ValueError("a rule without a condition would fit every error: give class, code, status or text")
        if self.status is not None and not 100 <= self.status < 600:
            raise ValueError(f"status = {self.status} is no HTTP status: write 100 to 599")
        try:
            re.compile(self.text)
        except re.error as error:
            raise ValueError(f"text = {self.text!r} is no regular expression: {error}") from None


_KEYS: Final = ("category", "class", "code", "status", "text", "fallback", "retries", "counts")


def parse_rules(value: object) -> tuple[Rule, ...]:
    """Rules from ``[{ code = "tpm_exceeded", category = "rate_limit" }, { class = "MySdkBusy", … }]``.

    A rule has a ``category`` and at least one of ``class``, ``code``, ``status`` and ``text``. It may set
    ``fallback``, ``retries`` and ``counts`` (see `Traits`); each is the category's otherwise.

    Raises:
        ValueError: if a rule is not of that form; the message says which one, and what is allowed.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(  # noqa: TRY004  what was written is wrong, not a program
            'rules are a list like [{ code = "tpm_exceeded", category = "rate_limit" }]'
        )
    rules = []
    for number, written in enumerate(value, start=1):
        try:
            rules.append(written if isinstance(written, Rule) else _rule(written))
        except ValueError as error:
            raise ValueError(f"rule {number}: {error}") from None
    return tuple(rules)


def _rule(written: object) -> Rule:
    if not isinstance(written, Mapping):
        raise ValueError(f'{written!r} is no table like {{ code = "tpm_exceeded", category = "rate_limit" }}')  # noqa: TRY004
    for key in written:
        if key not in _KEYS:
            raise ValueError(f"{key!r} is unknown{nearest(str(key), _KEYS)}")
    name, known = written.get("category", ""), [str(each) for each in Category]
    if name not in known:
        raise ValueError(f"category = {name!r} is unknown{nearest(str(name), known)}")
    code = written.get("code")
    if type(code) is int:  # the codes of some platforms are numbers
        written = {**written, "code": str(code)}
    usual = TRAITS[Category(name)]
    traits = Traits(
        fallback=_given(written, "fallback", bool, usual.fallback),
        retries=_given(written, "retries", int, usual.retries),
        counts=_given(written, "counts", bool, usual.counts),
    )
    return Rule(
        category=Category(name),
        class_name=_given(written, "class", str, ""),
        code=_given(written, "code", str, ""),
        status=_given(written, "status", int, 0) if "status" in written else None,
        text=_given(written, "text", str, ""),
        traits=traits if traits != usual else None,
    )


def _given(written: Mapping[object, object], key: str, kind: type[T], otherwise: T) -> T:
    value = written.get(key, otherwise)
    if type(value) is not kind or (key in written and (value == "" or (isinstance(value, int) and value < 0))):
        allowed = {bool: "true or false", int: "a whole number, 0 or more", str: "a text in quotes"}[kind]
        raise ValueError(f"{key} = {value!r} does not fit: write {allowed}")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a call failed, in words that are safe to log, store and show.

    Attributes:
        message: at most 200 characters, credentials removed.
        retry_after_s: how long the other side asked to be left alone; None when it did not say.
        status: the HTTP status, if there was one; after a 200 the one that the body names.
        nonsense: the headers and fields (``"retry-after"``) that asked for a delay and made no sense; they were
            ignored, and stand here to be counted.
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
        "(Retry-After), are left alone, have no free place or are asked again.",
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
    rules: tuple[Rule, ...] = setting(
        (),
        help='Failures that your providers word in their own way, before all other rules: { code = "tpm", '
        'category = "rate_limit" }; a rule looks for code, status, text (a regular expression) or class, and may '
        "set fallback, retries and counts.",
        parse=parse_rules,
    )
