"""A client is told the whole answer, however it reads and whenever it comes back."""

import types
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.channels.console import machine
from mainstay.channels.console.machine import KEPT_MARKS, Answer
from mainstay.channels.console.model import Seen, Told
from mainstay.messages import AnswerEvent, Status, Suggestions, TextAppended, TextReplaced, ToolStarted


@dataclass
class Client:
    """What somebody sees who reads a stream, and comes back with the id of the last event that arrived."""

    text: str = ""
    status: str = ""
    marks: list[object] = field(default_factory=list)
    last: str = ""

    def take(self, told: Told) -> None:
        self.last = told.seen.to_id()
        match told.name:
            case "text":
                replaced = told.data.get("replace")
                self.text = str(replaced) if replaced is not None else self.text + str(told.data["append"])
            case "status":
                self.status = str(told.data["text"])
            case _:
                self.marks.append(told.data["call_id"])


@dataclass(frozen=True)
class Read:
    """The client reads so many of the events that there are for it, and loses the connection if it is not all."""

    events: int


class NewAttempt:
    """Another attempt at the turn begins."""


texts = st.text(alphabet="ab字😀\n", max_size=4)
steps = st.one_of(
    st.builds(TextAppended, texts),
    st.builds(TextReplaced, texts),
    st.builds(Status, texts),
    st.just(ToolStarted(call_id="", tool="clock")),
    st.builds(Read, st.integers(0, 5)),
    st.builds(NewAttempt),
)


def play(wrong: types.ModuleType, story: Sequence[AnswerEvent | Read | NewAttempt]) -> None:
    attempt, number, shown = 1, 0, ""
    answer, client = wrong.Answer(attempt), Client()
    text, status, marks = "", "", []
    for step in [*story, Read(1000)]:
        match step:
            case Read(events):
                for told in list(answer.since(Seen.from_id(client.last)))[:events]:
                    client.take(told)
            case NewAttempt():
                # until it says something, what the last one has shown stays
                attempt, shown = attempt + 1, client.text
                answer, text, status, marks = wrong.Answer(attempt), "", "", []
                client.marks.clear()
            case _:
                if isinstance(step, ToolStarted):
                    number += 1
                    step = ToolStarted(call_id=str(number), tool="clock")
                    marks.append(str(number))
                answer.add(step)
                text = text + step.text if isinstance(step, TextAppended) else text
                if isinstance(step, TextReplaced):
                    text, shown = step.text, ""
                status = step.text if isinstance(step, Status) else status
    assert client.text == (text or shown)
    assert client.status == status or not status
    assert client.marks == marks
    assert list(answer.since(Seen.from_id(client.last))) == [], "nothing is told twice"


@settings(deadline=None)
@given(st.lists(steps, max_size=25))
def test_whoever_reads_to_the_end_has_the_answer_whatever_was_lost_on_the_way(story) -> None:
    play(machine, story)


MUTANTS = [
    ("self.text[seen.chars :]", "self.text"),
    ("self._replaced += 1", "pass"),
    ("chars=len(self.text))", "chars=seen.chars)"),
    ("marks=0, statuses=0)", "marks=seen.marks, statuses=0)"),
    ("marks=max(seen.marks, first) + 1)", "marks=self._marked)"),
    ("seen = replace(seen, statuses=self._statuses)", "pass"),
    ("elif self.text or self._replaced:", "else:"),
    ("(seen.version == version and", "(seen.version[1] == version[1] and"),
    ('data={"replace": self.text}, seen=now)', 'data={"append": self.text}, seen=now)'),
]


@pytest.mark.parametrize(("before", "after"), MUTANTS)
def test_the_property_finds_each_of_these_mistakes(before: str, after: str) -> None:
    wrong = mutant(machine, before, after)

    @settings(deadline=None, max_examples=1000, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.lists(steps, max_size=25))
    def property_of_the_mutant(story) -> None:
        play(wrong, story)

    with pytest.raises((AssertionError, KeyError)):
        property_of_the_mutant()


def test_who_comes_back_late_is_told_the_latest_marks_and_no_more_are_kept() -> None:
    answer = Answer(1)
    for number in range(KEPT_MARKS + 50):
        answer.add(ToolStarted(call_id=str(number), tool="clock"))
    told = list(answer.since(Seen()))
    assert [each.data["call_id"] for each in told] == [str(number) for number in range(50, KEPT_MARKS + 50)]
    assert list(answer.since(told[-1].seen)) == []
    assert len(list(answer.since(told[-3].seen))) == 2


def test_who_has_seen_a_later_attempt_is_told_nothing_of_an_earlier_one() -> None:
    answer = Answer(1)
    answer.add(TextAppended("old"))
    assert list(answer.since(Seen(attempt=2, version=(2, 0), chars=3))) == []


def test_what_might_be_said_next_is_told_and_kept() -> None:
    answer = Answer(1)
    answer.add(Suggestions(("more", "less")))
    [told] = answer.since(Seen())
    assert (told.name, told.data) == ("suggestions", {"texts": ["more", "less"]})
    assert answer.suggestions == ("more", "less")


@pytest.mark.parametrize(
    "written", ["", "1.2.3", "1.2.3.4.5.6.7", "a.b.c.d.e.f", "1.2.3.4.5.-6", "9999999999.0.0.0.0.0"]
)
def test_an_id_that_is_none_of_ours_means_that_nothing_was_seen(written: str) -> None:
    assert Seen.from_id(written) == Seen()


def test_an_id_that_claims_more_than_there_is_gets_the_text_whole() -> None:
    answer = Answer(1)
    answer.add(TextAppended("short"))
    [told] = answer.since(Seen(attempt=1, version=(1, 0), chars=99))
    assert told.data == {"replace": "short"}
