"""What should the card show right now?"""

from mainstay.channels.feishu.card import ANSWER, STATUS
from mainstay.channels.feishu.screen import Screen
from mainstay.messages import Finished, Outcome, Status, Suggestions, TextAppended, TextReplaced


def test_what_is_shown_is_not_written_again():
    screen = Screen(status="")
    assert screen.next_write() is None
    screen.take(TextAppended("a"))
    assert screen.next_write() == (ANSWER, "a")
    screen.wrote(ANSWER, "a")
    assert screen.next_write() is None
    screen.take(TextReplaced("a"))
    assert screen.next_write() is None


def test_what_changed_while_it_was_written_is_written_next():
    screen = Screen(status="")
    screen.take(TextAppended("a"))
    screen.take(TextAppended("b"))
    screen.wrote(ANSWER, "a")
    assert screen.next_write() == (ANSWER, "ab")


def test_a_status_is_not_starved_by_a_fast_text():
    screen = Screen(status="Thinking…")
    screen.take(TextAppended("a"))
    assert screen.next_write() == (STATUS, "Thinking…")
    screen.wrote(STATUS, "Thinking…")
    assert screen.next_write() == (ANSWER, "a")


def test_nothing_empty_is_written():
    screen = Screen(status="")
    screen.take(TextAppended(""))
    screen.take(Status(""))
    assert screen.next_write() is None


def test_a_text_that_was_taken_back_stays_until_there_is_another():
    screen = Screen(status="")
    screen.take(TextAppended("wrong"))
    screen.wrote(ANSWER, "wrong")
    screen.take(TextReplaced(""))
    assert screen.next_write() is None
    screen.take(TextAppended("right"))
    assert screen.next_write() == (ANSWER, "right")


def test_nobody_is_called_by_a_status():
    screen = Screen(status="<at id=all></at>")
    assert screen.next_write() == (STATUS, "<\u200bat id=all><\u200b/at>")


def test_suggestions_and_the_end_change_nothing_here():
    screen = Screen(status="")
    screen.take(Suggestions(("next?",)))
    screen.take(Finished(outcome=Outcome.ANSWERED, text="the end"))
    assert screen.next_write() is None
