"""Whatever was stored when the process died, the next one brings every message to exactly one outcome.

A process dies when it asks for its n-th transaction: everything before that is stored, nothing after it is, and
what was not acknowledged is delivered again. Every n is tried over one afternoon in which all kinds of things
happen, then random afternoons with several deaths.
"""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.mutants import mutant
from tests.turns.conftest import ROOMS, message

from mainstay.bus import Bus
from mainstay.clock import SystemClock
from mainstay.inbox import sqlite as inbox_sqlite
from mainstay.inbox.model import InboxSettings
from mainstay.memory.model import MemorySettings
from mainstay.memory.sqlite import Memory
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Step, TextAppended, Turn
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.answers import RecordingReplier, ScriptedResponder
from mainstay.turns import attempt, runner
from mainstay.turns.attempt import Rooms
from mainstay.turns.machine import crowd_notice
from mainstay.turns.model import TurnSettings

T = TypeVar("T")
QUICK = InboxSettings(merge_after=2, backoff=0.001, max_backoff=0.001)
AFTERNOON = [
    *(("say", "x"), ("say", "y"), ("say", "x"), ("say", "x"), ("say", "x"), ("take back", "0"), ("take back", "4")),
    *(("go on", ""), ("say", "x"), ("take back", "3"), ("say", "y")),
]
"""Nobody answers before people have gone on, so that things wait, and are joined, in the same order each time."""


class Mortal(Storage):
    """A process that dies when it asks for one transaction more than it lives for."""

    lives_for = -1

    def __init__(self, *args, **more) -> None:
        super().__init__(*args, **more)
        self.dead = asyncio.Event()

    async def write(self, work: Callable[[Connection], T]) -> T:
        if self.lives_for == 0:
            self.dead.set()
            await asyncio.Event().wait()
        self.lives_for -= 1
        return await super().write(work)


class Writing(RecordingReplier):
    """Shows outcomes by writing them down, in the transaction in which they come to be."""

    def __init__(self, shown: Message, turn_id: str, attempt_number: int) -> None:
        super().__init__()
        self._row = (turn_id, shown.kind, json.dumps([each for each, _ in shown.parts] or [shown.external_id]))

    def post(self, tx: Connection, final: Finished) -> None:
        row = (*self._row, final.outcome.value, final.text)
        tx.exec_driver_sql("INSERT INTO answers (turn_id, kind, of, outcome, text) VALUES (?, ?, ?, ?, ?)", row)


@dataclass
class Afternoon:
    """What people do, and what of it the platform has to deliver still."""

    path: Path
    steps: list[tuple[str, str]]
    inboxes: ModuleType = inbox_sqlite
    attempts: ModuleType = attempt
    said: list[Message] = field(default_factory=list)
    taken_back: set[str] = field(default_factory=set)
    effects: list[str] = field(default_factory=list)
    going: asyncio.Event = field(default_factory=asyncio.Event)

    async def live(self, number: int, lives_for: int) -> bool:
        """One process; True if it has died before all was done."""
        clock = SystemClock()
        storage = Mortal(StorageSettings(url=f"sqlite:///{self.path}", synchronous="normal"), clock=clock)
        await storage.open({})
        storage.lives_for = lives_for
        done = asyncio.Event()
        box = self.inboxes.Inbox(storage, QUICK, clock=clock, worker=f"life {number}")
        rooms = Rooms(
            storage=storage,
            inbox=box,
            memory=Memory(storage, MemorySettings(), clock=clock),
            bus=Bus(),
            clock=clock,
            settings=TurnSettings(start_interval=0.0, poll_interval=0.05, max_crashes=100),
            turn_timeout_s=10.0,
            lease_s=QUICK.lease,
        )
        turns = mutant(runner, "Which messages", "Which messages", Attempt=self.attempts.Attempt).Turns(rooms)
        turns.answer_through("test", Writing)

        async def work() -> None:
            await self.going.wait()
            await turns.run(ScriptedResponder(self.answer), failed=lambda _: None)

        async def live() -> None:
            await box.recover(lambda _: False)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(work())
                while self.steps:
                    await self.happen(*self.steps[0], box, turns)
                    self.steps.pop(0)
                self.going.set()
                while (depth := await box.depth()).queued + depth.running:  # noqa: ASYNC110  of all its lives
                    await asyncio.sleep(0.005)
                done.set()

        living, ends = (
            asyncio.create_task(live()),
            [asyncio.create_task(each.wait()) for each in (storage.dead, done)],
        )
        async with asyncio.timeout(20):
            await asyncio.wait([living, *ends], return_when=asyncio.FIRST_COMPLETED)
        for each in (living, *ends):
            each.cancel()
        await asyncio.wait([living, *ends])
        await storage.close()
        return not done.is_set()

    async def happen(self, what: str, where: str, box: inbox_sqlite.Inbox, turns: runner.Turns) -> None:
        """What is not acknowledged comes again: the same message, under the same id."""
        if what == "take back":
            number = int(where) % (len(self.said) or 1)
            self.taken_back.add(f"om_{number}")
            await turns.recall(message(number).turn_id)
            return
        if what == "go on":
            self.going.set()
            return
        new = message(len(self.said), chat=where)
        await box.put(new, aside=crowd_notice(new))
        self.said.append(new)

    async def answer(self, asked: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("re")
        if not turn.steps.recorded:
            step = Step(step_id="s", agent="a", tool="t", arguments="", effects=True, checkpoint=b"")
            await turn.steps.intend(step)
            self.effects.append(turn.turn_id)
            await turn.steps.record("s", "ok", ok=True)
        yield Finished(outcome=Outcome.ANSWERED, text=f"re: {asked.text}", agent="manager")

    def judge(self) -> None:
        with sqlite3.connect(self.path) as db:
            answers = list(db.execute("SELECT of, outcome, text, kind FROM answers ORDER BY seq"))
            remembered = list(db.execute("SELECT user_text FROM memory_exchanges ORDER BY seq"))
        db.close()
        ends = [
            (each, outcome, text)
            for of, outcome, text, kind in answers
            if kind == "message"
            for each in json.loads(of)
        ]
        for each in self.said:
            mine = [(outcome, text) for external_id, outcome, text in ends if external_id == each.external_id]
            assert len(mine) == 1 or (not mine and each.external_id in self.taken_back), (each.external_id, mine)
            for outcome, text in mine:
                assert outcome == "cancelled" if not text else each.text in text.split("re: ")[1].split("\n\n")
                assert outcome == "answered" or each.external_id in self.taken_back
        for chat in {each.chat_id for each in self.said}:
            here = [each.external_id for each in self.said if each.chat_id == chat]
            order = [external_id for external_id, _, _ in ends if external_id in here]
            assert order == [each for each in here if each in order]
        answered = [
            text.removeprefix("re: ")
            for _, outcome, text, kind in answers
            if outcome == "answered" and kind == "message"
        ]
        assert sorted(answered) == sorted(text for (text,) in remembered)
        assert len(self.effects) == len(set(self.effects)), "a tool ran twice"
        assert sum(kind == "event" for _, _, _, kind in answers) <= len(self.said)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which nothing has happened yet."""
    path = tmp_path_factory.mktemp("empty") / "mainstay.db"
    upgrade(f"sqlite:///{path}", ROOMS)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE answers (seq INTEGER PRIMARY KEY, turn_id, kind, of, outcome, text)")
    db.close()
    return path


def lived(empty: Path, path: Path, steps: list[tuple[str, str]], deaths: list[int], **wrong: ModuleType) -> int:
    """How often it died on the way."""
    shutil.copy(empty, path)
    for left in path.parent.glob(f"{path.name}-*"):
        left.unlink()
    afternoon = Afternoon(path, list(steps), **wrong)

    async def all_lives() -> int:
        died = 0
        for number, lives_for in enumerate([*deaths, -1]):
            if not await afternoon.live(number, lives_for):
                break
            died += 1
        return died

    died = asyncio.run(all_lives())
    afternoon.judge()
    return died


def whenever(empty: Path, path: Path, **wrong: ModuleType) -> int:
    """The afternoon with a death at each of its transactions; returns how many these are."""
    return next(n for n in count() if not lived(empty, path, AFTERNOON, [n], **wrong))


def test_whichever_transaction_is_the_last_every_message_comes_to_one_outcome(empty: Path, tmp_path: Path) -> None:
    assert whenever(empty, tmp_path / "mainstay.db") > 15


STEPS = st.lists(
    st.tuples(st.just("say"), st.sampled_from("xxxy"))
    | st.tuples(st.just("take back"), st.sampled_from("01234"))
    | st.just(("go on", "")),
    max_size=10,
)


@settings(max_examples=15, deadline=None)
@given(STEPS, st.lists(st.integers(0, 15), max_size=4))
def test_however_often_it_dies(empty: Path, tmp_path_factory, steps, deaths) -> None:
    lived(empty, tmp_path_factory.mktemp("life") / "mainstay.db", steps, deaths)


STORED = "return await rooms.storage.write(self._settling(final, seconds))"
TWICE = (
    "told = await rooms.storage.write(self._settling(final, seconds)); "
    "await rooms.storage.write(lambda tx: {}); return told"
)
WRONG = {
    "the answer is stored, and then the message is finished": (
        attempt,
        "rooms.inbox.finish(tx, claim, told.outcome, describe(told, seconds=seconds))",
        "rooms.inbox.prove(tx, claim)",
        STORED,
        TWICE.format("rooms.inbox.finish(tx, claim, told.outcome, '')"),
    ),
    "the message is finished, and then the answer is stored": (
        attempt,
        "self._replier.post(tx, told)",
        "pass",
        STORED,
        TWICE.format("self._replier.post(tx, told)"),
    ),
    "a message is stored, and then to which it is joined": (
        inbox_sqlite,
        "_save(tx, waiting[-1], host)",
        "self.later = (waiting[-1], host)",
        "        if into:\n",
        "        if into:\n            await self._storage.write(lambda tx: _save(tx, *self.later))\n",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_transaction_that_is_cut_in_two_is_noticed(empty: Path, tmp_path: Path, name: str) -> None:
    module, before, after, *more = WRONG[name]
    wrong = mutant(module, before, after, also=(tuple(more),))
    which = "attempts" if module is attempt else "inboxes"
    with pytest.raises(AssertionError):
        whenever(empty, tmp_path / "mainstay.db", **{which: wrong})
