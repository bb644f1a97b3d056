"""No text is cut inside of what a person takes for one character."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.channels.feishu.graphemes import border_before

CHARACTERS = [
    "a",
    "好",
    "é",
    "e\u0301",
    "\r\n",
    "🙂",
    "👍🏽",
    "❤️",
    "1️⃣",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇨🇳",
    "🏴󠁧󠁢󠁷󠁬󠁳󠁿",
    "한",
    "\u1112\u1161\u11ab",
    "क्षि",
    "नि",
    "தி",
    "กำ",
    "שָׁ",
    "لاً",
    "\u0600١",
    "\u200f",
]


@given(st.lists(st.sampled_from(CHARACTERS), max_size=12), st.integers(0, 60))
def test_a_text_is_cut_between_characters_and_nowhere_else(characters: list[str], position: int) -> None:
    text = "".join(characters)
    borders = {len("".join(characters[:count])) for count in range(len(characters) + 1)}
    found = border_before(text, position)
    assert found in borders | _inner_borders(characters)
    assert found <= position


def _inner_borders(characters: list[str]) -> set[int]:
    """Two letters of Arabic are two characters; in the list they only stand together."""
    found, start = set(), 0
    for each in characters:
        if each == "لاً":
            found.add(start + 1)
        start += len(each)
    return found


@pytest.mark.parametrize(
    ("text", "position", "border"),
    [
        ("abc", 2, 2),
        ("ab👩‍👩‍👧‍👦", 5, 2),
        ("🇨🇳🇩🇪🇫🇷", 3, 2),
        ("🇨🇳🇩🇪🇫🇷", 4, 4),
        ("abc", 0, 0),
        ("abc", 9, 3),
        ("abc", -1, 0),
    ],
)
def test_the_border_is_the_last_one_that_is_not_too_far(text: str, position: int, border: int) -> None:
    assert border_before(text, position) == border


def test_letters_under_a_heap_of_marks_are_cut_all_the_same() -> None:
    assert border_before("a" + "\u0301" * 10_000, 5000) == 5000


def test_no_border_is_one_that_the_reference_does_not_have() -> None:
    regex = pytest.importorskip("regex", reason="regex, which knows the clusters of Unicode, is not installed")
    text = "".join(before + after for before in CHARACTERS for after in CHARACTERS)
    borders = {0} | {match.end() for match in regex.finditer(r"\X", text)}
    assert {border_before(text, position) for position in range(len(text) + 1)} <= borders
