"""Which outcomes are kept, and which of them is to be shown next?

An outcome is inserted in the transaction that finishes its turn. One that waits to be shown is leased to whoever
takes it: ``due_at`` moves ahead, so that a process that dies leaves it to the next, and two processes that overlap
in a reload do not show it at the same time. Only the oldest waiting outcome of a lane can be taken.
"""

import json
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, exists, func, insert, or_, select, update

from mainstay.channels.outbox.model import Backlog, Body, Stored
from mainstay.channels.outbox.tables import outcomes
from mainstay.clock import Clock
from mainstay.messages import Message
from mainstay.storage.sqlite import Storage

__all__ = ["Outcomes"]

_PRUNED_AT_ONCE = 500  # rows of one transaction: other writers must not wait for a clean-up
_WAITING, _SHOWN, _DEAD = "waiting", "shown", "dead"


class Outcomes:
    """The outcomes of one channel. Every method but `post` raises StorageUnavailable.

    Args:
        storage: where they are.
        channel: its name.
        clock: tells when they came, and what is due.
        lease_s: how long one that was taken is left to whoever took it.
        on_buried: called with turn_id and reason for each that can not be read any more.
    """

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

    def post(self, tx: Connection, message: Message, body: Body, *, waiting: bool) -> None:
        """Insert an outcome in the caller's transaction.

        ``waiting``: it has to be shown, and is leased to this process, which is about to do so; else it is kept for
        whoever asks.
        """
        now = self._clock.now()
        tx.execute(
            insert(outcomes).values(
                turn_id=message.turn_id,
                channel=self._channel,
                lane=message.lane,
                message=message.to_json(),
                body=_well_formed(json.dumps(body, ensure_ascii=False)),
                state=_WAITING if waiting else _SHOWN,
                tries=0,
                error="",
                created_at=now,
                due_at=now + timedelta(seconds=self._lease_s),
                ended_at=None if waiting else now,
            )
        )

    async def find(self, turn_id: str) -> Stored | None:
        """The outcome of a turn; None if it has none yet, or is forgotten."""
        query = select(outcomes).where(outcomes.c.turn_id == turn_id, outcomes.c.channel == self._channel)

        def work(tx: Connection) -> Stored | None:
            row = tx.execute(query).one_or_none()
            return _stored(row) if row else None

        return await self._storage.read(work)

    async def backlog(self) -> Backlog:
        """What waits to be shown."""
        count = select(func.count(), func.count().filter(outcomes.c.tries > 1)).where(self._waiting())
        first = select(func.min(outcomes.c.due_at)).where(self._waiting(), _oldest_of_lane())
        now = self._clock.now()

        def work(tx: Connection) -> Backlog:
            pending, retrying = tx.execute(count).one()
            due_at: datetime | None = tx.execute(first).scalar_one()
            next_due_s = max(0.0, (due_at - now).total_seconds()) if due_at else None
            return Backlog(pending=pending, retrying=retrying, next_due_s=next_due_s)

        return await self._storage.read(work)

    async def take(self, limit: int, *, now_due: Collection[str], busy: Collection[int]) -> list[Stored]:
        """Lease outcomes to be shown now, the oldest first, one of each lane at most.

        Args:
            limit: how many at most.
            now_due: turns whose outcome is due whatever the row says.
            busy: what this process is showing already.
        """
        now = self._clock.now()
        due = or_(outcomes.c.due_at <= now, outcomes.c.turn_id.in_(now_due))
        query = (
            select(outcomes)
            .where(self._waiting(), _oldest_of_lane(), due, outcomes.c.seq.not_in(busy))
            .order_by(outcomes.c.seq)
            .limit(limit)
        )

        def work(tx: Connection) -> tuple[list[Stored], dict[str, str]]:
            found, buried = [], {}
            for row in tx.execute(query).all():
                try:
                    found.append(_stored(row))
                except (ValueError, TypeError, KeyError) as error:  # else it would end every start from here on
                    buried[row.turn_id] = reason = f"not readable: {error}"
                    dead = {"state": _DEAD, "error": reason, "ended_at": now}
                    tx.execute(update(outcomes).where(outcomes.c.seq == row.seq).values(dead))
            taken = outcomes.c.seq.in_([each.seq for each in found])
            leased = {"tries": outcomes.c.tries + 1, "due_at": now + timedelta(seconds=self._lease_s)}
            if found:
                tx.execute(update(outcomes).where(taken).values(leased))
            return found, buried

        found, buried = await self._storage.write(work)
        for turn_id, reason in buried.items():
            self._on_buried(turn_id, reason)
        return found

    async def put_off(self, seq: int, after_s: float, error: str) -> None:
        """Try again later."""
        await self._change(seq, due_at=self._clock.now() + timedelta(seconds=after_s), error=error)

    async def settle(self, seq: int, *, shown: bool, error: str = "") -> bool:
        """End it; False when another process did so before. A dead letter's row is kept as long as others."""
        state = _SHOWN if shown else _DEAD
        return await self._change(seq, state=state, error=error, ended_at=self._clock.now())

    async def prune(self, keep_s: float) -> int:
        """Forget what ended longer ago than this; returns how many."""
        before = self._clock.now() - timedelta(seconds=keep_s)
        old = and_(outcomes.c.channel == self._channel, outcomes.c.ended_at < before)
        some = select(outcomes.c.seq).where(old).limit(_PRUNED_AT_ONCE)
        statement = delete(outcomes).where(outcomes.c.seq.in_(some))
        total = 0
        while gone := await self._storage.write(lambda tx: tx.execute(statement).rowcount):
            total += gone
        return total

    def _waiting(self) -> ColumnElement[bool]:
        return and_(outcomes.c.channel == self._channel, outcomes.c.state == _WAITING)

    async def _change(self, seq: int, **values: object) -> bool:
        statement = update(outcomes).where(outcomes.c.seq == seq, outcomes.c.state == _WAITING).values(**values)
        return await self._storage.write(lambda tx: tx.execute(statement).rowcount == 1)


def _oldest_of_lane() -> ColumnElement[bool]:
    earlier = outcomes.alias("earlier")
    return ~exists().where(
        earlier.c.channel == outcomes.c.channel,
        earlier.c.state == _WAITING,
        earlier.c.lane == outcomes.c.lane,
        earlier.c.seq < outcomes.c.seq,
    )


def _stored(row: Row[tuple[object, ...]]) -> Stored:
    return Stored(
        seq=row.seq,
        turn_id=row.turn_id,
        message=Message.from_json(row.message),
        body=json.loads(row.body),
        tries=row.tries,
        created_at=row.created_at,
    )


def _well_formed(text: str) -> str:
    """Halves of a pair that a model sent apart are joined, a lone half becomes U+FFFD: a row holds Unicode."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
