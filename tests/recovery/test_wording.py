import pytest

from mainstay.logs.redact import register
from mainstay.recovery.wording import one_line


def test_a_line_has_no_control_characters_and_no_more_than_it_may() -> None:
    assert one_line("a\tb\r\n\x1b[31mc\u200b d") == "a b [31mc d"
    assert one_line("a\ud800b") == "a b"
    assert one_line("x" * 300) == "x" * 199 + "…"
    assert one_line("x" * 20, longest=10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    "text",
    [
        "two  blanks in it",  # as it is written, before blanks are drawn together
        "two\n\nblanks\tin it",  # and as it reads afterwards
        " " * 3990 + "two  blanks in it",  # at the end of what is searched
    ],
)
def test_no_secret_comes_out_of_the_blanks_around_it_or_in_it(text: str) -> None:
    register(["two  blanks in it", "two blanks in it"])
    assert "blanks" not in one_line(text)


def test_a_secret_is_not_shown_by_half_where_the_text_is_cut() -> None:
    register(["correct-horse-battery"])
    assert one_line(" " * 3990 + "correct-horse-battery and more") == ""
