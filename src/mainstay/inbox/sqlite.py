"""Which accepted messages are not finished yet, as a table?

Each method is one transaction: read the rows that matter, ask `mainstay.inbox.machine`, write what it says. The one
writer of the storage, and BEGIN IMMEDIATE between processes, make the answer hold until it is written.
"""

import asyncio
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, delete, func, insert, select, update

from mainstay.clock import Clock
from mainstay.errors import LeaseLost
from mainstay.inbox import machine
from mainstay.inbox.model import Claim, Depth, Entry, Head, InboxSettings, Row, State
from mainstay.inbox.tables import inbox
from mainstay.messages import Message, Outcome
from mainstay.storage.sqlite import Storage

__all__ = ["Inbox"]

_PRUNED_AT_ONCE = 500  # rows of one transaction: other writers must not wait for a clean-up

_HEAD = tuple(inbox.c[field.name] for field in fields(Head))
_ROW = tuple(inbox.c[field.name] for field in fields(Row))
_OPEN = inbox.c.closed_at.is_(None)

# Made once: for those of every message, making them takes longer than the database does.
_KNOWN = select(*_ROW).where(inbox.c.turn_id == bindparam("turn_id"))
_THESE = select(*_ROW).where(inbox.c.turn_id.in_(bindparam("turn_ids", expanding=True))).order_by(inbox.c.seq)
_NEWEST = (
    select(*_ROW)
    .where(inbox.c.lane == bindparam("lane"), _OPEN, inbox.c.state == State.QUEUED, inbox.c.attempt == 0)
    .order_by(inbox.c.seq.desc())
    .limit(bindparam("most"))
)
_HEADS = (
    select(*_HEAD)
    .where(inbox.c.seq.in_(select(func.min(inbox.c.seq)).where(_OPEN).group_by(inbox.c.lane)))
    .order_by(inbox.c.seq)
)
_ADD = insert(inbox)
_CHANGE = update(inbox).where(inbox.c.turn_id == bindparam("this"))


def _ignore(_: object, __: str) -> None:
    pass


class Inbox:
    """One worker's access to the inbox that all workers share.

    Args:
        worker: the owner under which it claims; see `mainstay.inbox.owner`.
        on_buried: called with turn_id and reason for each dead letter that the inbox makes by itself because of
            ``max_age``, or because it can not read them; for those of `bury` the caller knows.
        on_joined: called with each message that will be answered together with another, and the turn_id of that.

    Every method raises StorageUnavailable when the database does not do it.
    """

    def __init__(
        self,
        storage: Storage,
        settings: InboxSettings,
        *,
        clock: Clock,
        worker: str,
        on_buried: Callable[[str, str], None] = _ignore,
        on_joined: Callable[[Message, str], None] = _ignore,
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._worker = worker
        self._on_buried = on_buried
        self._on_joined = on_joined
        self.changed = asyncio.Event()
        """Set when this process may have made something claimable; whoever waits for it clears it."""

    async def put(self, message: Message, *, aside: Message | None = None) -> bool:
        """Accept a message: True once it is stored, False if it is known already.

        Args:
            message: what was said.
            aside: accepted with it when it is answered together with another one, unless the same was told in this
                chat within the last ten minutes or so.
        """
        new, into = await self._storage.write(lambda tx: self._put(tx, message, aside))
        if new:
            self.changed.set()
        if into:
            self._on_joined(message, into)
        return new

    def _put(self, tx: Connection, message: Message, aside: Message | None) -> tuple[bool, str]:
        now = self._clock.now()
        accepted = machine.accept(_row(tx, message.turn_id), message, now)
        if accepted is None:
            return False, ""
        waiting = self._waiting(tx, message.lane) if message.may_join else []
        host = machine.join(waiting, message, self._settings)
        if host is None:
            tx.execute(_ADD, _values(accepted))
            return True, ""
        _save(tx, waiting[-1], host)
        tx.execute(_ADD, _values(machine.joined(accepted, host.turn_id, now)))
        if aside is not None:
            self._tell_beside(tx, aside, now)
        return True, host.turn_id

    def _tell_beside(self, tx: Connection, aside: Message, now: datetime) -> None:
        this, before = machine.beside(aside, now)
        told = machine.accept(_row(tx, before.turn_id) or _row(tx, this.turn_id), this, now)
        if told is not None:
            tx.execute(_ADD, _values(told))

    def _waiting(self, tx: Connection, lane: str) -> list[Row]:
        """As many of the newest that nobody has begun as are needed to decide."""
        if not self._settings.merge_after:
            return []
        return _read(tx, _NEWEST, lane=lane, most=self._settings.merge_after)[::-1]

    async def claim(self, limit: int, *, but: Collection[str] = ()) -> list[Claim]:
        """Take up to ``limit`` messages, the oldest of their lanes, oldest first; none of the turns ``but``."""
        if limit < 1:
            return []
        claims, buried = await self._storage.write(partial(self._claim, limit=limit, but=frozenset(but)))
        self._tell(buried)
        return claims

    def _claim(self, tx: Connection, *, limit: int, but: Collection[str]) -> tuple[list[Claim], list[Row]]:
        now = self._clock.now()
        with closing(_heads(tx)) as heads:
            choice = machine.choose(heads, now, self._settings, limit, but=but)
        buried = self._expire(tx, _rows(tx, choice.expired), now)
        claims = []
        for row in _rows(tx, choice.claimed):
            mine = machine.claim(row, self._worker, now, self._settings)
            try:
                claims.append(machine.hand_out(mine, now))
            except (ValueError, TypeError, KeyError) as error:  # else it would fail every claim from here on
                mine = machine.bury(mine, self._worker, mine.attempt, f"not readable: {error}", now)
                buried.append(mine)
            _save(tx, row, mine)
        return claims, buried

    async def renew(self, claims: Iterable[Claim]) -> set[str]:
        """Keep these claims for another lease; returns the turn_ids of those that are still ours."""
        asked = list(claims)

        def work(tx: Connection) -> set[str]:
            held = set()
            for claim in asked:
                row = _row(tx, claim.turn_id)
                try:
                    renewed = machine.renew(row, self._worker, claim.attempt, self._clock.now(), self._settings)
                except LeaseLost:
                    continue
                _save(tx, row, renewed)
                held.add(claim.turn_id)
            return held

        return await self._storage.write(work)

    def prove(self, tx: Connection, claim: Claim) -> None:
        """Raise LeaseLost, and so undo the caller's transaction, unless the claim is still ours."""
        row = _row(tx, claim.turn_id)
        machine.renew(row, self._worker, claim.attempt, self._clock.now(), self._settings)

    def finish(self, tx: Connection, claim: Claim, outcome: Outcome, detail: str) -> None:
        """End a message, in the transaction that stores its outcome. ``detail``: JSON for `find`.

        Raises:
            LeaseLost: if it is not ours any more; the caller's transaction must not be stored.
        """
        row = _row(tx, claim.turn_id)
        _save(tx, row, machine.finish(row, self._worker, claim.attempt, outcome, detail, self._clock.now()))

    async def release(self, claim: Claim, *, delay_s: float = 0.0, reason: str = "") -> None:
        """Give a message back, to be claimed again after ``delay_s``. Raises LeaseLost."""

        def work(tx: Connection) -> None:
            row, now = _row(tx, claim.turn_id), self._clock.now()
            released = machine.release(row, self._worker, claim.attempt, delay_s, reason, now, self._settings)
            _save(tx, row, released)

        await self._storage.write(work)
        self.changed.set()

    async def bury(self, claim: Claim, reason: str) -> None:
        """Make a dead letter: there is nothing left to try. Raises LeaseLost."""

        def work(tx: Connection) -> None:
            row = _row(tx, claim.turn_id)
            _save(tx, row, machine.bury(row, self._worker, claim.attempt, reason, self._clock.now()))

        await self._storage.write(work)
        self.changed.set()

    async def recover(self, alive: Callable[[str], bool]) -> int:
        """Free the messages of workers that ``alive`` denies, before their leases run out; returns how many."""

        def work(tx: Connection) -> int:
            now = self._clock.now()
            held = select(*_ROW).where(_OPEN, inbox.c.state == State.RUNNING)
            rows = [row for row in _read(tx, held) if not alive(row.owner)]
            for row in rows:
                _save(tx, row, machine.free(row, now, self._settings))
            return len(rows)

        freed = await self._storage.write(work)
        if freed:
            self.changed.set()
        return freed

    async def depth(self) -> Depth:
        """How many messages wait, are being worked on, or are dead letters."""
        return await self._storage.read(self._depth)

    def _depth(self, tx: Connection) -> Depth:
        counting = select(inbox.c.state, func.count(), func.min(inbox.c.accepted_at)).group_by(inbox.c.state)
        counts, oldest = {}, []
        for state, count, accepted_at in tx.execute(counting.where(_OPEN)):
            counts[state] = count
            oldest.append(accepted_at)
        dead = tx.scalar(select(func.count()).where(inbox.c.closed_at.is_not(None), inbox.c.state == State.DEAD))
        age_s = (self._clock.now() - min(oldest)).total_seconds() if oldest else 0.0
        return Depth(
            queued=counts.get(State.QUEUED, 0),
            running=counts.get(State.RUNNING, 0),
            dead=dead or 0,
            oldest_age_s=max(0.0, age_s),
        )

    async def unanswered(self, chat: str) -> list[Message]:
        """What has no outcome yet in a chat (`Message.chat`), oldest first."""
        there = select(*_ROW).where(_OPEN, inbox.c.lane.startswith(f"{chat}:", autoescape=True))
        return machine.said(await self._storage.read(lambda tx: _read(tx, there.order_by(inbox.c.seq))))

    async def next_due(self, *, but: Collection[str] = ()) -> float | None:
        """Seconds until a message, none of the turns ``but``, may become claimable if nobody does anything.

        None if none is open.
        """
        heads = await self._storage.read(lambda tx: list(_heads(tx)))
        now = self._clock.now()
        waits = (machine.ready_in(head, now, self._settings) for head in heads if head.turn_id not in but)
        return min(waits, default=None)

    async def prune(self) -> int:
        """Bury what is past ``max_age`` and forget what is past its retention; returns how many rows."""
        total = 0
        while True:
            buried, forgotten = await self._storage.write(self._prune)
            self._tell(buried)
            total += len(buried) + forgotten
            if not buried and not forgotten:
                return total

    def _prune(self, tx: Connection) -> tuple[list[Row], int]:
        now = self._clock.now()
        before = machine.cutoffs(now, self._settings)
        waiting = _OPEN, inbox.c.attempt == 0, inbox.c.accepted_at < before.accepted_at
        old = select(*_ROW).where(*waiting).limit(_PRUNED_AT_ONCE)
        buried = self._expire(tx, _read(tx, old), now)
        forgotten = 0
        for state, closed_at in ((State.FINISHED, before.finished_at), (State.DEAD, before.dead_at)):
            closed = inbox.c.closed_at.is_not(None), inbox.c.state == state, inbox.c.closed_at < closed_at
            some = select(inbox.c.seq).where(*closed).limit(_PRUNED_AT_ONCE)
            forgotten += tx.execute(delete(inbox).where(inbox.c.seq.in_(some))).rowcount
        return buried, forgotten

    def _expire(self, tx: Connection, rows: Sequence[Row], now: datetime) -> list[Row]:
        buried = []
        for row in rows:
            dead = machine.expire(row, now, self._settings)
            if dead != row:
                _save(tx, row, dead)
                buried.append(dead)
        return buried

    def _tell(self, buried: Sequence[Row]) -> None:
        for row in buried:
            for turn_id in machine.answered_in(row):
                self._on_buried(turn_id, row.reason)

    async def find(self, turn_id: str) -> Entry | None:
        """What became of a message; None if it was never accepted, or is forgotten."""
        row = await self._storage.read(lambda tx: _row(tx, turn_id))
        if row is None:
            return None
        known = {field.name: getattr(row, field.name) for field in fields(Entry)}
        return Entry(**known | {"outcome": Outcome(row.outcome) if row.outcome else None})


def _heads(tx: Connection) -> Generator[Head, None, None]:
    """The oldest open message of each lane, oldest first, without its text; to be closed where not all are read."""
    with tx.execute(_HEADS) as found:
        yield from (Head(**_fields(mapping)) for mapping in found.mappings())


def _row(tx: Connection, turn_id: str) -> Row | None:
    return next(iter(_read(tx, _KNOWN, turn_id=turn_id)), None)


def _rows(tx: Connection, turn_ids: Sequence[str]) -> list[Row]:
    if not turn_ids:
        return []
    return _read(tx, _THESE, turn_ids=list(turn_ids))


def _read(tx: Connection, rows: Select[*tuple[object, ...]], **given: object) -> list[Row]:
    return [Row(**_fields(mapping)) for mapping in tx.execute(rows, given).mappings()]


def _fields(mapping: RowMapping) -> dict[str, Any]:
    return {**mapping, "state": State(mapping["state"])}


def _values(row: Row) -> dict[str, object]:
    return {column.name: getattr(row, column.name) for column in _ROW}


def _save(tx: Connection, before: Row | None, after: Row) -> None:
    """Write what changed. ``before`` is what the decision was made on; nobody else can have changed it since."""
    assert before is not None
    changed = {name: value for name, value in _values(after).items() if value != getattr(before, name)}
    if changed:
        tx.execute(_CHANGE, {"this": after.turn_id, **changed})
