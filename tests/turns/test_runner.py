"""Which messages are worked on when: claiming, lanes, leases, draining."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Iterable
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.turns.conftest import Full, Watched, echo, message, working, world

from mainstay.clock import SystemClock
from mainstay.events import DeadLettered, ErrorSeen, TurnCutOff, TurnFinished, TurnStarted
from mainstay.inbox.model import Claim, InboxSettings, State
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, TextAppended, Turn
from mainstay.testing.answers import ScriptedResponder
from mainstay.turns.model import TurnSettings

pytestmark = pytest.mark.anyio


async def test_an_accepted_message_is_answered_remembered_and_finished(tmp_path: Path) -> None:
    async with world(tmp_path) as made, working(made, ScriptedResponder(echo)):
        assert await made.inbox.put(message(1))
        await made.finished(1)
        await made.turns.drain(5)
        assert [final.text for final in made.outcomes(message(1))] == ["re: question 1"]
        [exchange] = await made.memory.history(message(1).lane)
        assert (exchange.user_text, exchange.answer_text) == ("question 1", "re: question 1")
        entry = await made.inbox.find(message(1).turn_id)
        assert entry is not None
        assert (entry.state, entry.outcome) == (State.FINISHED, Outcome.ANSWERED)
        assert '"model": "primary"' in entry.detail


async def test_a_lane_is_answered_in_order_and_lanes_run_side_by_side(tmp_path: Path) -> None:
    both_lanes = asyncio.Barrier(2)
    order: list[str] = []

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        if said.external_id in {"om_1", "om_3"}:
            async with asyncio.timeout(10):
                await both_lanes.wait()  # passes only when both lanes are being answered at once
        order.append(said.external_id)
        async for event in echo(said, turn):
            yield event

    async with world(tmp_path) as made, working(made, ScriptedResponder(script)):
        for number, chat in ((1, "a"), (2, "a"), (3, "b"), (4, "b")):
            await made.inbox.put(message(number, chat=chat))
        await made.finished(4)
        assert order.index("om_1") < order.index("om_2")
        assert order.index("om_3") < order.index("om_4")


async def test_while_every_place_is_taken_the_inbox_is_left_alone(tmp_path: Path) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        await go_on.wait()
        yield Finished(outcome=Outcome.ANSWERED, text="done")

    one_place = TurnSettings(concurrency=1, poll_interval=60.0)
    async with world(tmp_path, settings=one_place, queue=Watched) as made, working(made, ScriptedResponder(script)):
        await made.inbox.put(message(1, chat="a"))
        await started.wait()
        await made.inbox.put(message(2, chat="b"))
        assert isinstance(made.inbox, Watched)
        looks = made.inbox.looks
        for _ in range(100):  # each read lets the loop go round, and so would every look at the inbox
            await made.inbox.depth()
        assert made.inbox.looks <= looks + 1
        assert made.turns.running == 1
        go_on.set()
        await made.finished(2)


async def test_a_drain_lets_running_answers_finish(tmp_path: Path) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        yield TextAppended("…")
        await go_on.wait()
        yield Finished(outcome=Outcome.ANSWERED, text="done")

    async with world(tmp_path) as made, asyncio.TaskGroup() as tasks:
        tasks.create_task(made.turns.run(ScriptedResponder(script), failed=made.failures.append))
        await made.inbox.put(message(1))
        await started.wait()
        draining = tasks.create_task(made.turns.drain(10))
        await asyncio.sleep(0)
        await made.inbox.put(message(2, chat="another"))
        go_on.set()
        await draining
        assert [final.text for final in made.outcomes(message(1))] == ["done"]
        assert message(2).turn_id not in made.repliers


@pytest.mark.parametrize("broken", ["claim", "renew"])
async def test_what_keeps_it_from_going_on_is_told_at_once_and_ends_no_answer(tmp_path: Path, broken: str) -> None:
    started, go_on, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    failures: list[Exception] = []

    def failed(error: Exception) -> None:
        failures.append(error)
        told.set()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        await go_on.wait()
        yield Finished(outcome=Outcome.ANSWERED, text="done")

    class Breaking(Inbox):
        async def claim(self, limit: int, *, but: Collection[str] = ()) -> list[Claim]:
            if started.is_set() and broken == "claim":
                raise KeyError("a bug")
            return await super().claim(limit, but=but)

        async def renew(self, claims: Iterable[Claim]) -> set[str]:
            if broken == "renew":
                raise KeyError("a bug")
            return await super().renew(claims)

    slow = InboxSettings(lease=0.6)
    async with world(tmp_path, queue=Breaking, inbox=slow) as made, asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.turns.run(ScriptedResponder(script), failed=failed))
        await made.inbox.put(message(1))
        await started.wait()
        await made.inbox.put(message(2, chat="another"))
        async with asyncio.timeout(20):
            await told.wait()
        assert made.turns.running > 0
        go_on.set()
        await made.turns.drain(10)
        await running
        assert [final.text for final in made.outcomes(message(1))] == ["done"]
        assert [repr(error) for error in failures] == ["KeyError('a bug')"]


async def test_a_drain_does_not_wait_for_a_disk_that_stays_full(tmp_path: Path) -> None:
    patient = InboxSettings(lease=3600.0)
    async with world(tmp_path, kind=Full, inbox=patient) as made, working(made, ScriptedResponder(echo)):
        await made.inbox.put(message(1))
        await made.until(lambda: bool(made.of(ErrorSeen)))
        async with asyncio.timeout(20):
            await made.turns.drain(0)
        assert [event.reason for event in made.of(TurnCutOff)] == ["storage"]
        assert made.of(TurnFinished) == []


async def test_what_is_claimed_while_a_drain_begins_is_given_back(tmp_path: Path) -> None:
    claiming = asyncio.Event()

    class Slow(Inbox):
        async def claim(self, limit: int, *, but: Collection[str] = ()) -> list[Claim]:
            claims = await super().claim(limit, but=but)
            if claims:
                claiming.set()
                await asyncio.sleep(0.05)
            return claims

    responder = ScriptedResponder(echo)
    async with world(tmp_path, queue=Slow) as made, working(made, responder):
        await made.inbox.put(message(1))
        await claiming.wait()
        await made.turns.drain(0)
        assert responder.turns == []
        entry = await made.inbox.find(message(1).turn_id)
        assert entry is not None
        assert (entry.state, entry.crashes) == (State.QUEUED, 0)


async def test_what_a_drain_cuts_off_goes_on_in_the_next_process(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def endless(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("beginning")
        started.set()
        await asyncio.Event().wait()

    responder = ScriptedResponder(endless)
    async with world(tmp_path) as made, asyncio.TaskGroup() as tasks:
        tasks.create_task(made.turns.run(responder, failed=made.failures.append))
        await made.inbox.put(message(1))
        await started.wait()
        await made.turns.drain(0)
        [replier] = made.repliers[message(1).turn_id]
        assert replier.delivered == []
        assert len(replier.paused) == 1
        assert replier.paused[0]
        assert responder.closed == [message(1).turn_id]
        assert [event.reason for event in made.events if isinstance(event, TurnCutOff)] == ["drain"]
    async with world(tmp_path, worker="next") as made, working(made, ScriptedResponder(echo)):
        await made.finished(1)
        [final] = made.outcomes(message(1))
        assert final.text == "re: question 1"


async def test_a_long_answer_keeps_its_lease(tmp_path: Path) -> None:
    slow = InboxSettings(lease=0.3)
    go_on = asyncio.Event()
    responder_started = asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        responder_started.set()
        await go_on.wait()
        yield Finished(outcome=Outcome.ANSWERED, text=f"attempt {turn.attempt}")

    async with world(tmp_path, inbox=slow) as made, working(made, ScriptedResponder(script)):
        await made.inbox.put(message(1))
        await responder_started.wait()
        other = Inbox(made.storage, slow, clock=SystemClock(), worker="other")
        lease = "select lease_until_at from inbox"
        first = await made.storage.read(lambda tx: tx.scalar(text(lease)))
        async with asyncio.timeout(10):
            while await made.storage.read(lambda tx: tx.scalar(text(lease))) == first:
                assert await other.claim(1) == []
        go_on.set()
        await made.finished(1)
        assert [final.text for final in made.outcomes(message(1))] == ["attempt 1"]


async def test_a_process_that_was_held_up_for_longer_than_its_lease_goes_on_with_its_answers(
    tmp_path: Path,
) -> None:
    short = InboxSettings(lease=0.3)
    looked = asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        time.sleep(0.5)  # noqa: ASYNC251  nobody renews the lease, or looks at the inbox
        await looked.wait()
        yield Finished(outcome=Outcome.ANSWERED, text=f"attempt {turn.attempt}")

    responder = ScriptedResponder(script)
    quick = TurnSettings(poll_interval=0.01)
    async with world(tmp_path, settings=quick, inbox=short) as made, working(made, responder):
        await made.inbox.put(message(1))
        await made.inbox.put(message(2, chat="oc_2"))  # answered after the look that followed
        await made.until(lambda: len(made.of(TurnStarted)) >= 2)
        looked.set()
        await made.finished(2)
    assert [event.attempt for event in made.of(TurnFinished)] == [1, 1]
    assert [final.text for final in made.outcomes(message(1))] == ["attempt 1"]


async def test_a_message_for_a_channel_that_is_gone_becomes_a_dead_letter(tmp_path: Path) -> None:
    async with world(tmp_path) as made, working(made, ScriptedResponder(echo)):
        await made.inbox.put(message(1, channel="removed"))
        await made.until(lambda: bool(made.of(DeadLettered)))
        entry = await made.inbox.find(message(1, channel="removed").turn_id)
        assert entry is not None
        assert entry.state is State.DEAD
