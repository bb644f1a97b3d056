"""What should the card show right now?"""

from mainstay.channels.feishu.card import ANSWER, STATUS
from mainstay.channels.feishu.screen import Screen
from mainstay.messages import (
    Finished,
    HandedOver,
    ModelAsked,
    Outcome,
    Status,
    Suggestions,
    TextAppended,
    TextReplaced,
    ToolStarted,
)


def test_what_is_shown_is_not_written_again():
    screen = Screen(status="Answering…", shown_status="Answering…")
    assert screen.next_write() is None
    screen.take(TextAppended("a"))
    assert screen.next_write() == (ANSWER, "a")
    screen.wrote(ANSWER, "a")
    assert screen.next_write() is None
    screen.take(TextReplaced("a"))
    assert screen.next_write() is None


def test_what_changed_while_it_was_written_is_written_next():
    screen = Screen(status="Answering…", shown_status="Answering…")
    screen.take(TextAppended("a"))
    screen.take(TextAppended("b"))
    screen.wrote(ANSWER, "a")
    assert screen.next_write() == (ANSWER, "ab")


def test_the_beginning_of_a_text_goes_first_and_then_a_status_is_not_starved_by_it():
    screen = Screen(status="Thinking…")
    screen.take(TextAppended("a"))
    assert screen.next_write() == (ANSWER, "a")
    screen.wrote(ANSWER, "a")
    screen.take(TextAppended("b"))
    assert screen.next_write() == (STATUS, "Answering…")
    screen.wrote(STATUS, "Answering…")
    assert screen.next_write() == (ANSWER, "ab")


def test_who_is_at_work_is_named_also_when_another_model_or_agent_goes_on():
    screen = Screen(status="Thinking…")
    screen.take(ModelAsked(agent="manager", model="primary"))
    assert screen.status_line() == "Thinking… · manager · primary"
    screen.take(ModelAsked(agent="manager", model="fallback"))
    assert screen.status_line() == "Thinking… · manager · fallback"
    screen.take(HandedOver(from_agent="manager", to_agent="okr", strategy="rule"))
    assert screen.status_line() == "Routing to okr…"
    screen.take(ModelAsked(agent="okr", model="primary"))
    assert screen.status_line() == "Routing to okr… · primary"
    screen.take(ToolStarted(call_id="1", tool="search"))
    assert screen.status_line() == "Using search… · okr · primary"


def test_nobody_is_named_where_that_is_not_wanted():
    screen = Screen(status="Thinking…", names=False)
    screen.take(ModelAsked(agent="manager", model="primary"))
    assert screen.status_line() == "Thinking…"


def test_the_status_line_speaks_the_language_of_who_asked():
    screen = Screen(status="Thinking…", language="zh", lasting_s=20)
    screen.take(TextAppended("好"))
    assert screen.status_line() == "正在回答…… · 20 秒"


def test_how_long_it_has_been_going_on_is_said_when_it_is_long_and_seldom():
    screen = Screen(status="", every_s=15.0)
    said = []
    for second in range(60):
        screen.take(TextAppended("a"))
        screen.lasts(second + 0.5)
        while write := screen.next_write():
            said += [write[1]] if write[0] == STATUS else []
            screen.wrote(*write)
    assert said == ["Answering…", "Answering… · 15 s", "Answering… · 30 s", "Answering… · 45 s"]


def test_a_status_that_changes_anyway_says_how_long_it_has_been_until_then():
    screen = Screen(status="Thinking…", every_s=15.0)
    screen.lasts(16.0)
    screen.wrote(STATUS, screen.status_line())
    screen.take(Status("Trying another model…"))
    screen.lasts(22.9)
    assert screen.next_write() == (STATUS, "Trying another model… · 22 s")


def test_nothing_empty_is_written():
    screen = Screen(status="")
    screen.take(TextAppended(""))
    screen.take(Status(""))
    assert screen.next_write() is None


def test_a_text_that_was_taken_back_stays_until_there_is_another():
    screen = Screen(status="Answering…", shown_status="Answering…")
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
