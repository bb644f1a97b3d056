"""Which of the outcomes that wait is to be shown next, and by whom?

Taking one leases it: ``due_at`` moves ahead and ``tries`` counts, so that a process that dies leaves it to the
next, and two processes that overlap in a reload do not show it at the same time. Only the oldest waiting outcome of
a lane can be taken.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Row,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from mainstay.channels.outbox.model import Backlog
from mainstay.clock import Clock
from mainstay.storage.sqlite import Storage

__all__ = ["Lanes"]

_DEAD = "dead"
_FORGOTTEN_AT_ONCE = 100
Read = TypeVar("Read")


class Lanes(ABC, Generic[Read]):
    """The outcomes of one channel, in one table. Every method raises StorageUnavailable.

    Args:
        storage: where the table is.
        channel: its name.
        clock: tells when they came, and what is due.
        lease_s: how long one that was taken is left to whoever took it.
        on_buried: called with turn_id and reason for each that can not be read any more.
    """

    table: ClassVar[Table]
    """Has ``seq turn_id channel lane state tries error created_at due_at ended_at``."""
    waiting: ClassVar[str]
    """The state of what is to be shown; what can not be shown any more is ``dead``."""
    shown: ClassVar[str]
    """The state of what was shown."""
    forgotten: ClassVar[Collection[str]]
    """The states of what is forgotten after a while."""

    def __init__(
        self,
        storage: Storage,
        channel: str,
        *,
        clock: Clock,
        lease_s: float = 0.0,
        on_buried: Callable[[str, str], None] = lambda turn_id, reason: None,  # noqa: ARG005
    ) -> None:
        self._storage = storage
        self._channel = channel
        self._clock = clock
        self._lease_s = lease_s
        self._on_buried = on_buried
        # Made once: to put them together takes longer than to run them.
        columns, waiting, oldest = self.table.c, self._waiting(), self._oldest_of_lane()
        self._count = select(func.count(), func.count().filter(columns.tries > 1)).where(waiting)
        self._first_due = select(func.min(columns.due_at)).where(waiting, oldest)
        due = or_(columns.due_at <= bindparam("now"), columns.turn_id.in_(bindparam("now_due", expanding=True)))
        free = columns.seq.not_in(bindparam("busy", expanding=True))
        self._next = (
            select(self.table).where(waiting, oldest, due, free).order_by(columns.seq).limit(bindparam("most"))
        )
        self._lease = (
            update(self.table)
            .where(columns.seq.in_(bindparam("taken", expanding=True)))
            .values(tries=columns.tries + 1, due_at=bindparam("until"))
        )
        self._ahead = select(columns.seq).where(waiting, columns.lane == bindparam("lane")).limit(1)
        self._this = update(self.table).where(columns.seq == bindparam("this"), waiting)

    @abstractmethod
    def _read(self, row: Row[Any]) -> Read:
        """What is to be shown. Raises ValueError, TypeError or KeyError if that can not be told."""

    async def backlog(self) -> Backlog:
        """What waits to be shown."""
        now = self._clock.now()

        def work(tx: Connection) -> Backlog:
            pending, retrying = tx.execute(self._count).one()
            due_at: datetime | None = tx.execute(self._first_due).scalar_one()
            next_due_s = max(0.0, (due_at - now).total_seconds()) if due_at else None
            return Backlog(pending=pending, retrying=retrying, next_due_s=next_due_s)

        return await self._storage.read(work)

    async def take(self, limit: int, *, now_due: Collection[str], busy: Collection[int]) -> list[Read]:
        """Lease outcomes to be shown now, the oldest first, one of each lane at most; each as it was before.

        Args:
            limit: how many at most.
            now_due: turns whose outcome is due whatever the row says.
            busy: what this process is showing already.
        """
        now = self._clock.now()
        wanted = {"now": now, "now_due": list(now_due), "busy": list(busy), "most": limit}

        def work(tx: Connection) -> tuple[list[Read], dict[str, str]]:
            found, taken, buried = [], [], {}
            for row in tx.execute(self._next, wanted).all():
                try:
                    found.append(self._read(row))
                    taken.append(row.seq)
                except (ValueError, TypeError, KeyError) as error:  # else it would end every start from here on
                    buried[row.turn_id] = reason = f"not readable: {error}"
                    dead = {"state": _DEAD, "error": reason, "ended_at": now}
                    tx.execute(self._this, {"this": row.seq, **dead})
            tx.execute(self._lease, {"taken": taken, "until": self._leased_until()})
            return found, buried

        found, buried = await self._storage.write(work)
        for turn_id, reason in buried.items():
            self._on_buried(turn_id, reason)
        return found

    async def put_off(self, seq: int, after_s: float, error: str) -> None:
        """Try again later."""
        await self._change(seq, due_at=self._clock.now() + timedelta(seconds=after_s), error=error)

    async def settle(self, seq: int, *, shown: bool, error: str = "") -> bool:
        """End it; False when another process did so before. A dead letter's row is kept as well."""
        state = self.shown if shown else _DEAD
        return await self._change(seq, state=state, error=error, ended_at=self._clock.now())

    async def prune(self, keep_s: float) -> int:
        """Forget what ended longer ago than this; returns how many."""
        columns, before = self.table.c, self._clock.now() - timedelta(seconds=keep_s)
        ended = columns.state.in_(self.forgotten), columns.ended_at < before
        return await self._forget(columns.seq, select(columns.seq).where(columns.channel == self._channel, *ended))

    async def _forget(self, key: Column[Any], old: Select[Any]) -> int:
        """Delete the rows with these keys: found by a reader, and in small parts, as others wait for the writer."""
        keys = await self._storage.read(lambda tx: tx.scalars(old).all())
        for first in range(0, len(keys), _FORGOTTEN_AT_ONCE):
            some = delete(key.table).where(key.in_(keys[first : first + _FORGOTTEN_AT_ONCE]))
            await self._storage.write(partial(_execute, some))
        return len(keys)

    def _leased_until(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._lease_s)

    def _waiting(self) -> ColumnElement[bool]:
        return and_(self.table.c.channel == self._channel, self.table.c.state == self.waiting)

    def _oldest_of_lane(self) -> ColumnElement[bool]:
        earlier, columns = self.table.alias("earlier"), self.table.c
        return ~exists().where(
            earlier.c.channel == columns.channel,
            earlier.c.state == self.waiting,
            earlier.c.lane == columns.lane,
            earlier.c.seq < columns.seq,
        )

    async def _change(self, seq: int, **values: object) -> bool:
        return await self._storage.write(lambda tx: tx.execute(self._this, {"this": seq, **values}).rowcount == 1)


def _execute(statement: Delete, tx: Connection) -> int:
    return tx.execute(statement).rowcount
