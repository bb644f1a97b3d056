"""How one attempt ends, and what becomes of it: bugs, deadlines, recalls, lost leases, crashes, tool steps."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.turns.conftest import Forgetful, echo, message, working, world

from mainstay.clock import SystemClock
from mainstay.errors import Category
from mainstay.events import ErrorSeen, Event, TurnCutOff, TurnFinished, TurnStarted
from mainstay.inbox.model import InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Status, Step, TextAppended, Turn
from mainstay.testing.answers import ScriptedResponder
from mainstay.turns.model import TurnSettings

pytestmark = pytest.mark.anyio


async def test_a_responder_that_raises_is_told_as_a_failure_and_counted_once(tmp_path: Path) -> None:
    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("half an answ")
        raise ValueError("a bug")

    async with world(tmp_path) as made, working(made, ScriptedResponder(script)):
        await made.inbox.put(message(1))
        await made.finished(1)
        [final] = made.outcomes(message(1))
        assert final.outcome is Outcome.FAILED
        assert final.category is Category.INTERNAL
        assert final.text == "half an answ"
        assert final.notice
        assert len(made.of(ErrorSeen)) == 1
        assert await made.memory.history(message(1).lane) == ()


async def test_a_responder_without_an_end_is_a_failure(tmp_path: Path) -> None:
    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("and then")

    async with world(tmp_path) as made, working(made, ScriptedResponder(script)):
        await made.inbox.put(message(1))
        await made.finished(1)
        assert [final.category for final in made.outcomes(message(1))] == [Category.INTERNAL]


async def test_a_responder_that_ignores_its_deadline_is_ended_and_told(tmp_path: Path) -> None:
    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield Status("thinking")
        await asyncio.Event().wait()

    responder = ScriptedResponder(script)
    async with world(tmp_path, turn_timeout_s=0.05) as made, working(made, responder):
        await made.inbox.put(message(1))
        await made.finished(1)
        assert [final.category for final in made.outcomes(message(1))] == [Category.TIMEOUT]
        assert responder.closed == [message(1).turn_id]


async def test_an_attempt_that_is_cut_off_before_it_began_does_not_begin(tmp_path: Path) -> None:
    responder = ScriptedResponder(echo)

    def at_once(event: Event) -> None:
        if isinstance(event, TurnStarted):
            made.turns.cut_off()

    async with world(tmp_path) as made:
        made.bus.subscribe_all(at_once)
        await made.inbox.put(message(1))
        async with working(made, responder):
            await made.until(lambda: bool(made.of(TurnCutOff)))
            await made.turns.drain(0)
        assert responder.turns == []
        assert made.of(TurnFinished) == []


async def test_a_recalled_message_ends_its_answer_and_enters_no_memory(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def endless(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("beginning")
        started.set()
        await asyncio.Event().wait()

    responder = ScriptedResponder(endless)
    async with world(tmp_path) as made, working(made, responder):
        await made.inbox.put(message(1))
        await started.wait()
        assert made.turns.cancel(message(1).turn_id)
        await made.finished(1)
        assert [final.outcome for final in made.outcomes(message(1))] == [Outcome.CANCELLED]
        assert responder.closed == [message(1).turn_id]
        assert await made.memory.history(message(1).lane) == ()
        assert not made.turns.cancel(message(1).turn_id)


async def test_a_message_that_is_recalled_while_it_waits_is_not_answered(tmp_path: Path) -> None:
    responder = ScriptedResponder(echo)
    async with world(tmp_path) as made:
        await made.inbox.put(message(1))
        assert not made.turns.cancel(message(1).turn_id)
        async with working(made, responder):
            await made.finished(1)
        [told] = made.outcomes(message(1))
        assert (told.outcome, responder.turns) == (Outcome.CANCELLED, [])
        assert await made.memory.history(message(1).lane) == ()


async def test_a_worker_that_lost_its_lease_shows_nothing(tmp_path: Path) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        await go_on.wait()
        yield Finished(outcome=Outcome.ANSWERED, text=f"attempt {turn.attempt}")

    responder = ScriptedResponder(script)
    async with world(tmp_path) as made, working(made, responder):
        await made.inbox.put(message(1))
        await started.wait()
        other = Inbox(made.storage, InboxSettings(), clock=SystemClock(), worker="other")
        assert await other.recover(lambda owner: owner != "here") == 1
        [claim] = await other.claim(1)
        go_on.set()
        await made.until(lambda: bool(made.of(TurnCutOff)))
        assert made.outcomes(message(1)) == []
        assert made.of(TurnFinished) == []
        await made.storage.write(lambda tx: other.finish(tx, claim, Outcome.ANSWERED, ""))


async def test_an_outcome_that_no_database_takes_is_told_as_a_failure_at_once(tmp_path: Path) -> None:
    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("half of \ud83d")
        yield Finished(outcome=Outcome.ANSWERED, text="half of \ud83d", agent="manager", model="primary")

    async with world(tmp_path) as made, working(made, ScriptedResponder(script)):
        await made.inbox.put(message(1))
        await made.finished(1)
        await made.turns.drain(5)
        [told] = made.outcomes(message(1))
        assert (told.outcome, told.category) == (Outcome.FAILED, Category.INTERNAL)
        assert told.notice
        assert [event.outcome for event in made.of(TurnFinished)] == [Outcome.FAILED]


async def test_an_outcome_that_was_stored_in_doubt_is_told_once(tmp_path: Path) -> None:
    quick = TurnSettings(poll_interval=0.01)
    async with world(tmp_path, kind=Forgetful, settings=quick) as made, working(made, ScriptedResponder(echo)):
        await made.inbox.put(message(1))
        await made.finished(1)
        await made.turns.drain(5)
        assert isinstance(made.storage, Forgetful)
        assert made.storage.forgot
        assert [final.text for final in made.outcomes(message(1))] == ["re: question 1"]
        assert made.of(TurnCutOff) == []


async def test_a_message_that_kills_its_workers_is_given_up_and_told(tmp_path: Path) -> None:
    quick = InboxSettings(backoff=0.001, max_backoff=0.002)
    responder = ScriptedResponder(echo)
    async with world(tmp_path, settings=TurnSettings(max_crashes=3), inbox=quick) as made:
        await made.inbox.put(message(1))
        for crash in range(3):
            victim = Inbox(made.storage, quick, clock=SystemClock(), worker=f"victim-{crash}")
            async with asyncio.timeout(10):
                while not await victim.claim(1):
                    pass
            assert await victim.recover(lambda owner: not owner.startswith("victim")) == 1
        async with working(made, responder):
            await made.finished(1)
        [final] = made.outcomes(message(1))
        assert final.outcome is Outcome.FAILED
        assert final.notice
        assert responder.turns == []


async def test_a_tool_step_is_known_to_the_next_attempt_and_forgotten_with_the_outcome(tmp_path: Path) -> None:
    recorded: list[tuple[Step, ...]] = []
    paid = asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        recorded.append(tuple(turn.steps.recorded))
        step = Step(
            step_id="call_1", agent="manager", tool="pay", arguments="{}", effects=True, checkpoint=b"\x00history"
        )
        await turn.steps.intend(step)
        if turn.attempt == 1:
            await turn.steps.record("call_1", "paid", ok=True)
            paid.set()
            await asyncio.Event().wait()
        yield Finished(outcome=Outcome.ANSWERED, text="done")

    async with world(tmp_path) as made, asyncio.TaskGroup() as tasks:
        tasks.create_task(made.turns.run(ScriptedResponder(script), failed=made.failures.append))
        await made.inbox.put(message(1))
        await paid.wait()
        await made.turns.drain(0)
    async with world(tmp_path) as made, working(made, ScriptedResponder(script)):
        await made.finished(1)
        rows = await made.storage.read(lambda tx: tx.scalar(text("select count(*) from turn_steps")))
    first, second = recorded
    assert first == ()
    [step] = second
    assert (step.step_id, step.state, step.result, step.checkpoint) == (
        "call_1",
        "finished",
        "paid",
        b"\x00history",
    )
    assert rows == 0
