"""How much of a conversation is shown, and what is worth a note?"""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.memory.machine import admit, note_of, recall, size_of, surplus
from mainstay.memory.model import MemorySettings
from mainstay.messages import Exchange

AT = datetime(2026, 1, 1, tzinfo=UTC)


def exchange(name: str = "t", *, user: str = "", answer: str = "", record: bytes = b"") -> Exchange:
    return Exchange(turn_id=name, user_text=user, answer_text=answer, at=AT, record=record)


exchanges = st.lists(
    st.builds(
        exchange,
        st.uuids().map(str),
        user=st.text(max_size=8),
        answer=st.text(max_size=8),
        record=st.binary(max_size=30),
    ),
    max_size=12,
)


@given(exchanges, st.integers(0, 6), st.integers(0, 120))
def test_a_history_is_the_newest_part_without_gaps_within_the_limits(
    newest_first: list[Exchange], count: int, limit: int
) -> None:
    settings = MemorySettings(history=count, history_bytes=limit)
    history = recall(newest_first, settings)
    assert len(history) <= count
    assert sum(size_of(one) for one in history) <= limit
    expected = newest_first[: len(history)][::-1]
    assert [one.turn_id for one in history] == [one.turn_id for one in expected]
    assert list(history[1:]) == expected[1:], "only the oldest may have lost its record"
    if len(history) < min(count, len(newest_first)):
        rest = limit - sum(size_of(one) for one in expected)
        too_large = size_of(newest_first[len(history)]) > max(rest, 0)
        assert too_large or history[:1] != tuple(expected[:1]), "there was room for more"


def test_sizes_are_bytes_not_characters() -> None:
    assert size_of(exchange(user="早", answer="é", record=b"12")) == 7
    assert recall([exchange(user="早")], MemorySettings(history_bytes=2)) == ()
    assert recall([exchange(user="早")], MemorySettings(history_bytes=3)) == (exchange(user="早"),)


def test_a_record_that_is_too_large_leaves_the_texts() -> None:
    settings = MemorySettings(history_bytes=10)
    large = exchange("b", user="hello", record=b"x" * 6)
    assert recall([large, exchange("a", user="hi")], settings) == (exchange("b", user="hello"),)


def test_what_no_history_could_hold_is_stored_without_its_record() -> None:
    settings = MemorySettings(history_bytes=10)
    assert admit(exchange(user="hello", record=b"x" * 6), settings) == exchange(user="hello")
    fits = exchange(user="hello", record=b"x" * 5)
    assert admit(fits, settings) is fits


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("likes tea", "likes tea"),
        ("  likes\n  tea ", "likes tea"),
        ("x" * 30, "x" * 20),
        ("known", None),
        (" known ", None),
        ("  \n ", None),
    ],
)
def test_a_note_is_one_short_line_that_is_new(text: str, note: str | None) -> None:
    assert note_of(text, ["known"], MemorySettings(note_chars=20)) == note


def test_the_oldest_notes_give_way() -> None:
    settings = MemorySettings(notes=3)
    assert [surplus(count, settings) for count in (0, 3, 4, 9)] == [0, 0, 1, 6]
