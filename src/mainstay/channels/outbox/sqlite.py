"""Which outcomes are kept that need no cards?

An outcome is inserted in the transaction that finishes its turn: to be shown, or for whoever asks.
"""

import json
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select

from mainstay.channels.characters import well_formed
from mainstay.channels.outbox.lanes import Lanes
from mainstay.channels.outbox.model import Body, Stored
from mainstay.channels.outbox.tables import outcomes
from mainstay.messages import Message

__all__ = ["Outcomes"]

_ADD = insert(outcomes)
_OF_TURN = select(outcomes).where(
    outcomes.c.turn_id == bindparam("turn_id"), outcomes.c.channel == bindparam("channel")
)


class Outcomes(Lanes[Stored]):
    """The outcomes of one channel. Every method but `post` raises StorageUnavailable; see `Lanes`."""

    table, waiting, shown = outcomes, "waiting", "shown"
    forgotten = ("shown", "dead")

    def _read(self, row: Row[Any]) -> Stored:
        return _stored(row)

    def post(self, tx: Connection, message: Message, body: Body, *, waiting: bool) -> None:
        """Insert an outcome in the caller's transaction.

        ``waiting``: it has to be shown, and is leased to this process, which is about to do so; else it is kept for
        whoever asks.
        """
        now = self._clock.now()
        values = {
            "turn_id": message.turn_id,
            "channel": self._channel,
            "lane": message.lane,
            "message": message.to_json(),
            "body": well_formed(json.dumps(body, ensure_ascii=False)),
            "state": self.waiting if waiting else self.shown,
            "tries": 0,
            "error": "",
            "created_at": now,
            "due_at": self._leased_until(),
            "ended_at": None if waiting else now,
        }
        tx.execute(_ADD, values)

    async def find(self, turn_id: str) -> Stored | None:
        """The outcome of a turn; None if it has none yet, or is forgotten."""

        def work(tx: Connection) -> Stored | None:
            row = tx.execute(_OF_TURN, {"turn_id": turn_id, "channel": self._channel}).one_or_none()
            return _stored(row) if row else None

        return await self._storage.read(work)


def _stored(row: Row[Any]) -> Stored:
    return Stored(
        seq=row.seq,
        turn_id=row.turn_id,
        message=Message.from_json(row.message),
        body=json.loads(row.body),
        tries=row.tries,
        created_at=row.created_at,
    )
