"""An inbox in memory that makes the same decisions as the real one."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from typing import TypeVar

from mainstay.clock import Clock
from mainstay.errors import LeaseLost
from mainstay.inbox import machine
from mainstay.inbox.model import Claim, Depth, Entry, InboxSettings, Row, State
from mainstay.messages import Message, Outcome

__all__ = ["InboxInMemory", "Rows"]

T = TypeVar("T")


class Rows:
    """What several `InboxInMemory` share, as workers share a database."""

    def __init__(self) -> None:
        self.by_turn: dict[str, Row] = {}

    async def write(self, work: Callable[[None], T]) -> T:
        """Run ``work`` as a transaction: if it raises, nothing has happened."""
        before = dict(self.by_turn)
        try:
            return work(None)
        except BaseException:
            self.by_turn = before
            raise

    def open(self) -> list[Row]:
        """The rows without an outcome, oldest first."""
        return [row for row in self.by_turn.values() if row.closed_at is None]

    def heads(self) -> list[Row]:
        """The oldest of them in each lane."""
        return machine.heads(self.by_turn.values())


class InboxInMemory:
    """The interface of `mainstay.inbox.sqlite.Inbox` without a database: nothing survives the process."""

    def __init__(
        self,
        rows: Rows,
        settings: InboxSettings,
        *,
        clock: Clock,
        worker: str,
        on_buried: Callable[[str, str], None] = lambda turn_id, reason: None,  # noqa: ARG005
        on_joined: Callable[[Message, str], None] = lambda message, into: None,  # noqa: ARG005
    ) -> None:
        self._rows = rows
        self._settings = settings
        self._clock = clock
        self._worker = worker
        self._on_buried = on_buried
        self._on_joined = on_joined
        self.changed = asyncio.Event()

    def _save(self, row: Row) -> None:
        self._rows.by_turn[row.turn_id] = row

    def _expire(self, rows: Iterable[Row]) -> int:
        count = 0
        for row in rows:
            dead = machine.expire(row, self._clock.now(), self._settings)
            if dead != row:
                self._save(dead)
                for turn_id in machine.answered_in(dead):
                    self._on_buried(turn_id, dead.reason)
                count += 1
        return count

    async def put(self, message: Message, *, aside: Message | None = None) -> bool:
        """See `mainstay.inbox.sqlite.Inbox.put`; so for the methods that follow."""
        now, known = self._clock.now(), self._rows.by_turn
        row = machine.accept(known.get(message.turn_id), message, now)
        if row is None:
            return False
        waiting = [each for each in self._rows.open() if each.lane == row.lane and each.attempt == 0]
        host = machine.join(waiting, message, self._settings)
        self._save(row if host is None else machine.joined(row, host.turn_id, now))
        if host is not None:
            self._save(host)
            self._on_joined(message, host.turn_id)
            if aside is not None:
                this, before = machine.beside(aside, now)
                told = machine.accept(known.get(before.turn_id) or known.get(this.turn_id), this, now)
                if told is not None:
                    self._save(told)
        self.changed.set()
        return True

    async def claim(self, limit: int, *, but: Collection[str] = ()) -> list[Claim]:
        """Take up to ``limit`` messages."""
        if limit < 1:
            return []
        now = self._clock.now()
        claims = []
        choice = machine.choose(self._rows.heads(), now, self._settings, limit, but=but)
        self._expire(self._rows.by_turn[turn_id] for turn_id in choice.expired)
        for turn_id in choice.claimed:
            row = machine.claim(self._rows.by_turn[turn_id], self._worker, now, self._settings)
            self._save(row)
            claims.append(machine.hand_out(row, now))
        return claims

    async def renew(self, claims: Iterable[Claim]) -> set[str]:
        """Keep claims for another lease."""
        held = set()
        for claim in claims:
            row = self._rows.by_turn.get(claim.turn_id)
            try:
                self._save(machine.renew(row, self._worker, claim.attempt, self._clock.now(), self._settings))
            except LeaseLost:
                continue
            held.add(claim.turn_id)
        return held

    def prove(self, tx: object, claim: Claim) -> None:  # noqa: ARG002
        """Raise LeaseLost unless the claim is still ours."""
        row = self._rows.by_turn.get(claim.turn_id)
        machine.renew(row, self._worker, claim.attempt, self._clock.now(), self._settings)

    def finish(self, tx: object, claim: Claim, outcome: Outcome, detail: str) -> None:  # noqa: ARG002
        """End a message; to be called within `Rows.write`."""
        row = self._rows.by_turn.get(claim.turn_id)
        self._save(machine.finish(row, self._worker, claim.attempt, outcome, detail, self._clock.now()))

    async def release(self, claim: Claim, *, delay_s: float = 0.0, reason: str = "") -> None:
        """Give a message back."""
        row, now = self._rows.by_turn.get(claim.turn_id), self._clock.now()
        self._save(machine.release(row, self._worker, claim.attempt, delay_s, reason, now, self._settings))
        self.changed.set()

    async def bury(self, claim: Claim, reason: str) -> None:
        """Make a dead letter."""
        row = self._rows.by_turn.get(claim.turn_id)
        self._save(machine.bury(row, self._worker, claim.attempt, reason, self._clock.now()))
        self.changed.set()

    async def recover(self, alive: Callable[[str], bool]) -> int:
        """Free the messages of dead workers."""
        lost = [row for row in self._rows.open() if row.state is State.RUNNING and not alive(row.owner)]
        for row in lost:
            self._save(machine.free(row, self._clock.now(), self._settings))
        if lost:
            self.changed.set()
        return len(lost)

    async def depth(self) -> Depth:
        """How much is there."""
        states = [row.state for row in self._rows.by_turn.values()]
        now = self._clock.now()
        ages = [(now - row.accepted_at).total_seconds() for row in self._rows.open()]
        return Depth(
            queued=states.count(State.QUEUED),
            running=states.count(State.RUNNING),
            dead=states.count(State.DEAD),
            oldest_age_s=max([0.0, *ages]),
        )

    async def unanswered(self, chat: str) -> list[Message]:
        """What has no outcome yet in a chat, oldest first."""
        return machine.said(row for row in self._rows.open() if row.lane.startswith(f"{chat}:"))

    async def next_due(self, *, but: Collection[str] = ()) -> float | None:
        """Seconds until something may become claimable."""
        heads, now = [head for head in self._rows.heads() if head.turn_id not in but], self._clock.now()
        return min((machine.ready_in(head, now, self._settings) for head in heads), default=None)

    async def prune(self) -> int:
        """Bury and forget what is too old."""
        count = self._expire(self._rows.open())
        before = machine.cutoffs(self._clock.now(), self._settings)
        limits = {State.FINISHED: before.finished_at, State.DEAD: before.dead_at}
        for row in list(self._rows.by_turn.values()):
            if row.closed_at is not None and row.closed_at < limits[row.state]:
                del self._rows.by_turn[row.turn_id]
                count += 1
        return count

    async def find(self, turn_id: str) -> Entry | None:
        """What became of a message."""
        row = self._rows.by_turn.get(turn_id)
        if row is None:
            return None
        known = {field.name: getattr(row, field.name) for field in fields(Entry)}
        return Entry(**known | {"outcome": Outcome(row.outcome) if row.outcome else None})
