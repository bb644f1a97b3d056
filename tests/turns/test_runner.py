"""Promises of the room `turns`, with real storage, inbox and memory."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, text

from mainstay.bus import Bus
from mainstay.clock import SystemClock
from mainstay.errors import Category, StorageUnavailable
from mainstay.events import DeadLettered, ErrorSeen, Event, TurnCutOff, TurnFinished, TurnStarted
from mainstay.inbox.model import Claim, InboxSettings, State
from mainstay.inbox.sqlite import Inbox
from mainstay.memory.model import MemorySettings
from mainstay.memory.sqlite import Memory
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Status, Step, TextAppended, Turn
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.answers import RecordingReplier, ScriptedResponder
from mainstay.turns.attempt import Rooms
from mainstay.turns.model import TurnSettings
from mainstay.turns.runner import Turns

pytestmark = pytest.mark.anyio

T = TypeVar("T")
E = TypeVar("E", bound=Event)

ROOMS = ("mainstay.inbox", "mainstay.memory", "mainstay.turns")


def message(number: int, *, chat: str = "oc_1", channel: str = "test", said: str = "") -> Message:
    return Message(
        channel=channel,
        bot_id="bot",
        external_id=f"om_{number}",
        chat_id=chat,
        sender_id="ou_1",
        text=said or f"question {number}",
        sent_at=datetime.now(UTC),
    )


async def echo(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
    yield TextAppended(f"re: {message.text}")
    yield Finished(outcome=Outcome.ANSWERED, text=f"re: {message.text}", agent="manager", model="primary")


@dataclass
class World:
    inbox: Inbox
    memory: Memory
    storage: Storage
    turns: Turns
    bus: Bus
    events: list[Event] = field(default_factory=list)
    repliers: dict[str, list[RecordingReplier]] = field(default_factory=dict)
    _seen: asyncio.Event = field(default_factory=asyncio.Event)

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self._seen.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._seen.clear()
                await self._seen.wait()

    async def finished(self, count: int) -> None:
        await self.until(lambda: len(self.of(TurnFinished)) >= count)

    def outcomes(self, message: Message) -> list[Finished]:
        return [final for replier in self.repliers[message.turn_id] for final in replier.delivered]


class Watched(Inbox):
    """Counts how often somebody looks for work."""

    looks = 0

    async def claim(self, limit: int, *, but: Collection[str] = ()) -> list[Claim]:
        self.looks += 1
        return await super().claim(limit, but=but)


class Forgetful(Storage):
    """Stores the first outcome, and then says that it could not: the answer to a write that took too long."""

    forgot = False

    async def write(self, work: Callable[[Connection], T]) -> T:
        stored = await super().write(work)
        if not self.forgot and "_settling" in getattr(work, "__qualname__", ""):
            self.forgot = True
            raise StorageUnavailable("it may still be stored")
        return stored


@asynccontextmanager
async def world(
    path: Path,
    *,
    kind: type[Storage] = Storage,
    queue: type[Inbox] = Inbox,
    settings: TurnSettings | None = None,
    inbox: InboxSettings | None = None,
    turn_timeout_s: float = 10.0,
    worker: str = "here",
) -> AsyncIterator[World]:
    url = f"sqlite:///{path}/mainstay.db"
    upgrade(url, ROOMS)
    clock = SystemClock()
    storage = kind(StorageSettings(url=url), clock=clock)
    await storage.open({})
    inbox_settings = inbox or InboxSettings()
    box = queue(storage, inbox_settings, clock=clock, worker=worker)
    memory = Memory(storage, MemorySettings(), clock=clock)
    bus = Bus()

    def opened(message: Message, turn_id: str, attempt: int) -> RecordingReplier:
        replier = RecordingReplier()
        made.repliers.setdefault(turn_id, []).append(replier)
        return replier

    rooms = Rooms(
        storage=storage,
        inbox=box,
        memory=memory,
        bus=bus,
        clock=clock,
        settings=settings or TurnSettings(),
        turn_timeout_s=turn_timeout_s,
        lease_s=inbox_settings.lease,
    )
    made = World(box, memory, storage, Turns(rooms), bus)
    made.turns.answer_through("test", opened)
    bus.subscribe_all(made.on_event)
    try:
        yield made
    finally:
        await storage.close()


@asynccontextmanager
async def working(made: World, responder: ScriptedResponder) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.turns.run(responder))
        try:
            yield
        finally:
            await made.turns.drain(0)
            await running


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


async def test_a_drain_lets_running_answers_finish(tmp_path: Path) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    async def script(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        started.set()
        yield TextAppended("…")
        await go_on.wait()
        yield Finished(outcome=Outcome.ANSWERED, text="done")

    async with world(tmp_path) as made, asyncio.TaskGroup() as tasks:
        tasks.create_task(made.turns.run(ScriptedResponder(script)))
        await made.inbox.put(message(1))
        await started.wait()
        draining = tasks.create_task(made.turns.drain(10))
        await asyncio.sleep(0)
        await made.inbox.put(message(2, chat="another"))
        go_on.set()
        await draining
        assert [final.text for final in made.outcomes(message(1))] == ["done"]
        assert message(2).turn_id not in made.repliers


async def test_a_drain_does_not_wait_for_a_disk_that_stays_full(tmp_path: Path) -> None:
    class Full(Storage):
        async def write(self, work: Callable[[Connection], T]) -> T:
            if "_settling" in getattr(work, "__qualname__", ""):
                raise StorageUnavailable("the disk is full")
            return await super().write(work)

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


async def test_what_a_drain_cuts_off_goes_on_in_the_next_process(tmp_path: Path) -> None:
    started = asyncio.Event()

    async def endless(said: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("beginning")
        started.set()
        await asyncio.Event().wait()

    responder = ScriptedResponder(endless)
    async with world(tmp_path) as made, asyncio.TaskGroup() as tasks:
        tasks.create_task(made.turns.run(responder))
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


async def test_a_message_for_a_channel_that_is_gone_becomes_a_dead_letter(tmp_path: Path) -> None:
    async with world(tmp_path) as made, working(made, ScriptedResponder(echo)):
        await made.inbox.put(message(1, channel="removed"))
        await made.until(lambda: bool(made.of(DeadLettered)))
        entry = await made.inbox.find(message(1, channel="removed").turn_id)
        assert entry is not None
        assert entry.state is State.DEAD


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
        tasks.create_task(made.turns.run(ScriptedResponder(script)))
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
