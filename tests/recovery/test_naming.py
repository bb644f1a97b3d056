"""By what of it does a person know which of their messages an answer is for?"""

import pytest

from mainstay.recovery.notices import together


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("what is a lease?", "what is a lease?"),
        ("a  b\n\nc", "a b c"),
        ("the quick brown fox jumps over the lazy dog", "the quick brown fox jump…"),
        ("他说“你好”", "他说‘你好’"),
        ("12345678901234567890123👩‍👩‍👧‍👦 and more", "12345678901234567890123…"),
        ("1234567890123456789012👍🏽👍🏽 and more", "1234567890123456789012👍🏽…"),
        ("12345678901234567890123🇨🇳 and more", "12345678901234567890123…"),
        ("12345678901234567890123e\u0301 and more", "12345678901234567890123…"),
        ("👩\u200d" * 30, "👩\u200d" * 12 + "…"),
    ],
)
def test_a_message_is_named_by_how_it_begins_and_no_character_is_cut(said: str, named: str) -> None:
    assert together([said], "en") == f"This also answers: “{named}”"
