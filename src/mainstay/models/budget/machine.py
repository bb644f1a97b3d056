"""May this attempt still be paid for, and is this the model that was asked?

Pure decisions. An attempt is reserved for by what it might cost before it is made, and entered with what it did
cost afterwards: so many at once can not overrun a limit together, each seeing only what was spent before them. A
limit is overrun by no more than what the attempts that were under way cost beyond their reservations.

What other processes have reserved is not seen here; what they have spent is, by way of the storage.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from mainstay.models.budget.model import SCOPES, Key, Limits, Reached, Scope, Spent, Totals
from mainstay.models.cost import Tokens, cost
from mainstay.models.model import ModelSettings

__all__ = ["Books", "Day", "Reservation", "Tally", "is_allowed", "is_as_asked", "may_spend", "might_cost"]

_NOTHING: Final = Decimal(0)
_MOST: Final = 10_000
"""So many chats are told apart in memory; what is spent in more of them only counts for the day and the models."""

_USUAL_OUTPUT_TOKENS: Final = 1000
"""What an answer of a model without ``max_output_tokens`` is taken to have: a few pages."""

_SAME_MODEL: Final = re.compile(r"(-(\d[\d.]*|v\d[\d.]*|latest|preview|exp|beta))*([:@].*)?", re.DOTALL)
"""What may follow a model's name when it is the same model: its date or version, and the endpoint's own marks."""


class Tally:
    """US dollars of one day, by whose they are; what is 0 is not listed."""

    __slots__ = ("chats", "models")

    def __init__(self) -> None:
        self.models: dict[str, Decimal] = {}
        self.chats: dict[str, Decimal] = {}

    def add(self, model: str, chat: str, dollars: Decimal) -> None:
        """Count more, or less if negative."""
        for names, name in ((self.models, model), (self.chats, chat)):
            now = names.get(name, _NOTHING) + dollars
            if now:
                names[name] = now
            else:
                names.pop(name, None)

    def of(self, scope: Scope, name: str) -> Decimal:
        """What is counted there."""
        match scope:
            case "model":
                return self.models.get(name, _NOTHING)
            case "chat":
                return self.chats.get(name, _NOTHING)
            case "day":
                return sum(self.models.values(), _NOTHING)


class Day:
    """One day's spending, as one process knows it.

    Attributes:
        stored: what the storage said last: that of all processes.
        unsaved: what was entered here and is not in ``stored`` yet.
        under_way: what is reserved for attempts that are being made here.
        told: the limits that were told to be reached, by scope and name.
        refused: what the latest attempt at a model might have cost that did not fit into this limit; a model that
            was let through since is not listed.
    """

    __slots__ = ("date", "refused", "stored", "told", "under_way", "unsaved")

    def __init__(self, day: date) -> None:
        self.date = day
        self.stored = Tally()
        self.unsaved = Tally()
        self.under_way = Tally()
        self.told: set[tuple[Scope, str]] = set()
        self.refused: dict[tuple[Scope, str], Decimal] = {}

    def spent(self, scope: Scope, name: str = "") -> Decimal:
        """What is known to be spent."""
        return self.stored.of(scope, name) + self.unsaved.of(scope, name)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reservation:
    """What is held for one attempt; it belongs to the day on which that began."""

    day: Day
    model: str
    chat: str
    dollars: Decimal


def might_cost(model: ModelSettings, input_tokens: int) -> Decimal:
    """US dollars of the longest answer to a request of this size; 0 without a price."""
    return cost(Tokens(input_tokens, model.max_output_tokens or _USUAL_OUTPUT_TOKENS), model.price) or _NOTHING


def may_spend(day: Day, limits: Limits, *, model: str, chat: str, needed: Decimal) -> Reached | None:
    """None if an attempt that might cost so much still fits into every limit; what is free always does."""
    if not needed:
        return None
    for scope, name, limit in limits.of(model, chat):
        spent, under_way = day.spent(scope, name), day.under_way.of(scope, name)
        if spent + under_way + needed > limit:
            return Reached(scope=scope, name=name, limit=limit, spent=spent, under_way=under_way, needed=needed)
    return None


class Books:
    """The spending of one process, and what it knows of the others'. Every method takes the day that it is."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._day = Day(date.min)
        self._unsaved: dict[Key, Spent] = {}
        self._leaving: dict[Key, Spent] = {}

    def today(self, day: date) -> Day:
        """The spending of this day; a new day begins with nothing."""
        if self._day.date != day:
            self._day = Day(day)
            for entries in (self._unsaved, self._leaving):  # of a clock that was set back
                self._count(entries)
        return self._day

    def _count(self, entries: Mapping[Key, Spent], sign: int = 1) -> None:
        for (day, model, chat), spent in entries.items():
            if day == self._day.date:
                self._day.unsaved.add(model, chat, sign * spent.dollars)

    def reserve(self, day: date, model: str, chat: str, needed: Decimal) -> Reservation | Reached:
        """Hold what an attempt might cost, if it still fits."""
        today = self.today(day)
        reached = may_spend(today, self.limits, model=model, chat=chat, needed=needed)
        if reached is not None:
            today.refused[(reached.scope, model)] = needed
            return reached
        for scope in SCOPES:
            today.refused.pop((scope, model), None)
        today.under_way.add(model, chat, needed)
        return Reservation(day=today, model=model, chat=chat, dollars=needed)

    def used_up(self, day: date, scope: Scope, model: str, least: Decimal) -> bool:
        """Whether requests to this model do not fit into this limit any more, as far as one can tell.

        Those that are like the latest one which did not, or else the shortest, which costs the least.
        """
        today = self.today(day)
        needed = max(least, today.refused.get((scope, model), _NOTHING))
        return any(
            today.spent(each, name) + needed > limit
            for each, name, limit in self.limits.of(model, "")
            if each == scope and least
        )

    def release(self, held: Reservation) -> None:
        """The attempt is over, or was not made after all."""
        held.day.under_way.add(held.model, held.chat, -held.dollars)

    def is_news(self, day: date, reached: Reached) -> bool:
        """Whether this limit was not told to be reached today."""
        told, whose = self.today(day).told, (reached.scope, reached.name)
        if whose in told or len(told) >= _MOST:
            return False
        told.add(whose)
        return True

    def enter(self, day: date, model: str, chat: str, spent: Spent) -> None:
        """What an attempt that began on this day has consumed."""
        if len(self._unsaved) + len(self._leaving) >= _MOST:
            chat = ""
        key = (day, model, chat)
        self._unsaved[key] = self._unsaved.get(key, Spent()) + spent
        self._count({key: spent})

    @property
    def unsaved(self) -> bool:
        """Whether there is anything to be written."""
        return bool(self._unsaved)

    def leave(self) -> Mapping[Key, Spent]:
        """What is to be written now; `saved` or `not_saved` has to follow before the next one."""
        self._leaving, self._unsaved = self._unsaved, {}
        return self._leaving

    def saved(self, totals: Totals) -> None:
        """What left was written, and these are the totals with it."""
        self._count(self._leaving, -1)
        self._leaving = {}
        self.learn(totals)

    def not_saved(self) -> None:
        """What left was not written: it has to be, later."""
        leaving, self._leaving = self._leaving, {}
        for key, spent in leaving.items():
            self._unsaved[key] = self._unsaved.get(key, Spent()) + spent

    def learn(self, totals: Totals) -> None:
        """What the storage knows, while nothing is on its way there."""
        if totals.day != self._day.date:
            return
        stored = self._day.stored
        stored.models = dict(totals.models)
        for chat, dollars in totals.chats.items():
            stored.chats.pop(chat, None)  # the latest to the end
            stored.chats[chat] = dollars
        while len(stored.chats) > _MOST:
            del stored.chats[next(iter(stored.chats))]


def is_allowed(name: str, allow: Sequence[str]) -> bool:
    """Whether the list has this endpoint's name of a model; an empty list has all."""
    return not allow or any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in allow)


def is_as_asked(asked: str, answered: str, allow: Sequence[str]) -> bool:
    """Whether an answer by this model may be shown when that one was asked.

    Without a list every one may. With one, a model that is on it, and the one that was asked: under its own name,
    with or without the vendor before it (``openai/gpt-x``), a date or version after it (``gpt-x-2026-01-01``), or
    an endpoint's mark (``gpt-x:free``, ``gpt-x@001``). ``gpt-x-pro`` is another model. An answer that names no
    model is believed to be that of the one that was asked.
    """
    if not allow or answered in ("", asked) or is_allowed(answered, allow):
        return True
    wanted, found = asked.casefold(), answered.casefold()
    if "/" not in wanted or "/" not in found:
        wanted, found = wanted.rpartition("/")[2], found.rpartition("/")[2]
    return found.startswith(wanted) and bool(_SAME_MODEL.fullmatch(found, len(wanted)))
