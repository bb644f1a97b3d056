"""What may still be spent, by many at once, across days and processes; and which model may answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, find, given
from hypothesis import settings as how
from hypothesis import strategies as st

from mainstay.models.budget.machine import (
    Books,
    Day,
    Reservation,
    is_allowed,
    is_as_asked,
    may_spend,
    might_cost,
)
from mainstay.models.budget.model import Limits, Reached, Scope, Spent, Totals
from mainstay.models.model import ModelSettings, Price

MONDAY = date(2026, 1, 5)
LIMITS = Limits(per_day=Decimal(10), per_chat=Decimal(6), per_model={"dear": Decimal(5)})
WORLD_LIMITS = Limits(per_day=Decimal(5), per_chat=Decimal(4), per_model={"dear": Decimal(3)})
FOUND_IS_ENOUGH = how(
    max_examples=1000,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)


def spend(books: Books, dollars: str, *, day: date = MONDAY, model: str = "dear", chat: str = "a") -> None:
    books.enter(day, model, chat, Spent(dollars=Decimal(dollars), attempts=1))


def reserve(
    books: Books, needed: str, *, day: date = MONDAY, model: str = "dear", chat: str = "a"
) -> Reservation | Reached:
    return books.reserve(day, model, chat, Decimal(needed))


def test_what_fits_exactly_may_be_spent_and_not_a_picodollar_more() -> None:
    books = Books(LIMITS)
    books.today(MONDAY)
    spend(books, "4")
    assert isinstance(reserve(books, "1.000000000001"), Reached)
    assert isinstance(reserve(books, "1"), Reservation)


@pytest.mark.parametrize(
    ("model", "chat", "scope"), [("dear", "b", "model"), ("cheap", "a", "chat"), ("cheap", "b", "day")]
)
def test_the_limit_that_is_reached_is_named(model: str, chat: str, scope: Scope) -> None:
    books = Books(LIMITS)
    books.today(MONDAY)
    spend(books, "5")
    spend(books, "1", model="cheap")
    spend(books, "3.5", model="cheap", chat="c")
    answer = reserve(books, "0.75", model=model, chat=chat)
    assert isinstance(answer, Reached)
    assert answer.scope == scope
    assert answer.name == {"model": "dear", "chat": "a", "day": ""}[scope]
    assert answer.spent == {"model": Decimal(5), "chat": Decimal(6), "day": Decimal("9.5")}[scope]
    assert isinstance(reserve(books, "0.5", model="cheap", chat="b"), Reservation)


def test_what_is_free_is_never_refused() -> None:
    books = Books(Limits(per_day=Decimal(0), per_chat=Decimal(0), per_model={"free": Decimal(0)}))
    books.today(MONDAY)
    spend(books, "100", model="free")
    assert isinstance(reserve(books, "0", model="free"), Reservation)
    assert isinstance(reserve(books, "0.000000000001", model="free"), Reached)


def test_without_limits_everything_may_be_spent() -> None:
    assert may_spend(Day(MONDAY), Limits(), model="m", chat="c", needed=Decimal(10**9)) is None


def test_a_new_day_begins_with_nothing_and_what_began_yesterday_is_yesterday_s() -> None:
    books, tuesday = Books(LIMITS), MONDAY + timedelta(days=1)
    held = reserve(books, "5")
    assert isinstance(held, Reservation)
    assert isinstance(reserve(books, "5", day=tuesday), Reservation)
    books.release(held)
    spend(books, "5")
    assert books.today(tuesday).spent("day") == 0
    assert isinstance(reserve(books, "0.01", day=tuesday), Reached)  # the five that are under way
    assert {key[0] for key in books.leave()} == {MONDAY}


def test_a_clock_that_is_set_back_forgets_nothing_that_is_not_written() -> None:
    books = Books(LIMITS)
    books.today(MONDAY)
    spend(books, "2")
    books.leave()
    spend(books, "1")
    books.today(MONDAY + timedelta(days=1))
    assert books.today(MONDAY).spent("model", "dear") == 3


def test_each_limit_is_news_once_a_day() -> None:
    books = Books(LIMITS)
    spend(books, "5")
    for day, news in ((MONDAY, True), (MONDAY, False), (MONDAY + timedelta(days=1), True)):
        reached = Reached(
            scope="model", name="dear", limit=Decimal(5), spent=Decimal(5), under_way=Decimal(0), needed=Decimal(1)
        )
        assert books.is_news(day, reached) is news


def test_more_chats_than_can_be_told_apart_still_count_for_the_day() -> None:
    books = Books(LIMITS)
    books.today(MONDAY)
    for number in range(10_003):
        spend(books, "0.000001", model="cheap", chat=f"chat {number}")
    day = books.today(MONDAY)
    assert day.spent("day") == Decimal("0.010003")
    assert day.spent("chat", "") == Decimal("0.000003")
    leaving = books.leave()
    assert len(leaving) == 10_001
    spend(books, "0.000001", model="cheap", chat="one more while they are on their way")
    books.not_saved()
    assert len(books.leave()) == 10_001


def test_an_attempt_might_cost_its_longest_answer() -> None:
    price = Price(input=Decimal(1), output=Decimal(2))
    assert might_cost(ModelSettings(price=price, max_output_tokens=50), 100) == Decimal("0.0002")
    assert might_cost(ModelSettings(price=price), 100) == Decimal("0.0021")
    assert might_cost(ModelSettings(), 100) == 0
    assert might_cost(ModelSettings(price=Price(input=Decimal(0), output=Decimal(0))), 100) == 0


@dataclass
class Try:
    """An attempt in the world: what it might cost, and what it does."""

    worker: int
    day: date
    model: str
    chat: str
    needed: Decimal
    real: Decimal
    held: Reservation | None = None
    over: bool = False

    def in_scope(self, scope: Scope, name: str, day: date) -> bool:
        return self.day == day and name == {"model": self.model, "chat": self.chat, "day": ""}[scope]


@dataclass
class World:
    """A storage that may be away, workers with their books, and attempts that cost what they cost.

    The script is obeyed step by step; the books decide which attempts are made, and nothing else does.
    """

    script: list[tuple[str, int, str, str, int, int]]
    workers: int
    make: Callable[[], Books]
    day: date = MONDAY
    stored: dict[tuple[date, str, str], Decimal] = field(default_factory=dict)
    made: list[Try] = field(default_factory=list)
    last: dict[tuple[Scope, str, date], list[Try]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.books = [self.make() for _ in range(self.workers)]

    def run(self) -> None:
        for what, worker, model, chat, needed, real in self.script:
            books = self.books[worker % self.workers]
            match what:
                case "begin":
                    self.begin(worker % self.workers, model, chat, Decimal(needed), Decimal(real))
                case "end":
                    self.end(worker)
                case "write":
                    self.write(books, stored=True)
                case "fail":
                    self.write(books, stored=False)
                case "midnight":
                    self.day += timedelta(days=1)
            self.check()
        self.settle()

    def begin(self, worker: int, model: str, chat: str, needed: Decimal, real: Decimal) -> None:
        books = self.books[worker]
        if self.workers > 1:  # everybody writes what is over, and reads before they begin
            for each in self.books:
                self.write(each, stored=True)
            books.today(self.day)
            books.learn(self.totals())
        attempt = Try(worker, self.day, model, chat, needed, real if needed else Decimal(0))
        answer = books.reserve(self.day, model, chat, needed)
        fits = all(self.fits(attempt, scope, name, limit) for scope, name, limit in WORLD_LIMITS.of(model, chat))
        if isinstance(answer, Reached):
            assert needed, "what is free is never refused"
            assert not fits, "what fits is not refused"
            return
        assert fits or not needed, "what does not fit is refused"
        attempt.held = answer
        self.made.append(attempt)
        for scope, name, _ in WORLD_LIMITS.of(model, chat):
            if needed:
                self.last[(scope, name, self.day)] = self.open(attempt, scope)

    def open(self, attempt: Try, scope: Scope) -> list[Try]:
        name = {"model": attempt.model, "chat": attempt.chat, "day": ""}[scope]
        return [each for each in self.made if not each.over and each.in_scope(scope, name, self.day)]

    def fits(self, attempt: Try, scope: Scope, name: str, limit: Decimal) -> bool:
        mine = [each for each in self.open(attempt, scope) if each.worker == attempt.worker]
        held = sum((each.needed for each in mine), Decimal(0))
        return self.spent(scope, name, self.day) + held + attempt.needed <= limit

    def end(self, number: int) -> None:
        under_way = [each for each in self.made if not each.over]
        if not under_way:
            return
        attempt = under_way[number % len(under_way)]
        attempt.over = True
        assert attempt.held is not None
        self.books[attempt.worker].release(attempt.held)
        spent = Spent(dollars=attempt.real, attempts=1)
        self.books[attempt.worker].enter(attempt.held.day.date, attempt.model, attempt.chat, spent)

    def write(self, books: Books, *, stored: bool) -> None:
        if not books.unsaved:
            return
        books.today(self.day)
        leaving = books.leave()
        if not stored:
            books.not_saved()
            return
        for key, spent in leaving.items():
            self.stored[key] = self.stored.get(key, Decimal(0)) + spent.dollars
        books.saved(self.totals())

    def totals(self) -> Totals:
        models: dict[str, Decimal] = {}
        chats: dict[str, Decimal] = {}
        for (day, model, chat), dollars in self.stored.items():
            if day == self.day:
                models[model] = models.get(model, Decimal(0)) + dollars
                chats[chat] = chats.get(chat, Decimal(0)) + dollars
        return Totals(day=self.day, models=models, chats=chats)

    def spent(self, scope: Scope, name: str, day: date) -> Decimal:
        return sum((each.real for each in self.made if each.over and each.in_scope(scope, name, day)), Decimal(0))

    def check(self) -> None:
        """No limit is overrun but by what was under way when the last attempt was let through."""
        for (scope, name, day), under_way in self.last.items():
            limit = next(each for kind, whose, each in WORLD_LIMITS.of(*self.names(scope, name)) if kind == scope)
            seen_by = under_way[-1].worker
            excess = sum(
                (
                    max(each.real - each.needed, Decimal(0)) if each.worker == seen_by else each.real
                    for each in under_way
                ),
                Decimal(0),
            )
            assert self.spent(scope, name, day) <= limit + excess, "overrun"

    @staticmethod
    def names(scope: Scope, name: str) -> tuple[str, str]:
        return (name, "") if scope == "model" else ("", name)

    def settle(self) -> None:
        """When all is over and written, everybody knows the same: what was really spent, and nothing is held."""
        while any(not each.over for each in self.made):
            self.end(0)
        for books in self.books:
            self.write(books, stored=True)
        real: dict[tuple[date, str, str], Decimal] = {}
        for each in self.made:
            key = (each.day, each.model, each.chat)
            real[key] = real.get(key, Decimal(0)) + each.real
        assert {key: dollars for key, dollars in self.stored.items() if dollars} == {
            key: dollars for key, dollars in real.items() if dollars
        }, "what is stored is what was spent"
        for books in self.books:
            today = books.today(self.day)
            books.learn(self.totals())
            for scope, name in (("day", ""), ("model", "dear"), ("model", "cheap"), ("chat", "a"), ("chat", "b")):
                assert today.spent(scope, name) == self.spent(scope, name, self.day), "everybody knows"
                assert today.under_way.of(scope, name) == 0, "nothing is held"


STEP = st.tuples(
    st.sampled_from(["begin", "begin", "begin", "begin", "end", "end", "write", "fail", "midnight"]),
    st.integers(0, 2),
    st.sampled_from(["dear", "cheap"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from([0, 1, 2, 4]),
)
SCRIPT = st.lists(STEP, max_size=25)


@how(max_examples=300, deadline=None, derandomize=True, database=None)
@given(SCRIPT, st.integers(1, 3))
def test_limits_hold_whoever_spends_and_whatever_the_storage_does(
    script: list[tuple[str, int, str, str, int, int]], workers: int
) -> None:
    World(script, workers, lambda: Books(WORLD_LIMITS)).run()


class SeesOnlyWhatIsOver(Books):
    def reserve(self, day: date, model: str, chat: str, needed: Decimal) -> Reservation | Reached:
        answer = super().reserve(day, model, chat, needed)
        if isinstance(answer, Reservation):
            answer.day.under_way.add(model, chat, -needed)
        return answer

    def release(self, held: Reservation) -> None:
        pass


class HoldsForEver(Books):
    def release(self, held: Reservation) -> None:
        pass


class RefusesWhatIsFree(Books):
    def reserve(self, day: date, model: str, chat: str, needed: Decimal) -> Reservation | Reached:
        answer = super().reserve(day, model, chat, needed or Decimal("0.01"))
        if isinstance(answer, Reservation) and not needed:
            answer.day.under_way.add(model, chat, Decimal("-0.01"))
            return Reservation(day=answer.day, model=model, chat=chat, dollars=Decimal(0))
        return answer


class NeverBeginsANewDay(Books):
    def today(self, day: date) -> Day:
        return super().today(day if self._day.date == date.min else self._day.date)


class ForgetsTheChat(Books):
    def __init__(self, limits: Limits) -> None:
        super().__init__(Limits(per_day=limits.per_day, per_model=limits.per_model))


class ForgetsTheDay(Books):
    def __init__(self, limits: Limits) -> None:
        super().__init__(Limits(per_chat=limits.per_chat, per_model=limits.per_model))


class ForgetsTheModel(Books):
    def __init__(self, limits: Limits) -> None:
        super().__init__(Limits(per_chat=limits.per_chat, per_day=limits.per_day))


class StopsJustBelowTheLimit(Books):
    def reserve(self, day: date, model: str, chat: str, needed: Decimal) -> Reservation | Reached:
        reached = may_spend(
            self.today(day), self.limits, model=model, chat=chat, needed=needed and needed + Decimal("0.01")
        )
        return reached or super().reserve(day, model, chat, needed)


class CountsWhatIsWrittenTwice(Books):
    def saved(self, totals: Totals) -> None:
        self._leaving = {}
        self.learn(totals)


class LosesWhatWasNotWritten(Books):
    def not_saved(self) -> None:
        self._count(self._leaving, -1)
        self._leaving = {}


class WritesForTheDayThatItIs(Books):
    def enter(self, day: date, model: str, chat: str, spent: Spent) -> None:
        super().enter(self._day.date, model, chat, spent)


class LearnsNothingFromOthers(Books):
    def learn(self, totals: Totals) -> None:
        pass


MUTANTS = [
    SeesOnlyWhatIsOver,
    HoldsForEver,
    RefusesWhatIsFree,
    NeverBeginsANewDay,
    ForgetsTheChat,
    ForgetsTheDay,
    ForgetsTheModel,
    StopsJustBelowTheLimit,
    CountsWhatIsWrittenTwice,
    LosesWhatWasNotWritten,
    WritesForTheDayThatItIs,
    LearnsNothingFromOthers,
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_each_mutant_breaks_a_promise(mutant: type[Books]) -> None:
    def holds(drawn: tuple[list[tuple[str, int, str, str, int, int]], int]) -> bool:
        try:
            World(*drawn, make=lambda: mutant(WORLD_LIMITS)).run()
        except AssertionError:
            return False
        return True

    find(st.tuples(SCRIPT, st.integers(1, 3)), lambda drawn: not holds(drawn), settings=FOUND_IS_ENOUGH)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("google/gemini-2.5-flash-lite", True),
        ("Google/Gemini-2.5-Flash-Lite", True),
        ("google/gemini-2.5-flash", False),
        ("kwaipilot/kat-coder-pro:free", True),
        ("kwaipilot", False),
        ("", False),
    ],
)
def test_a_list_names_models_or_patterns_of_them(name: str, allowed: bool) -> None:
    assert is_allowed(name, ["google/gemini-2.5-flash-lite", "kwaipilot/*"]) is allowed
    assert is_allowed(name, [])


@pytest.mark.parametrize(
    ("asked", "answered", "may"),
    [
        ("gpt-x", "gpt-x", True),
        ("gpt-x", "GPT-X", True),
        ("gpt-x", "gpt-x-2026-01-01", True),
        ("gpt-x", "openai/gpt-x-0613", True),
        ("openai/gpt-x", "gpt-x", True),
        ("gpt-x", "gpt-x:free", True),
        ("gpt-x", "gpt-x@001", True),
        ("gpt-x", "gpt-x-preview-05-20", True),
        ("gpt-x", "gpt-x-latest", True),
        ("sonnet", "anthropic/sonnet-20260101-v2:0", True),
        ("gpt-x", "", True),
        ("gpt-x", "on-the-list-too", True),
        ("gpt-x", "gpt-x-pro", False),
        ("gpt-x", "gpt-x-mini-2026-01-01", False),
        ("gpt-x", "gpt-xl", False),
        ("gpt-x", "gpt-x-32k", False),
        ("gpt-x", "gpt", False),
        ("gpt-x", "other/model", False),
        ("openai/gpt-x", "elsewhere/gpt-x", False),
        ("vendor/gpt-x:free", "vendor/gpt-x", False),
    ],
)
def test_with_a_list_only_the_model_that_was_asked_answers_or_one_on_it(
    asked: str, answered: str, may: bool
) -> None:
    assert is_as_asked(asked, answered, ("on-the-list*",)) is may
    assert is_as_asked(asked, answered, ())


def test_a_limit_is_used_up_for_requests_like_the_latest_one_that_did_not_fit() -> None:
    books, least = Books(LIMITS), Decimal("0.1")
    books.today(MONDAY)
    spend(books, "4")
    assert books.used_up(MONDAY, "model", "dear", least) is False
    assert isinstance(reserve(books, "1.5", chat="b"), Reached)
    assert books.used_up(MONDAY, "model", "dear", least) is True
    assert books.used_up(MONDAY, "day", "dear", least) is False
    assert isinstance(reserve(books, "0.5", chat="b"), Reservation)
    assert books.used_up(MONDAY, "model", "dear", least) is False
    spend(books, "0.95", chat="b")
    assert books.used_up(MONDAY, "model", "dear", least) is True
    assert books.used_up(MONDAY, "model", "dear", Decimal(0)) is False, "what is free never is"
    assert books.used_up(MONDAY + timedelta(days=1), "model", "dear", least) is False


def test_what_only_waits_for_others_to_be_over_does_not_look_used_up() -> None:
    books = Books(LIMITS)
    held = reserve(books, "4")
    assert isinstance(held, Reservation)
    assert isinstance(reserve(books, "1.5", chat="b"), Reached)
    assert books.used_up(MONDAY, "model", "dear", Decimal("0.1")) is False
