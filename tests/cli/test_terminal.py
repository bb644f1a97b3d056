"""An answer grows on the terminal, and can not drive it."""

import io

import pytest

from mainstay.cli.terminal import Growing, dim, safe, table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(written: str, width: int) -> list[str]:
    """What a terminal shows after these bytes: enough of one to know line feeds, going up and clearing below."""
    lines, row, position = [""], 0, 0
    while position < len(written):
        if written.startswith("\x1b[", position):
            end = next(n for n in range(position + 2, len(written)) if written[n].isalpha())
            number, action = written[position + 2 : end], written[end]
            if action == "F":
                row -= int(number)
                assert row >= 0
            elif action == "J":
                del lines[row:]
                lines.append("")
            position = end + 1
            continue
        if written[position] == "\n":
            row += 1
            lines.extend([""] * (row + 1 - len(lines)))
        else:
            lines[row] += written[position]
            assert len(lines[row]) <= width
        position += 1
    return lines


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "6")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_elsewhere_only_what_is_new_is_written() -> None:
    stream = io.StringIO()
    growing = Growing(stream)
    for text in ("", "He", "Hello", "Hello", "Hello you"):
        growing.show(text, "Thinking")
    growing.end("Hello you.")
    assert stream.getvalue() == "Hello you.\n"


def test_elsewhere_an_answer_that_starts_again_says_so() -> None:
    stream = io.StringIO()
    growing = Growing(stream)
    growing.show("The first")
    growing.show("A second")
    growing.end("A second one")
    assert stream.getvalue() == "The first\n\n[the answer starts again]\nA second one\n"


@pytest.mark.usefixtures("narrow")
def test_on_a_terminal_the_answer_is_drawn_over_itself() -> None:
    stream = Terminal()
    growing = Growing(stream)
    growing.show("", "Thinking")
    growing.show("one two three four five six", "Answering")
    assert screen(stream.getvalue(), 40) == ["one two three four f", "ive six", "Answering", ""]
    growing.show("short", "")
    assert screen(stream.getvalue(), 40) == ["short", ""]
    growing.end("the end\nof it")
    assert screen(stream.getvalue(), 40) == ["the end", "of it", ""]


@pytest.mark.usefixtures("narrow")
def test_a_long_answer_is_whole_in_the_end() -> None:
    stream = Terminal()
    growing = Growing(stream)
    lines = [f"line {n}" for n in range(30)]
    for n in range(30):
        growing.show("\n".join(lines[:n]), "Answering")
        assert len(screen(stream.getvalue(), 40)) <= 6
    growing.end("\n".join(lines))
    assert screen(stream.getvalue(), 40) == [*lines, ""]


@pytest.mark.usefixtures("narrow")
def test_wide_characters_take_two_columns() -> None:
    stream = Terminal()
    Growing(stream).show("目标" * 10)
    assert screen(stream.getvalue(), 40) == ["目标" * 5, "目标" * 5, ""]


def test_what_a_bot_says_can_not_drive_the_terminal() -> None:
    assert safe("a\x1b[2Jb\rc\x07\u202ed\n\te") == "a\\x1b[2Jb\nc\\x07\\u202ed\n    e"


@pytest.mark.usefixtures("narrow")
def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dim("x", Terminal()) == "\x1b[2mx\x1b[0m"
    assert dim("x", io.StringIO()) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert dim("x", Terminal()) == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert dim("x", Terminal()) == "x"


def test_columns_of_numbers_are_aligned_to_the_right() -> None:
    rows = [("NAME", "CALLS", "NOTE"), ("manager", "7", "a\nb"), ("目标", "1200", "-")]
    assert table(rows) == "NAME     CALLS  NOTE\nmanager      7  a b\n目标      1200  -"
