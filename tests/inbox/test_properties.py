"""Do the promises hold in a world where workers crash, are slow, and come back?

Hypothesis chooses what happens next; the world keeps a ledger of its own of what was promised to whom, which knows
nothing of rows and states, and compares. The same world then runs on machines that are wrong in one place each:
a property that does not notice would be worth nothing.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import assert_noticed, mutant

from mainstay.errors import LeaseLost
from mainstay.inbox import machine
from mainstay.inbox.model import InboxSettings, Row, State
from mainstay.messages import Message, Outcome

SETTINGS = InboxSettings(lease=10, backoff=1, max_backoff=8, retention=40, dead_retention=40, max_age=60)
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Held:
    """What a worker believes to have."""

    turn_id: str
    attempt: int
    owner: str


@dataclass
class Promise:
    """What the ledger knows about one accepted message."""

    lane: str
    number: int
    accepted_s: float
    attempts: list[Held] = field(default_factory=list)
    live_until_s: float = -math.inf
    not_before_s: float = -math.inf
    surely_by_s: float = -math.inf
    over_s: float | None = None
    finishes: int = 0


class World:
    def __init__(self, subject: Any) -> None:  # noqa: ANN401  a module, possibly a mutant of it
        self.machine = subject
        self.rows: dict[str, Row] = {}
        self.ledger: dict[str, Promise] = {}
        self.now_s = 0.0
        self.count = 0
        self.owners = ["w0.0", "w1.0", "w2.0"]
        self.dead: set[str] = set()
        self.holds: list[list[Held]] = [[], [], []]

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.now_s)

    def step(self, action: str, who: int, what: int) -> None:
        getattr(self, action)(who % 3, what)

    def put(self, who: int, what: int) -> None:
        message = Message(
            channel="c",
            bot_id="b",
            external_id=str(what % 6),
            chat_id=str(what % 2),
            sender_id="s",
            text="",
            sent_at=self.now,
        )
        row = self.machine.accept(self.rows.get(message.turn_id), message, self.now)
        promise = self.ledger.get(message.turn_id)
        if row is None:
            assert promise is not None, "a new message was refused"
            return
        if promise is not None:
            assert promise.over_s is not None, "a duplicate of an open message was accepted"
            assert self.now_s - promise.over_s > SETTINGS.retention, "a duplicate was accepted within retention"
        self.rows.pop(row.turn_id, None)
        self.rows[row.turn_id] = row
        self.count += 1
        self.ledger[row.turn_id] = Promise(row.lane, self.count, self.now_s)

    def claim(self, who: int, what: int) -> None:
        limit = 1 + what % 3
        open_lanes = self.machine.heads(self.rows.values())
        choice = self.machine.choose(open_lanes, self.now, SETTINGS, limit)
        for turn_id in choice.expired:
            self.expire(turn_id)
        assert len(choice.claimed) <= limit, "more was claimed than asked for"
        for turn_id in choice.claimed:
            self.take(who, turn_id)
        if len(choice.claimed) < limit:
            self.nobody_was_passed_over(choice.expired)

    def take(self, who: int, turn_id: str) -> None:
        promise = self.ledger[turn_id]
        earlier = [p for p in self.ledger.values() if p.lane == promise.lane and p.over_s is None]
        assert promise.over_s is None, "a message that is over was claimed"
        assert min(p.number for p in earlier) == promise.number, "a message overtook another one of its lane"
        assert promise.live_until_s <= self.now_s, "a message was taken from a worker whose lease is alive"
        assert promise.not_before_s <= self.now_s, "a message was claimed before its delay was over"
        row = self.machine.claim(self.rows[turn_id], self.owners[who], self.now, SETTINGS)
        assert all(row.attempt > held.attempt for held in promise.attempts), "an attempt did not grow"
        self.rows[turn_id] = row
        held = Held(turn_id, row.attempt, self.owners[who])
        promise.attempts.append(held)
        self.lease(promise)
        self.holds[who].append(held)

    def lease(self, promise: Promise) -> None:
        promise.live_until_s = self.now_s + SETTINGS.lease
        promise.surely_by_s = promise.live_until_s + SETTINGS.max_backoff

    def nobody_was_passed_over(self, expired: tuple[str, ...]) -> None:
        lanes: dict[str, Promise] = {}
        lanes_with_dead = {self.ledger[turn_id].lane for turn_id in expired}
        for promise in sorted(self.ledger.values(), key=lambda promise: promise.number):
            if promise.over_s is None:
                lanes.setdefault(promise.lane, promise)
        for lane, promise in lanes.items():
            waits = self.now_s < promise.surely_by_s
            assert waits or lane in lanes_with_dead, "a lane was blocked"

    def pick(self, who: int, what: int) -> Held | None:
        return self.holds[who][what % len(self.holds[who])] if self.holds[who] else None

    def current(self, held: Held) -> bool:
        promise = self.ledger[held.turn_id]
        return promise.over_s is None and promise.attempts[-1:] == [held]

    def renew(self, who: int, what: int) -> None:
        if held := self.pick(who, what):
            try:
                row = self.machine.renew(self.rows.get(held.turn_id), held.owner, held.attempt, self.now, SETTINGS)
            except LeaseLost:
                return
            assert self.current(held), "a claim was renewed that was lost"
            self.rows[held.turn_id] = row
            self.lease(self.ledger[held.turn_id])

    def finish(self, who: int, what: int) -> None:
        if held := self.pick(who, what):
            row = self.rows.get(held.turn_id)
            try:
                row = self.machine.finish(row, held.owner, held.attempt, Outcome.ANSWERED, "", self.now)
            except LeaseLost:
                return
            promise = self.ledger[held.turn_id]
            assert promise.finishes == 0, "a message was finished twice"
            assert self.current(held), "a worker finished what it had lost"
            self.rows[held.turn_id] = row
            promise.finishes += 1
            self.over(promise)

    def over(self, promise: Promise) -> None:
        earlier = [p for p in self.ledger.values() if p.lane == promise.lane and p.number < promise.number]
        assert all(p.over_s is not None for p in earlier), "a lane was finished out of order"
        promise.over_s = self.now_s

    def release(self, who: int, what: int) -> None:
        if held := self.pick(who, what):
            delay_s = float(what % 12)
            row = self.rows.get(held.turn_id)
            try:
                row = self.machine.release(row, held.owner, held.attempt, delay_s, "", self.now, SETTINGS)
            except LeaseLost:
                return
            assert self.current(held), "a worker released what it had lost"
            self.rows[held.turn_id] = row
            self.given_back(held, min(delay_s, SETTINGS.max_backoff))

    def given_back(self, held: Held, delay_s: float) -> None:
        promise = self.ledger[held.turn_id]
        promise.live_until_s = -math.inf
        promise.not_before_s = promise.surely_by_s = self.now_s + delay_s
        promise.attempts.append(Held(held.turn_id, held.attempt, "nobody"))

    def bury(self, who: int, what: int) -> None:
        if held := self.pick(who, what):
            row = self.rows.get(held.turn_id)
            try:
                row = self.machine.bury(row, held.owner, held.attempt, "", self.now)
            except LeaseLost:
                return
            assert self.current(held), "a worker buried what it had lost"
            self.rows[held.turn_id] = row
            self.over(self.ledger[held.turn_id])

    def crash(self, who: int, what: int) -> None:
        self.dead.add(self.owners[who])
        name, _, life = self.owners[who].partition(".")
        self.owners[who] = f"{name}.{int(life) + 1}"
        self.holds[who] = []

    def recover(self, who: int, what: int) -> None:
        for turn_id, row in self.rows.items():
            if row.owner not in self.dead:
                continue
            freed = self.machine.free(row, self.now, SETTINGS)
            if freed != row:
                promise = self.ledger[turn_id]
                assert promise.over_s is None, "a message that is over was freed"
                self.rows[turn_id] = freed
                self.given_back(promise.attempts[-1], 0.0)
                promise.surely_by_s = self.now_s + SETTINGS.max_backoff

    def wait(self, who: int, what: int) -> None:
        self.now_s += (1.0, 9.0, 10.0, 11.0, 45.0)[what % 5]

    def prune(self, who: int, what: int) -> None:
        for turn_id in list(self.rows):
            self.expire(turn_id)
        before = self.machine.cutoffs(self.now, SETTINGS)
        limits = {State.FINISHED: before.finished_at, State.DEAD: before.dead_at}
        for turn_id, row in list(self.rows.items()):
            if row.closed_at is not None and row.closed_at < limits[row.state]:
                del self.rows[turn_id]

    def expire(self, turn_id: str) -> None:
        row = self.machine.expire(self.rows[turn_id], self.now, SETTINGS)
        if row != self.rows[turn_id]:
            promise = self.ledger[turn_id]
            assert promise.over_s is None, "a message that is over was buried"
            assert self.now_s - promise.accepted_s > SETTINGS.max_age, "a message was buried before its time"
            assert row.attempt == 0, "a message was buried that a worker had begun"
            self.rows[turn_id] = row
            promise.over_s = self.now_s  # by age it may overtake: an older one may have been begun

    def end_well(self) -> None:
        """From here on one healthy worker goes on; whatever was accepted must come to its end."""
        for who in range(3):
            self.crash(who, 0)
        for _ in range(3 * len(self.ledger) + 3):
            self.claim(0, 2)
            while self.holds[0]:
                self.finish(0, 0)
                self.holds[0].pop(0)
            self.now_s += SETTINGS.lease + SETTINGS.max_backoff
        lost = [promise for promise in self.ledger.values() if promise.over_s is None]
        assert not lost, "a message was lost"


ACTIONS = (
    *("put", "claim", "finish", "wait") * 3,
    *("renew", "release", "crash", "recover", "prune", "bury"),
)
happenings = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 2), st.integers(0, 59)), min_size=10, max_size=80
)


def live(subject: Any, steps: list[tuple[str, int, int]]) -> None:  # noqa: ANN401
    world = World(subject)
    for step in steps:
        world.step(*step)
    world.end_well()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(happenings)
def test_no_message_is_lost_or_finished_twice_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    live(machine, steps)


MUTANTS = {
    "a finished message is accepted again": (
        "if known is not None:",
        "if known is not None and not known.outcome:",
    ),
    "the attempt does not grow": ("attempt=row.attempt + 1,", "attempt=row.attempt or 1,"),
    "the fence forgets the attempt": ("(row.owner, row.attempt) == (owner, attempt)", "row.owner == owner"),
    "the fence forgets the state": ("row is not None and row.state is State.RUNNING and", "row is not None and"),
    "the lease does not protect": (
        "lost_at = head.lease_until_at + timedelta(",
        "lost_at = now + 0 * timedelta(",
    ),
    "a lost lease is never taken over": ("return _until(lost_at, now,", "return 1.0 + _until(lost_at, now,"),
    "a lease is taken over a moment too soon": ("lost_at = head.", "lost_at = timedelta(seconds=-1) + head."),
    "renewing changes nothing": (
        "_held(row, owner, attempt), lease_until_at=now + timedelta(seconds=settings.lease))",
        "_held(row, owner, attempt))",
    ),
    "a release forgets its delay": ("due_at=now + timedelta(seconds=delay_s)", "due_at=now"),
    "a release keeps the message": ("held, state=State.QUEUED, due_at", "held, due_at"),
    "whatever a dead worker ever had is freed": ("if row.state is not State.RUNNING:", "if False:"),
    "repeats are forgotten early": ("seconds=settings.retention)", "seconds=settings.retention / 2)"),
    "dead letters are forgotten early": (
        "seconds=max(settings.dead_retention, settings.retention))",
        "seconds=1)",
    ),
    "age ends what was begun": ("head.attempt == 0 and ", ""),
    "everything is too old": (".total_seconds() > settings.max_age", ".total_seconds() >= 0"),
    "the limit is ignored": ("if len(claimed) == limit:", "if False:"),
    "only one lane is worked on": ("if len(claimed) == limit:", "if claimed:"),
    "a lane does not wait for its first message": ("setdefault(row.lane, row)", "setdefault(row.turn_id, row)"),
    "the newest goes first": ("lanes.setdefault(row.lane, row)", "lanes[row.lane] = row"),
    "finishing leaves it running": ("state=State.FINISHED,", "state=State.RUNNING,"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_world_notices_a_machine_that_is_wrong(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])
    assert_noticed(lambda steps: live(wrong, steps), happenings)
