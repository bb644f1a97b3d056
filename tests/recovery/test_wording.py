from mainstay.recovery.wording import one_line


def test_a_line_has_no_control_characters_and_no_more_than_it_may() -> None:
    assert one_line("a\tb\r\n\x1b[31mc\u200b d") == "a b [31mc d"
    assert one_line("x" * 300) == "x" * 199 + "…"
    assert one_line("x" * 20, longest=10) == "x" * 9 + "…"
