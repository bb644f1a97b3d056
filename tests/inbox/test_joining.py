"""Whatever is said, claimed, lost and finished in which order: every message is in exactly one answer.

Hypothesis chooses what happens; the world keeps a list of its own of what was said. The same world runs on machines
that are wrong in one place each.
"""

from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.inbox import machine
from mainstay.inbox.model import Claim, InboxSettings, Row
from mainstay.messages import Message, Outcome
from mainstay.testing import inbox as in_memory
from mainstay.testing.clock import ManualClock

SETTINGS = InboxSettings(lease=10, backoff=1, max_backoff=8, merge_after=2)
SAID_AT = datetime(2026, 1, 1, tzinfo=UTC)


def run(work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")


def message(number: int, person: str, *, quotes: str = "", notice: str = "") -> Message:
    return Message(
        channel="c",
        bot_id="b",
        external_id=f"m{number}",
        chat_id="oc",
        sender_id=person,
        text=f"text {number}",
        sent_at=SAID_AT,
        quotes=quotes,
        notice=notice,
        may_join=True,
    )


@dataclass
class World:
    """One lane and one worker, that is sometimes another one."""

    subject: Any
    clock: ManualClock = field(default_factory=ManualClock)
    said: list[Message] = field(default_factory=list)
    answers: list[Message] = field(default_factory=list)
    claim: Claim | None = None
    seen: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = self.subject.Rows()
        self.inbox = self.subject.InboxInMemory(self.rows, SETTINGS, clock=self.clock, worker="w")

    def say(self, person: str, **how: str) -> None:
        new = message(len(self.said), person, **how)
        self.said.append(new)
        assert run(self.inbox.put(new))
        assert not run(self.inbox.put(new))

    def take(self) -> None:
        if self.claim is None:
            claims = run(self.inbox.claim(1))
            self.claim = claims[0] if claims else None
        if self.claim is not None:  # what an attempt has seen, its successor sees too, and nothing else
            turn_id, now = self.claim.turn_id, self.claim.message.to_json()
            assert self.seen.setdefault(turn_id, now) == now

    def crash(self) -> None:
        self.claim = None
        self.clock.advance(60)

    def finish(self) -> None:
        if self.claim is not None:
            self.answers.append(self.claim.message)
            self.inbox.finish(None, self.claim, Outcome.ANSWERED, "")
            self.claim = None

    def end(self) -> None:
        for _ in range(3 * len(self.said) + 3):
            self.take()
            self.finish()
        answered = [part for each in self.answers for part in each.parts or ((each.external_id, each.text),)]
        assert answered == [(each.external_id, each.text) for each in self.said]
        people = {each.external_id: each.sender_id for each in self.said}
        plain = {each.external_id for each in self.said if not each.quotes and not each.notice}
        for answer in self.answers:
            parts = [external_id for external_id, _ in answer.parts]
            assert len({people[each] for each in parts} | {answer.sender_id}) == 1
            assert plain.issuperset(parts)
            assert answer.text == "\n\n".join(text for _, text in answer.parts) or not answer.parts
        assert all(row.closed_at is not None for row in self.rows.by_turn.values())


def happen(subject: Any, steps: list[tuple[str, str]]) -> None:  # noqa: ANN401
    world = World(subject)
    for step, person in steps:
        match step:
            case "say":
                world.say(person)
            case "quote":
                world.say(person, quotes="m0")
            case "image":
                world.say(person, notice="no images")
            case _:
                getattr(world, step)()
    world.end()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "say", "say", "quote", "image", "take", "crash", "finish"]),
        st.sampled_from(["ann", "ann", "bob"]),
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_message_is_in_exactly_one_answer_in_the_order_in_which_they_were_said(steps):
    happen(in_memory, steps)


def test_what_waits_beyond_the_setting_is_answered_together():
    world = World(in_memory)
    for _ in range(6):
        world.say("ann")
    world.end()
    assert [len(answer.parts) for answer in world.answers] == [0, 5]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("first.sender_id != message.sender_id or", ""),
        ("not (message.notice or message.context)", "not message.context"),
        ('message.quotes in ("", message.thread_id) and ', ""),
        ("first.joined((*parts, (message.external_id, message.text)))", "first.joined(parts)"),
        ("((first.external_id, first.text),)", "()"),
        ("closed_at=now, state=State.FINISHED)", "closed_at=now)"),
        ("last = waiting[-1]", "last = waiting[0]"),
    ],
    ids=["others", "notices", "quotes", "lost", "first lost", "answered twice", "out of order"],
)
def test_the_world_notices_a_machine_that_is_wrong(before, after):
    same = "that makes the same decisions"
    wrong = mutant(in_memory, same, same, machine=mutant(machine, before, after))
    seeking = settings(
        max_examples=600,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with pytest.raises((AssertionError, IndexError, ValueError)):
        seeking(given(STEPS)(lambda steps: happen(wrong, steps)))()


def row_of(said: Message) -> Row:
    row = machine.accept(None, said, SAID_AT)
    assert row is not None
    return row


def test_what_a_channel_shows_one_by_one_is_never_joined() -> None:
    waiting = [row_of(message(number, "ann")) for number in range(2)]
    assert machine.join(waiting, message(3, "ann"), SETTINGS) is not None
    assert machine.join(waiting, replace(message(3, "ann"), may_join=False), SETTINGS) is None
    waiting[-1] = row_of(replace(message(1, "ann"), may_join=False))
    assert machine.join(waiting, message(3, "ann"), SETTINGS) is None


def test_what_is_said_in_a_thread_is_joined_and_what_quotes_something_else_is_not() -> None:
    def in_thread(number: int, quotes: str) -> Message:
        return replace(message(number, "ann", quotes=quotes), thread_id="m0", chat_type="group")

    waiting = [row_of(in_thread(number, "m0")) for number in (1, 2)]
    together = machine.join(waiting, in_thread(3, "m0"), SETTINGS)
    assert together is not None
    assert Message.from_json(together.message).parts == (("m2", "text 2"), ("m3", "text 3"))
    assert machine.join(waiting, in_thread(3, "m1"), SETTINGS) is None
