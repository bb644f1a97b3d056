"""The decisions of a call, as tables."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.errors import Category
from mainstay.recovery import machine
from mainstay.recovery.model import Candidate, Failure, GaveUp, Limits

LIMITS = Limits(first_token_s=20, idle_s=30, total_s=120)
A, B = Candidate(name="a", limits=LIMITS), Candidate(name="b", limits=LIMITS)


def failure(category: Category, status: int | None = None) -> Failure:
    return Failure(category=category, message="", status=status)


@pytest.mark.parametrize("category", list(Category))
def test_only_what_another_model_could_do_better_goes_on_to_it(category: Category) -> None:
    call, first = machine.begin(machine.Call(waiting=(A, B), deadline=100), now=0)
    assert first == A
    _, decision = machine.after_failure(call, failure(category), now=1)
    hopeless = {
        Category.INVALID_REQUEST,
        Category.CONTENT_FILTER,
        Category.CANCELLED,
        Category.DATABASE,
        Category.INTERNAL,
    }
    assert decision == (GaveUp(failure(category)) if category in hopeless else B)


def test_the_last_failure_is_the_one_that_is_told() -> None:
    call = machine.Call(waiting=(B,), deadline=100)
    call, _ = machine.after_failure(call, failure(Category.RATE_LIMIT), now=1)
    call, decision = machine.after_failure(call, failure(Category.TIMEOUT), now=2)
    assert decision == GaveUp(failure(Category.TIMEOUT))
    assert [each.category for each in call.failures] == [Category.RATE_LIMIT, Category.TIMEOUT]


def test_no_attempt_begins_that_the_deadline_would_end_at_once() -> None:
    call = machine.Call(waiting=(A,), deadline=10)
    late = 10 - machine.MIN_ATTEMPT_S / 2
    _, decision = machine.begin(call, now=late)
    assert isinstance(decision, GaveUp)
    assert decision.failure.category is Category.TIMEOUT
    told = replace(call, failures=(failure(Category.OVERLOADED),))
    assert machine.begin(told, now=late)[1] == GaveUp(failure(Category.OVERLOADED))


def test_a_call_without_models_gives_up() -> None:
    _, decision = machine.begin(machine.Call(waiting=(), deadline=10), now=0)
    assert isinstance(decision, GaveUp)
    assert decision.failure.category is Category.INTERNAL


@pytest.mark.parametrize(
    ("last", "deadline", "now", "seconds", "limit"),
    [
        (None, 1000, 0, 20, "first token"),
        (None, 1000, 15, 5, "first token"),
        (18, 1000, 18, 30, "idle"),
        (100, 1000, 100, 20, "total"),
        (None, 7, 0, 7, "deadline"),
        (None, 1000, 25, 0, "first token"),
    ],
)
def test_the_limit_that_comes_first_ends_the_wait(
    last: float | None, deadline: float, now: float, seconds: float, limit: str
) -> None:
    wait = machine.wait(LIMITS, started=0, last=last, deadline=deadline, now=now)
    assert (wait.seconds, wait.limit) == (seconds, limit)


@given(st.lists(st.sampled_from(list(Category)), max_size=6), st.integers(1, 5))
def test_every_model_is_asked_at_most_once_and_in_order(categories: list[Category], count: int) -> None:
    chain = tuple(Candidate(name=str(number), limits=LIMITS) for number in range(count))
    call, decision = machine.begin(machine.Call(waiting=chain, deadline=1000), now=0)
    asked = []
    for category in [*categories, *[Category.RATE_LIMIT] * count]:
        if isinstance(decision, GaveUp):
            break
        asked.append(decision)
        call, decision = machine.after_failure(call, failure(category), now=0)
    assert isinstance(decision, GaveUp)
    assert asked == list(chain[: len(asked)])
