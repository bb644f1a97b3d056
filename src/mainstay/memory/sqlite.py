"""What was said before, as tables?

Exchanges belong to a conversation (`Message.lane`), notes to a person (`Message.person`). An exchange is stored in
the transaction that finishes its turn; what its ``record`` means only the responder knows, and it comes back byte
for byte.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    Connection,
    LargeBinary,
    Select,
    Table,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
)

from mainstay.clock import Clock
from mainstay.memory import machine
from mainstay.memory.model import MemorySettings, MemoryUsage
from mainstay.memory.tables import exchanges, notes
from mainstay.messages import Exchange
from mainstay.storage.sqlite import Storage

__all__ = ["Memory", "StoredNotebook"]

_NEWEST = (
    select(exchanges)
    .where(exchanges.c.lane == bindparam("lane"))
    .order_by(exchanges.c.seq.desc())
    .limit(bindparam("most"))
)
_KNOWN = select(exchanges.c.seq).where(exchanges.c.turn_id == bindparam("turn_id"))
_ADD = insert(exchanges)
_PRUNED_AT_ONCE = 200  # rows of one transaction: a message must not wait for a clean-up


class Memory:
    """What the service remembers. Every method raises StorageUnavailable when the database does not do it."""

    def __init__(self, storage: Storage, settings: MemorySettings, *, clock: Clock) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._usage: tuple[float, MemoryUsage] | None = None

    async def history(self, lane: str) -> tuple[Exchange, ...]:
        """The conversation so far, oldest first, within the limits of the settings."""

        def work(tx: Connection) -> tuple[Exchange, ...]:
            rows = tx.execute(_NEWEST, {"lane": lane, "most": self._settings.history})
            return machine.recall(
                (
                    Exchange(
                        turn_id=row.turn_id,
                        user_text=row.user_text,
                        answer_text=row.answer_text,
                        at=row.at,
                        record=row.record,
                    )
                    for row in rows
                ),
                self._settings,
            )

        return await self._storage.read(work)

    async def remembers(self, turn_id: str) -> bool:
        """Whether this turn was answered, as far as that is not forgotten."""
        return await self._storage.read(lambda tx: tx.scalar(_KNOWN, {"turn_id": turn_id}) is not None)

    def append(self, tx: Connection, lane: str, exchange: Exchange) -> None:
        """Remember an exchange, in the transaction that finishes its turn; a turn that is known changes nothing."""
        if tx.scalar(_KNOWN, {"turn_id": exchange.turn_id}) is not None:
            return
        kept = machine.admit(exchange, self._settings)
        values = {
            "turn_id": kept.turn_id,
            "lane": lane,
            "user_text": kept.user_text,
            "answer_text": kept.answer_text,
            "record": kept.record,
            "size_bytes": machine.size_of(kept),
            "at": kept.at,
        }
        tx.execute(_ADD, values)

    async def notebook(self, person: str) -> "StoredNotebook":
        """What is remembered about a person."""
        stored = await self._storage.read(lambda tx: _notes(tx, person))
        return StoredNotebook(self._storage, self._settings, self._clock, person, stored)

    async def prune(self) -> int:
        """Forget what is past its retention or beyond the limit of its conversation; returns how many rows."""
        now = self._clock.now()
        forgotten = await self._forget_before(exchanges, now - timedelta(seconds=self._settings.retention))
        forgotten += await self._forget_before(notes, now - timedelta(seconds=self._settings.note_retention))
        keep = max(self._settings.kept_per_lane, self._settings.history)
        for lane in await self._storage.read(lambda tx: _lanes_above(tx, keep)):
            forgotten += await self._forget_surplus(lane, keep)
        return forgotten

    async def _forget_before(self, table: Table, at: datetime) -> int:
        return await self._delete(table, select(table.c.seq).where(table.c.at < at))

    async def _forget_surplus(self, lane: str, keep: int) -> int:
        in_lane = select(exchanges.c.seq).where(exchanges.c.lane == lane)
        first_kept = in_lane.order_by(exchanges.c.seq.desc()).limit(1).offset(keep - 1).scalar_subquery()
        return await self._delete(exchanges, in_lane.where(exchanges.c.seq < first_kept))

    async def _delete(self, table: Table, which: Select[tuple[int]]) -> int:
        total = 0
        some = delete(table).where(table.c.seq.in_(which.limit(_PRUNED_AT_ONCE)))
        while forgotten := await self._storage.write(lambda tx: tx.execute(some).rowcount):
            total += forgotten
        return total

    async def usage(self) -> MemoryUsage:
        """How much there is; counted at most once per ``usage_interval``, for it walks over all of it."""
        now_s = self._clock.monotonic()
        if self._usage is None or now_s - self._usage[0] >= self._settings.usage_interval:
            self._usage = now_s, await self._storage.read(self._measure)
        return self._usage[1]

    def _measure(self, tx: Connection) -> MemoryUsage:
        said = tx.execute(
            select(
                func.count(),
                func.count(exchanges.c.lane.distinct()),
                func.coalesce(func.sum(exchanges.c.size_bytes), 0),
                func.min(exchanges.c.at),
            ).select_from(exchanges)
        ).one()
        noted = tx.execute(
            select(
                func.count(),
                func.count(notes.c.person.distinct()),
                func.coalesce(func.sum(func.length(cast(notes.c.note, LargeBinary))), 0),
            ).select_from(notes)
        ).one()
        return MemoryUsage(
            exchanges=said[0],
            conversations=said[1],
            notes=noted[0],
            people=noted[1],
            content_bytes=said[2] + noted[2],
            oldest_at=said[3],
            measured_at=self._clock.now(),
        )


class StoredNotebook:
    """`mainstay.messages.Notebook` of one person, as it was when it was opened, and what was added since."""

    def __init__(
        self, storage: Storage, settings: MemorySettings, clock: Clock, person: str, stored: Sequence[str]
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._clock = clock
        self._person = person
        self.notes: Sequence[str] = stored

    async def add(self, note: str) -> None:
        """See `mainstay.messages.Notebook.add`. Raises StorageUnavailable."""
        self.notes = await self._storage.write(lambda tx: self._add(tx, note))

    def _add(self, tx: Connection, text: str) -> list[str]:
        known = _notes(tx, self._person)
        note = machine.note_of(text, known, self._settings)
        if note is None:
            return known
        tx.execute(insert(notes).values(person=self._person, note=note, at=self._clock.now()))
        oldest = select(notes.c.seq).where(notes.c.person == self._person).order_by(notes.c.seq)
        surplus = machine.surplus(len(known) + 1, self._settings)
        tx.execute(delete(notes).where(notes.c.seq.in_(oldest.limit(surplus))))
        return _notes(tx, self._person)


def _notes(tx: Connection, person: str) -> list[str]:
    return list(tx.scalars(select(notes.c.note).where(notes.c.person == person).order_by(notes.c.seq)))


def _lanes_above(tx: Connection, keep: int) -> list[str]:
    return list(tx.scalars(select(exchanges.c.lane).group_by(exchanges.c.lane).having(func.count() > keep)))
