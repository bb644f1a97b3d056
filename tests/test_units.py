"""Durations, sizes and amounts are read as people write them, and written as they can be read."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.units import (
    format_dollars,
    format_duration,
    format_size,
    parse_dollars,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), ("1m30s", 90), ("1h 30m", 5400), ("2d", 172_800), ("0.5s", 0.5), (7, 7), (0, 0)],
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "5", "5 parsecs", "-5s", "30s!", "1e3s", "s30", -1, float("nan"), float("inf"), True]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"is not a duration: (write it like|it must be)"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "250ms"), (1.5, "1.5s"), (90, "1m30s"), (5400, "1h30m"), (86_400, "1d")]
)
def test_durations_are_written_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(0, 400 * 86_400_000))
def test_a_written_duration_is_read_back(milliseconds: int) -> None:
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


def test_the_shortest_duration_is_not_written_as_none() -> None:
    assert format_duration(0.0001) == "1ms"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("12", 12),
        ("64KiB", 65_536),
        ("1.5 MiB", 1_572_864),
        ("10MB", 10_000_000),
        ("2gb", 2 * 10**9),
        (5, 5),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "B", "-1", "1 XB", "1TiB", "many", -2, True, "1Ki"])
def test_what_is_no_size_is_refused_with_an_example(text: str | int) -> None:
    with pytest.raises(ValueError, match="is not a size: write it like"):
        parse_size(text)


@given(st.integers(0, 2**50))
def test_a_written_size_is_read_back_exactly(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("written", "dollars"),
    [
        ("0.10", Decimal("0.1")),
        (3, Decimal(3)),
        ("0", Decimal(0)),
        (Decimal("1.50"), Decimal("1.5")),
        ("1e-9", Decimal("1e-9")),
    ],
)
def test_amounts_are_read_without_rounding(written: object, dollars: Decimal) -> None:
    assert parse_dollars(written) == dollars


@pytest.mark.parametrize("written", ["", "much", "-1", "nan", "inf", "1 USD", "5,00", True, None, [1]])
def test_what_is_no_amount_is_refused_with_an_example(written: object) -> None:
    with pytest.raises(ValueError, match=r'is not an amount: write US dollars in quotes, like "0\.10"'):
        parse_dollars(written)


def test_what_is_not_exact_is_refused_with_the_way_to_write_it() -> None:
    with pytest.raises(ValueError, match=r'0\.1 is not exact: write it in quotes, like "0\.1"'):
        parse_dollars(0.1)


@pytest.mark.parametrize(
    ("dollars", "text"), [("1.50", "1.5"), ("100", "100"), ("0", "0"), ("0.0000005", "0.0000005"), ("1E+2", "100")]
)
def test_amounts_are_written_with_all_their_digits(dollars: str, text: str) -> None:
    assert format_dollars(Decimal(dollars)) == text
