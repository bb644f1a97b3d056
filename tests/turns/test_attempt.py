"""How one attempt ends, and what becomes of it: bugs, deadlines, recalls, lost leases, crashes, tool steps."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.turns.conftest import Forgetful, World, echo, message, working, world

from mainstay.clock import SystemClock
from mainstay.errors import Category, LeaseLost
from mainstay.events import ErrorSeen, Event, TurnCutOff, TurnFinished, TurnStarted
from mainstay.inbox.model import InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Status, Step, TextAppended, Turn
from mainstay.testing.answers import ScriptedResponder
from mainstay.turns.model import TurnSettings
from mainstay.turns.steps import StoredSteps

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
        assert final.offers_retry
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
        assert made.outcomes(message(1))[0].offers_retry
        assert responder.closed == [message(1).turn_id]
        assert [event.category for event in made.of(ErrorSeen)] == [Category.TIMEOUT]


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
        await made.turns.recall(message(1).turn_id)
        await made.finished(1)
        assert [final.outcome for final in made.outcomes(message(1))] == [Outcome.CANCELLED]
        assert responder.closed == [message(1).turn_id]
        assert await made.memory.history(message(1).lane) == ()
        await made.turns.recall(message(1).turn_id)


async def test_a_message_that_is_recalled_while_it_waits_is_not_answered(tmp_path: Path) -> None:
    responder = ScriptedResponder(echo)
    async with world(tmp_path) as made:
        await made.inbox.put(message(1))
        await made.turns.recall(message(1).turn_id)
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


async def test_a_responder_that_is_cancelled_by_itself_has_failed_and_is_not_waited_for(tmp_path: Path) -> None:
    async def awaits_what_somebody_else_has_cancelled(
        said: Message, turn: Turn
    ) -> AsyncGenerator[AnswerEvent, None]:
        gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        gone.cancel()
        yield TextAppended(await gone)

    responder = ScriptedResponder(awaits_what_somebody_else_has_cancelled)
    async with world(tmp_path) as made, working(made, responder):
        await made.inbox.put(message(1))
        await made.finished(1)
        [final] = made.outcomes(message(1))
        assert (final.outcome, final.category) == (Outcome.FAILED, Category.INTERNAL)
        assert len(responder.turns) == 1


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
        assert not final.offers_retry
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


def step(step_id: str, *, tool: str = "pay", effects: bool = True) -> Step:
    return Step(
        step_id=step_id, agent="manager", tool=tool, arguments="{}", effects=effects, checkpoint=b"\x00history"
    )


FAILS = Finished(outcome=Outcome.FAILED, notice="away", category=Category.OVERLOADED, retryable=True)


async def steps_left(made: World) -> list[tuple[str, str, str]]:
    query = text("select turn_id, step_id, state from turn_steps order by turn_id, position")
    return [tuple(row) for row in await made.storage.read(lambda tx: tx.execute(query).all())]


async def tried(made: World, responder: ScriptedResponder, said: Message) -> Finished:
    async with working(made, responder):
        await made.inbox.put(said)
        await made.finished(1)
    [final] = made.outcomes(said)
    return final


async def test_another_try_goes_on_from_the_steps_of_the_turn_that_failed(tmp_path: Path) -> None:
    recorded: list[list[tuple[str, str, str]]] = []

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        recorded.append([(each.step_id, each.state, each.result) for each in turn.steps.recorded])
        number = len(recorded)
        await turn.steps.intend(step(f"call_{number}"))
        if number < 3:
            await turn.steps.record(f"call_{number}", f"paid {number}", ok=True)
            yield FAILS
        else:
            yield Finished(outcome=Outcome.ANSWERED, text="done")

    said = message(1)
    for count in (1, 2, 3):
        async with world(tmp_path) as made:
            final = await tried(made, ScriptedResponder(script), said)
            kept = [(said.turn_id, f"call_{number}", "finished") for number in range(1, count + 1)]
            assert await steps_left(made) == (kept if final is FAILS else [])
        said = said.again()
    assert final.outcome is Outcome.ANSWERED
    one, two = ("call_1", "finished", "paid 1"), ("call_2", "finished", "paid 2")
    assert recorded == [[], [one], [one, two]]


@pytest.mark.parametrize(
    "final", [FAILS, replace(FAILS, retryable=False), Finished(outcome=Outcome.ANSWERED, text="x", retryable=True)]
)
async def test_steps_are_kept_only_where_there_may_be_another_try(tmp_path: Path, final: Finished) -> None:
    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        await turn.steps.intend(step("call_1"))
        yield final

    async with world(tmp_path) as made:
        await tried(made, ScriptedResponder(script), message(1))
        assert len(await steps_left(made)) == (final is FAILS)


async def test_another_try_that_crashes_before_or_after_it_took_the_steps_over_finds_them(tmp_path: Path) -> None:
    recorded: list[list[str]] = []
    begun = asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        recorded.append([each.step_id for each in turn.steps.recorded])
        if not said.retry_of:
            await turn.steps.intend(step("call_1"))
            yield FAILS
        elif len(recorded) == 2:
            begun.set()
            await asyncio.Event().wait()
        else:
            yield Finished(outcome=Outcome.ANSWERED, text="done")

    again = message(1).again()
    async with world(tmp_path) as made:
        await tried(made, ScriptedResponder(script), message(1))
    async with world(tmp_path) as made:
        await made.inbox.put(again)
        assert await made.inbox.claim(1)  # and its worker dies before it reads anything
        assert await made.inbox.recover(lambda _owner: False) == 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(made.turns.run(ScriptedResponder(script), failed=made.failures.append))
            await begun.wait()
            await made.turns.drain(0)
    async with world(tmp_path) as made, working(made, ScriptedResponder(script)):
        await made.finished(1)
        assert [final.text for final in made.outcomes(again)] == ["done"]
        assert await steps_left(made) == []
    assert recorded == [[], ["call_1"], ["call_1"]]


async def test_a_worker_that_lost_another_try_can_not_take_its_steps(tmp_path: Path) -> None:
    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        await turn.steps.intend(step("call_1"))
        yield FAILS

    async with world(tmp_path) as made:
        await tried(made, ScriptedResponder(script), message(1))
        await made.inbox.put(message(1).again())
        [lost] = await made.inbox.claim(1)
        assert await made.inbox.recover(lambda _owner: False) == 1
        with pytest.raises(LeaseLost):
            await StoredSteps.load(made.storage, made.inbox, lost, SystemClock())
        assert await steps_left(made) == [(message(1).turn_id, "call_1", "intended")]


async def test_another_try_that_came_too_late_hands_the_steps_on(tmp_path: Path) -> None:
    recorded: list[list[str]] = []

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        recorded.append([each.step_id for each in turn.steps.recorded])
        if not said.retry_of:
            await turn.steps.intend(step("call_1"))
        yield FAILS

    again = message(1).again()
    async with world(tmp_path) as made:
        await tried(made, ScriptedResponder(script), message(1))
    async with world(tmp_path, settings=TurnSettings(max_wait=-1.0)) as made:
        late = await tried(made, ScriptedResponder(script), again)
        assert (late.outcome, late.category, late.retryable) == (Outcome.FAILED, Category.TIMEOUT, True)
        assert await steps_left(made) == [(again.turn_id, "call_1", "intended")]
    async with world(tmp_path) as made:
        await tried(made, ScriptedResponder(script), again.again())
    assert recorded == [[], ["call_1"]]


async def test_what_is_kept_for_a_try_is_forgotten_when_none_can_come_any_more(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        if said.retry_of:
            started.set()
            await asyncio.Event().wait()
        await turn.steps.intend(step("call_1"))
        yield FAILS

    again = message(2, chat="oc_2").again()
    open_turn = (again.turn_id, "call_1", "intended")
    window = TurnSettings(retry_window=3600.0, max_wait=60.0)
    async with world(tmp_path, settings=window) as made, working(made, ScriptedResponder(script)):
        await made.inbox.put(message(1))
        await made.inbox.put(message(2, chat="oc_2"))
        await made.finished(2)
        await made.inbox.put(again)
        await started.wait()
        assert await made.turns.prune() == 0
        for hours, left in ((2.0, 2), (2.1, 1), (9999.0, 1)):
            kept = text("update turn_steps set kept_at = :at where kept_at is not null")
            at = (datetime.now(UTC) - timedelta(hours=hours)).replace(tzinfo=None)
            await made.storage.write(lambda tx, kept=kept, at=at: tx.execute(kept, {"at": str(at)}).rowcount)
            await made.turns.prune()
            assert len(await steps_left(made)) == left
        assert await steps_left(made) == [open_turn]


async def test_a_message_that_is_recalled_ends_another_try_at_it_and_those_that_wait(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def endless(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        await asyncio.Event().wait()
        yield TextAppended("")

    responder = ScriptedResponder(endless)
    again = message(1).again()
    async with world(tmp_path) as made, working(made, responder):
        await made.inbox.put(again)
        await started.wait()
        await made.turns.recall(message(1).turn_id)
        await made.finished(1)
        await made.turns.recall(message(1).turn_id)
        await made.inbox.put(again.again())
        await made.finished(2)
        outcomes = [made.outcomes(each)[0].outcome for each in (again, again.again())]
        assert outcomes == [Outcome.CANCELLED, Outcome.CANCELLED]
        assert len(responder.turns) == 1


async def test_another_try_that_answers_is_remembered_as_what_was_said(tmp_path: Path) -> None:
    again = message(1).again()
    async with world(tmp_path) as made:
        await tried(made, ScriptedResponder(echo), again)
        [exchange] = await made.memory.history(message(1).lane)
        assert (exchange.user_text, exchange.answer_text) == ("question 1", "re: question 1")
