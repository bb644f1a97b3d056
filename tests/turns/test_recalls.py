"""What was taken back is not answered, whoever heard of it and whoever answers."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.turns.conftest import Full, echo, message, working, world

from mainstay.clock import SystemClock
from mainstay.errors import StorageUnavailable
from mainstay.inbox.model import InboxSettings
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Turn
from mainstay.testing.answers import ScriptedResponder
from mainstay.turns.machine import crowd_notice, said_in, without
from mainstay.turns.recalls import Left, Recalls
from mainstay.turns.runner import Turns

pytestmark = pytest.mark.anyio


def together(*numbers: int) -> Message:
    return message(numbers[0]).joined(tuple((f"om_{number}", f"question {number}") for number in numbers))


async def test_a_worker_sees_with_its_renewals_what_another_one_has_heard(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def endless(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        await asyncio.Event().wait()
        yield Finished(outcome=Outcome.ANSWERED)

    quick, patient_s = InboxSettings(lease=0.3), 3600.0
    async with (
        world(tmp_path, inbox=quick, turn_timeout_s=patient_s) as made,
        working(made, ScriptedResponder(endless)),
    ):
        await made.inbox.put(message(1))
        await started.wait()
        await Turns(made.turns._rooms).recall(message(1).turn_id)
        await made.finished(1)
        assert [final.outcome for final in made.outcomes(message(1))] == [Outcome.CANCELLED]


async def test_what_can_not_be_remembered_is_not_taken_for_heard(tmp_path: Path) -> None:
    class Away(Full):
        async def write(self, work):
            raise StorageUnavailable("the disk is full")

    async with world(tmp_path, kind=Away) as made:
        with pytest.raises(StorageUnavailable):
            await made.turns.recall(message(1).turn_id)


async def test_of_several_messages_the_answer_is_to_those_that_are_left(tmp_path: Path) -> None:
    responder = ScriptedResponder(echo)
    async with world(tmp_path) as made:
        await made.inbox.put(together(1, 2, 3))
        await made.turns.recall(message(1).turn_id)
        await made.turns.recall(message(3).turn_id)
        async with working(made, responder):
            await made.finished(1)
        [told] = made.outcomes(message(1))
        assert (told.outcome, told.text, told.notice) == (Outcome.ANSWERED, "re: question 2", "")


async def test_an_answer_to_several_messages_names_the_others_and_ends_when_all_are_taken_back(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as made:
        for each in (together(1, 2, 3), replace(together(4, 5), chat_id="oc_2")):
            await made.inbox.put(each)
        for number in (4, 5):
            await made.turns.recall(message(number).turn_id)
        async with working(made, ScriptedResponder(echo)):
            await made.finished(2)
        [told], [gone] = made.outcomes(message(1)), made.outcomes(message(4))
        assert told.text == "re: question 1\n\nquestion 2\n\nquestion 3"
        assert told.notice == "This also answers: “question 2” “question 3”"
        assert gone.outcome is Outcome.CANCELLED
        assert [each.turn_id for each in await made.memory.history(message(1).lane)] == [message(1).turn_id]


async def test_what_is_taken_back_while_it_is_answered_with_others_is_not_named_and_not_remembered(
    tmp_path: Path,
) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def held(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        await go_on.wait()
        yield Finished(outcome=Outcome.ANSWERED, text="the answer", record=b"all that was said")

    async with world(tmp_path) as made, working(made, ScriptedResponder(held)):
        await made.inbox.put(together(1, 2, 3))
        await started.wait()
        await made.turns.recall(message(2).turn_id)
        go_on.set()
        await made.finished(1)
        [told] = made.outcomes(message(1))
        assert (told.text, told.notice) == ("the answer", "This also answers: “question 3”")
        [kept] = await made.memory.history(message(1).lane)
        assert (kept.user_text, kept.record) == ("question 1\n\nquestion 3", b"")


async def test_of_several_messages_that_are_stopped_each_is_named_but_for_those_that_were_taken_back(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as made:
        said = together(1, 2, 3, 4, 5)
        await made.inbox.put(said)
        await made.turns.recall(message(1).turn_id)
        await made.turns.stop([said])
        await made.turns.recall(message(4).turn_id)
        async with working(made, ScriptedResponder(echo)):
            await made.finished(1)
        [told] = made.outcomes(message(1))
        assert (told.outcome, told.text) == (Outcome.CANCELLED, "")
        assert told.notice == "Also stopped: “question 3” “question 5”"
        left = await Recalls(made.storage, SystemClock()).left_of(said)
        assert (left.message.target_id, left.is_over) == ("om_2", True)


async def test_an_answer_to_what_was_added_to_something_stopped_says_what_that_was(tmp_path: Path) -> None:
    """As where the platform delivers a word that stops once more, and then what was said after it."""
    async with world(tmp_path) as made:
        await made.inbox.put(together(1, 2, 3, 4))
        await made.turns.recall(message(1).turn_id)
        await made.turns.stop([together(1, 2)])
        async with working(made, ScriptedResponder(echo)):
            await made.finished(1)
        [told] = made.outcomes(message(1))
        assert told.text == "re: question 3\n\nquestion 4"
        assert told.notice == "This also answers: “question 4”\n\nAlso stopped: “question 2”"


async def test_many_messages_are_stopped_in_one_transaction(tmp_path: Path) -> None:
    """Else somebody could begin to answer the last of them, and the platform gives up waiting meanwhile."""

    class Counting(Full):
        written = 0

        async def write(self, work):
            self.written += 1
            return await super().write(work)

    async with world(tmp_path, kind=Counting) as made:
        await made.turns.stop([together(1, 2, 3), together(4, 5), message(6)])
        assert isinstance(made.storage, Counting)
        assert made.storage.written == 1
        each = [message(number) for number in range(1, 8)]
        gone = await Recalls(made.storage, SystemClock()).gone(each)
        assert gone == {one.turn_id for one in each[:6]}


async def test_to_stop_another_try_leaves_the_message_what_it_is(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.turns.stop([message(1).again()])
        recalls = Recalls(made.storage, SystemClock())
        assert await recalls.gone([message(1), message(1).again()]) == {message(1).again().turn_id}


async def test_what_was_taken_back_is_forgotten_after_a_time(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        recalls, now = Recalls(made.storage, SystemClock()), SystemClock().now()
        await recalls.add(message(1).turn_id)
        await recalls.add(message(1).turn_id)
        said = message(1)
        assert await recalls.left_of(said) == Left(message=said, is_over=True)
        event = crowd_notice(message(1))
        assert event is not None
        assert await recalls.gone([message(1), message(2), event]) == {message(1).turn_id}
        assert await recalls.prune(now - timedelta(hours=1)) == 0
        assert await recalls.prune(now + timedelta(hours=1)) == 1
        assert await recalls.left_of(said) == Left(message=said)


def test_without_what_was_taken_back_the_first_that_is_left_is_replied_to() -> None:
    three = together(1, 2, 3)
    assert without(three, ()) is three
    left = without(three, {"om_1"})
    assert left is not None
    assert (left.target_id, left.turn_id, left.text) == ("om_2", three.turn_id, "question 2\n\nquestion 3")
    assert without(three, {"om_1", "om_2", "om_3"}) is None
    assert without(message(1), {"om_1"}) is None
    again = three.again()
    assert without(again, {"om_1"}).target_id == "om_2"  # type: ignore[union-attr]


def test_an_event_is_nobodys_message_and_can_not_be_taken_back() -> None:
    event = crowd_notice(message(1))
    assert event is not None
    assert (said_in(event), event.target_id, event.asked_turn_id) == ((), "", event.turn_id)
    assert event.lane != message(1).lane
    assert crowd_notice(replace(message(1), chat_type="group")) is None
    assert crowd_notice(event) is None
