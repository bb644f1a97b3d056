"""What may be spent, and what was?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Final, Literal

from mainstay.models.model import ModelSettings
from mainstay.settings import duration, setting
from mainstay.units import parse_dollars

__all__ = ["SCOPES", "BudgetSettings", "Key", "Limits", "Reached", "Scope", "Spent", "Totals", "limits_of"]

_NOTHING: Final = Decimal(0)

Scope = Literal["model", "chat", "day"]
"""Whose spending of one day is limited: that of one model, of one chat, or all of it."""

SCOPES: Final[tuple[Scope, ...]] = ("model", "chat", "day")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """``[budget]``: how much the models may cost, and which of them may answer at all."""

    per_day: Decimal | None = setting(  # noqa: RUF009  a field, like dataclasses.field
        None,
        help="US dollars that all models together may cost in one UTC day; no limit if absent.",
        parse=parse_dollars,
    )
    per_chat_per_day: Decimal | None = setting(  # noqa: RUF009
        None, help="The same for the answers in one chat, whoever asks there.", parse=parse_dollars
    )
    allow: tuple[str, ...] = setting(
        (),
        help='The models that may answer, by the endpoint\'s names, as in "kwaipilot/*"; empty: all that are '
        "configured. An answer by another model than was asked for is broken off.",
    )
    retention: float = duration("90d", help="How long it is kept what was spent on a day.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """US dollars for one day; None, or no entry: without limit."""

    per_day: Decimal | None = None
    per_chat: Decimal | None = None
    per_model: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def are_set(self) -> bool:
        """Whether there is any."""
        return self.per_day is not None or self.per_chat is not None or bool(self.per_model)

    def of(self, model: str, chat: str) -> Iterator[tuple[Scope, str, Decimal]]:
        """Those that an answer of this model in this chat comes under, the narrowest first, and whose they are."""
        if model in self.per_model:
            yield "model", model, self.per_model[model]
        if self.per_chat is not None:
            yield "chat", chat, self.per_chat
        if self.per_day is not None:
            yield "day", "", self.per_day


def limits_of(budget: BudgetSettings, models: Mapping[str, ModelSettings]) -> Limits:
    """What was configured, in one place."""
    per_model = {name: each.budget_per_day for name, each in models.items() if each.budget_per_day is not None}
    return Limits(per_day=budget.per_day, per_chat=budget.per_chat_per_day, per_model=per_model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """An attempt must not be made: it would not fit into the limit any more. All in US dollars.

    Attributes:
        name: of the model or the chat; empty for the day.
        under_way: what the attempts that are being made may cost.
        needed: what this one might cost.
    """

    scope: Scope
    name: str
    limit: Decimal
    spent: Decimal
    under_way: Decimal
    needed: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What some attempts have consumed.

    Attributes:
        dollars: of those whose cost is known.
        estimated: how many of the attempts had to be estimated.
        unpriced: how many of them have no known cost, because their model has no price.
    """

    dollars: Decimal = _NOTHING
    input_tokens: int = 0
    output_tokens: int = 0
    attempts: int = 0
    estimated: int = 0
    unpriced: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            dollars=self.dollars + other.dollars,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            attempts=self.attempts + other.attempts,
            estimated=self.estimated + other.estimated,
            unpriced=self.unpriced + other.unpriced,
        )


Key = tuple[date, str, str]
"""The day, the model's configured name, and the chat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What all processes have spent on one day, by the storage; of chats only those that were asked for."""

    day: date
    models: Mapping[str, Decimal]
    chats: Mapping[str, Decimal]
