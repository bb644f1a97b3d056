"""The walk along a chain: who is asked, when, and when it is enough."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, find, given
from hypothesis import settings as how
from hypothesis import strategies as st

from mainstay.errors import Category
from mainstay.recovery.call.machine import Walk, attempt_ends, limit_at
from mainstay.recovery.call.model import Ask, GaveUp, Limits, Wait
from mainstay.recovery.model import TRAITS, Failure, RecoverySettings, Traits

SETTINGS = RecoverySettings(retries=2, retry_base=1.0, retry_cap=8.0, longest_wait=15.0, min_attempt=0.5)
FOREVER = float("inf")
QUICK = how(
    max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
LIMITS = Limits(first_token_s=20, idle_s=30, total_s=120)


def failure(category: Category, **more: float) -> Failure:
    return Failure(category=category, message="", **more)  # type: ignore[arg-type]


def walk(count: int, *, deadline: float = FOREVER, settings: RecoverySettings = SETTINGS, **more: object) -> Walk:
    return Walk(count, settings, deadline=deadline, chance=lambda: 1.0, **more)  # type: ignore[arg-type]


def test_the_candidates_are_asked_in_their_order_and_the_last_one_is_the_last_resort() -> None:
    way = walk(3)
    assert way.next(0) == Ask(0)
    way.lost(0, failure(Category.SERVER_ERROR), 0)
    assert way.next(0) == Ask(1)
    way.lost(1, failure(Category.TIMEOUT), 0)
    assert way.next(0) == Ask(2, last_resort=True)


@pytest.mark.parametrize("category", list(Category))
def test_only_what_another_could_do_better_is_asked_of_another(category: Category) -> None:
    way = walk(2)
    way.next(0)
    way.lost(0, failure(category), 0)
    hopeless = {Category.INVALID_REQUEST, Category.CONTENT_FILTER, Category.CANCELLED, Category.INTERNAL}
    if category is Category.DATABASE:  # asked again, but of nobody else
        assert way.next(0) == Wait(0, 1.0)
    else:
        expected = GaveUp(failure=failure(category)) if category in hopeless else Ask(1, last_resort=True)
        assert way.next(0) == expected


def test_a_filtered_answer_is_asked_of_another_only_where_that_is_wanted() -> None:
    way = walk(2, settings=RecoverySettings(content_filter_fallback=True))
    way.next(0)
    way.lost(0, failure(Category.CONTENT_FILTER), 0)
    assert way.next(0) == Ask(1, last_resort=True)


def test_nobody_waits_while_somebody_is_left_to_ask() -> None:
    way = walk(2)
    way.next(0)
    way.lost(0, failure(Category.RATE_LIMIT, retry_after_s=1), 0)
    assert way.next(0) == Ask(1, last_resort=True)


def test_with_nobody_left_the_one_that_may_be_tried_first_is_waited_for_and_paid_for() -> None:
    way = walk(2)
    way.next(0)
    way.lost(0, failure(Category.RATE_LIMIT, retry_after_s=7), 0)
    way.next(0)
    way.lost(1, failure(Category.OVERLOADED, retry_after_s=3), 0)
    assert way.next(0) == Wait(1, 3)
    assert way.next(3) == Ask(1, last_resort=True, after=Category.OVERLOADED)
    way.lost(1, failure(Category.AUTH), 3)
    assert way.next(3) == Wait(0, 4)
    assert way.next(7) == Ask(0, after=Category.RATE_LIMIT)


@pytest.mark.parametrize("category", list(Category))
def test_how_often_one_is_asked_again_depends_on_what_it_failed_of(category: Category) -> None:
    way, asked, now = walk(1, settings=RecoverySettings(retries=5, longest_wait=100)), 0, 0.0
    while not isinstance(step := way.next(now), GaveUp):
        if isinstance(step, Wait):
            now += step.seconds
            continue
        asked += 1
        way.lost(0, failure(category), now)
    assert asked == 1 + TRAITS[category].retries


@pytest.mark.parametrize(("chance", "waits"), [(1.0, [1, 2, 4, 8, 8]), (0.0, [0.5, 1, 2, 4, 4])])
def test_the_wait_grows_up_to_its_cap_and_half_of_it_is_chance(chance: float, waits: list[float]) -> None:
    often = Traits(fallback=True, retries=9, counts=True)
    again = Failure(category=Category.SERVER_ERROR, message="", special=often)
    settings = RecoverySettings(retries=9, retry_base=1, retry_cap=8, longest_wait=100)
    way = Walk(1, settings, deadline=FOREVER, chance=lambda: chance)
    way.next(0)
    for expected in waits:
        way.lost(0, again, 0)
        assert way.next(0) == Wait(0, expected)


def test_a_delay_that_nobody_would_bear_is_told_and_not_waited_for() -> None:
    way = walk(1)
    way.next(0)
    way.lost(0, failure(Category.RATE_LIMIT, retry_after_s=30), 0)
    assert way.next(0) == GaveUp(failure=failure(Category.RATE_LIMIT, retry_after_s=30), wait_s=30)


def test_no_attempt_and_no_wait_begins_that_the_deadline_would_end() -> None:
    late = walk(1, deadline=10).next(9.6)
    assert isinstance(late, GaveUp)
    assert (late.why, late.failure.category) == ("late", Category.TIMEOUT)
    way = walk(1, deadline=10)
    way.next(0)
    way.lost(0, failure(Category.OVERLOADED, retry_after_s=9.6), 0)
    assert way.next(0) == GaveUp(failure=failure(Category.OVERLOADED, retry_after_s=9.6), wait_s=9.6)


def test_whoever_is_left_alone_is_passed_over_and_tried_when_its_pause_is_over() -> None:
    way = walk(2)
    way.next(0)
    way.refused(0, failure(Category.SERVER_ERROR), 4, 0)
    assert way.next(0) == Ask(1, last_resort=True)
    way.lost(1, failure(Category.AUTH), 0)
    assert way.next(0) == Wait(0, 4)
    assert way.next(4) == Ask(0)


def test_when_everybody_is_left_alone_for_long_the_real_reason_and_the_wait_are_told() -> None:
    way = walk(2)
    way.next(0)
    way.refused(0, failure(Category.SERVER_ERROR), 40, 0)
    way.next(0)
    way.refused(1, failure(Category.QUOTA_EXHAUSTED), 600, 0)
    gave_up = way.next(0)
    assert gave_up == GaveUp(failure=failure(Category.QUOTA_EXHAUSTED), why="left_alone", wait_s=40)


def test_a_real_failure_is_told_rather_than_a_refusal_that_followed_it() -> None:
    way = walk(2)
    way.next(0)
    way.lost(0, failure(Category.AUTH), 0)
    way.next(0)
    way.refused(1, failure(Category.SERVER_ERROR), 40, 0)
    assert way.next(0) == GaveUp(failure=failure(Category.AUTH), wait_s=40)


def test_what_has_no_budget_is_passed_over_for_good() -> None:
    way = walk(2)
    way.next(0)
    way.refused(0, failure(Category.OVERLOADED), 0, 0, why="forbidden")
    assert way.next(0) == Ask(1, last_resort=True)
    way.refused(1, failure(Category.OVERLOADED), 0, 0, why="forbidden")
    assert way.next(0) == GaveUp(failure=failure(Category.OVERLOADED), why="forbidden")


def test_a_place_is_waited_for_once_and_only_when_nobody_else_is_left() -> None:
    way = walk(2)
    way.next(0)
    assert way.patience_s == 0
    way.refused(0, failure(Category.OVERLOADED), 0, 0, why="busy")
    assert way.next(0) == Ask(1, last_resort=True)
    way.lost(1, failure(Category.AUTH), 0)
    assert way.next(0) == Ask(0)
    assert way.patience_s == SETTINGS.longest_wait
    way.waited(4)
    way.refused(0, failure(Category.OVERLOADED), 0, 4, why="busy")
    assert way.patience_s == SETTINGS.longest_wait - 4
    assert way.next(4) == GaveUp(failure=failure(Category.AUTH))


def test_a_retry_that_can_not_be_paid_for_is_none() -> None:
    way = walk(1)
    way.next(0)
    way.lost(0, failure(Category.SERVER_ERROR), 0)
    assert way.next(1) == Ask(0, last_resort=True, after=Category.SERVER_ERROR)
    way.unaffordable(0)
    assert way.next(1) == GaveUp(failure=failure(Category.SERVER_ERROR))


def test_what_is_too_long_for_one_is_asked_of_no_smaller_one() -> None:
    way = walk(4, windows=[8, 4, None, 16])
    way.next(0)
    way.lost(0, failure(Category.CONTEXT_LENGTH), 0)
    assert way.next(0) == Ask(2)
    way.lost(2, failure(Category.CONTEXT_LENGTH), 0)
    assert way.next(0) == Ask(3, last_resort=True)


def test_a_call_with_nobody_to_ask_gives_up() -> None:
    gave_up = walk(0).next(0)
    assert isinstance(gave_up, GaveUp)
    assert gave_up.failure.category is Category.INTERNAL


@pytest.mark.parametrize(
    ("last", "deadline", "end", "limit"),
    [
        (None, 1000.0, 20.0, ("first token", 20)),
        (18.0, 1000.0, 48.0, ("idle", 30)),
        (100.0, 1000.0, 120.0, ("total", 120)),
        (None, 7.0, 7.0, ("deadline", 7)),
        (50.0, 60.0, 60.0, ("deadline", 60)),
    ],
)
def test_the_limit_that_comes_first_ends_the_wait(
    last: float | None, deadline: float, end: float, limit: tuple[str, float]
) -> None:
    assert attempt_ends(LIMITS, 0, last, deadline) == end
    assert limit_at(LIMITS, 0, last, deadline, end) == limit


def test_without_limits_only_the_deadline_ends_a_wait() -> None:
    assert attempt_ends(Limits(), 0, None, FOREVER) == FOREVER
    assert attempt_ends(Limits(), 0, 3, 9) == 9


@dataclass
class World:
    """Candidates that fail or refuse as they like, on virtual time; it writes down what the walk does to them."""

    script: list[tuple[str, Category, float]]
    count: int
    deadline: float
    walk: type[Walk] = Walk
    now: float = 0.0
    chosen: list[int] = field(default_factory=list)
    asked: list[tuple[int, float]] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    hopeless: int | None = None
    ended: bool = False

    def run(self) -> None:
        way = self.walk(self.count, SETTINGS, deadline=self.deadline, chance=lambda: 0.5)
        for what, category, seconds in self.script:
            step = way.next(self.now)
            while isinstance(step, Wait):
                self.waited.append(step.seconds)
                self.now += step.seconds
                step = way.next(self.now)
            if isinstance(step, GaveUp):
                self.ended = True
                return
            self.chosen.append(step.index)
            if step.after is not None:
                self.after.append(step.index)
            if what == "refuse":
                way.refused(step.index, failure(category), seconds, self.now)
                continue
            self.asked.append((step.index, self.now))
            if what == "answer":
                self.ended = True
                return
            self.now += seconds
            way.lost(step.index, failure(category, retry_after_s=seconds), self.now)
            if self.hopeless is None and category in HOPELESS:
                self.hopeless = len(self.asked)

    def check(self) -> None:
        """What a person, a provider and an operator may rely on."""
        assert self.ended, "a call ends"
        indices = [index for index, _ in self.asked]
        firsts = list(dict.fromkeys(self.chosen))
        assert firsts == sorted(firsts), "in the order of the chain"
        assert all(at + SETTINGS.min_attempt <= self.deadline for _, at in self.asked), "never too late"
        assert sum(self.waited) <= SETTINGS.longest_wait, "nobody waits for ever"
        assert max((indices.count(index) for index in firsts), default=0) <= 1 + SETTINGS.retries
        assert len(self.after) >= len(indices) - len(set(indices)), "each retry is paid for"
        assert self.hopeless in (None, len(self.asked)), "what is wrong everywhere is asked of nobody else"


HOPELESS = {Category.INVALID_REQUEST, Category.CONTENT_FILTER, Category.CANCELLED, Category.INTERNAL}
STEP = st.tuples(
    st.sampled_from(["fail", "fail", "fail", "refuse", "answer"]),
    st.sampled_from(list(Category)),
    st.sampled_from([0.0, 0.1, 1.0, 6.0, 20.0, 100.0]),
)
SCRIPT = st.lists(STEP, max_size=30).map(lambda begun: [*begun, *[("fail", Category.SERVER_ERROR, 1.0)] * 40])
DEADLINE = st.sampled_from([0.3, 10.0, 60.0, FOREVER])


@how(max_examples=300, deadline=None, derandomize=True, database=None)
@given(SCRIPT, st.integers(1, 4), DEADLINE)
def test_a_call_keeps_what_it_promises_to_everybody(
    script: list[tuple[str, Category, float]], count: int, deadline: float
) -> None:
    world = World(script, count, deadline)
    world.run()
    world.check()


class AsksForEver(Walk):
    def lost(self, index: int, failure: Failure, now: float) -> None:
        super().lost(index, failure, now)
        self._of(index).settled = False


class ForgetsTheDeadline(Walk):
    def next(self, now: float) -> Ask | Wait | GaveUp:
        self._deadline = FOREVER
        return super().next(now)


class BeginsAtTheLastMoment(Walk):
    def next(self, now: float) -> Ask | Wait | GaveUp:
        self._deadline += 0.4 if self._next == 0 else 0.0
        return super().next(now)


class WaitsAsLongAsAsked(Walk):
    def __init__(self, count: int, settings: RecoverySettings, **more: Any) -> None:  # noqa: ANN401  those of `Walk`
        super().__init__(count, replace(settings, longest_wait=FOREVER), **more)


class BeginsAtTheEnd(Walk):
    def next(self, now: float) -> Ask | Wait | GaveUp:
        step = super().next(now)
        return replace(step, index=self._count - 1 - step.index) if isinstance(step, Ask) else step


class GoesOnWithWhatIsWrong(Walk):
    def _others_may_do_better(self, failure: Failure) -> bool:
        return True


class RetriesForNothing(Walk):
    def next(self, now: float) -> Ask | Wait | GaveUp:
        step = super().next(now)
        return replace(step, after=None) if isinstance(step, Ask) else step


MUTANTS = [
    AsksForEver,
    ForgetsTheDeadline,
    BeginsAtTheLastMoment,
    WaitsAsLongAsAsked,
    BeginsAtTheEnd,
    GoesOnWithWhatIsWrong,
    RetriesForNothing,
]


@pytest.mark.parametrize("mutant", MUTANTS)
def test_each_mutant_breaks_a_promise(mutant: type[Walk]) -> None:
    def holds(drawn: tuple[list[tuple[str, Category, float]], int, float]) -> bool:
        world = World(*drawn, walk=mutant)
        try:
            world.run()
            world.check()
        except AssertionError:
            return False
        return True

    find(st.tuples(SCRIPT, st.integers(1, 4), DEADLINE), lambda drawn: not holds(drawn), settings=QUICK)


def test_a_candidate_that_keeps_refusing_is_come_back_to_a_few_times_only() -> None:
    way, now, refused = walk(1), 0.0, 0
    while not isinstance(step := way.next(now), GaveUp):
        if isinstance(step, Wait):
            now += step.seconds
        else:
            refused += 1
            way.refused(0, failure(Category.SERVER_ERROR), 1.0, now)
    assert refused == 4
