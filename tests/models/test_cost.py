"""Money is exact, what nobody counted is estimated, and what nobody knows is not zero."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.messages import ModelUsage
from mainstay.models.cost import Meter, Tokens, UsageBook, cost
from mainstay.models.model import Price

CHEAP = Price(input=Decimal("0.10"), output=Decimal("0.40"))


def test_a_small_call_does_not_cost_nothing() -> None:
    assert cost(Tokens(1, 1), CHEAP) == Decimal("0.0000005")


def test_a_model_without_a_price_has_no_known_cost() -> None:
    assert cost(Tokens(200_000, 1), None) is None


def test_attempts_add_up_by_model_in_the_order_they_were_asked() -> None:
    book = UsageBook({"b": CHEAP, "a": None})
    book.add("b", Tokens(1000, 10))
    book.add("a", Tokens(5, 5))
    book.add("b", Tokens(1000, 20))
    assert book.usage() == (
        ModelUsage(model="b", input_tokens=2000, output_tokens=30, cost=Decimal("0.000212")),
        ModelUsage(model="a", input_tokens=5, output_tokens=5, cost=None),
    )


def test_one_estimated_attempt_makes_its_model_s_usage_an_estimate() -> None:
    book = UsageBook({"a": CHEAP, "b": CHEAP})
    book.add("a", Tokens(10, 10))
    book.add("a", Tokens(10, 0), estimated=True)
    book.add("a", Tokens(10, 10))
    book.add("b", Tokens(1, 1))
    assert [(usage.estimated, usage.input_tokens) for usage in book.usage()] == [(True, 30), (False, 1)]


@pytest.mark.parametrize(("pieces", "output"), [([], 0), ([1, 1, 1], 3), ([400], 100), ([5, 4], 3), ([0, 0, 9], 3)])
def test_what_came_is_estimated_by_its_pieces_or_by_their_length(pieces: list[int], output: int) -> None:
    meter = Meter()
    for characters in pieces:
        meter.heard(characters)
    assert meter.estimate(7) == Tokens(7, output)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), min_size=1))
def test_the_cost_of_the_parts_is_the_cost_of_the_whole(parts: list[tuple[int, int]]) -> None:
    book = UsageBook({"a": CHEAP})
    for tokens in parts:
        book.add("a", Tokens(*tokens))
    whole = Tokens(sum(part[0] for part in parts), sum(part[1] for part in parts))
    assert book.usage()[0].cost == cost(whole, CHEAP)
