"""Which messages were taken back?

Stored, because whoever hears of it need not be the worker that answers, nor outlive the answer; and because the
platform may tell it before the message itself. In a group most of what is taken back was never for us.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from mainstay.clock import Clock
from mainstay.messages import Message
from mainstay.storage.sqlite import Storage
from mainstay.turns.machine import said_in
from mainstay.turns.tables import turn_recalls

__all__ = ["Recalls", "all_recalled", "recalled_of"]

_OF_THESE = select(turn_recalls.c.turn_id).where(turn_recalls.c.turn_id.in_(bindparam("these", expanding=True)))


def recalled_of(tx: Connection, message: Message) -> frozenset[str]:
    """Which of the messages that are answered here were taken back, by the platform's id.

    What a press has asked for can be ended by itself; the message that it refers to stays what it is.
    """
    turns = {message.turn_id_of(external_id): external_id for external_id, _ in said_in(message)}
    found = set(tx.scalars(_OF_THESE, {"these": [*turns, message.turn_id]}))
    if message.kind == "callback" and message.turn_id in found:
        return frozenset(turns.values())
    return frozenset(turns[turn_id] for turn_id in found if turn_id in turns)


def all_recalled(tx: Connection, message: Message) -> bool:
    """Whether nothing is left to be answered. What nobody said can not be taken back."""
    said = said_in(message)
    return bool(said) and len(recalled_of(tx, message)) == len(said)


class Recalls:
    """What was taken back, by turn. Every method raises StorageUnavailable."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def add(self, turn_id: str) -> None:
        """Remember it."""
        row = insert(turn_recalls).values(turn_id=turn_id, recalled_at=self._clock.now())
        await self._storage.write(lambda tx: tx.execute(row.on_conflict_do_nothing()).rowcount)

    async def of(self, message: Message) -> frozenset[str]:
        """See `recalled_of`."""
        return await self._storage.read(lambda tx: recalled_of(tx, message))

    async def gone(self, messages: Iterable[Message]) -> set[str]:
        """The turn_ids of those of which nothing is left to be answered."""
        asked = list(messages)
        return await self._storage.read(lambda tx: {each.turn_id for each in asked if all_recalled(tx, each)})

    async def prune(self, before: datetime) -> int:
        """Forget what was taken back before then; returns how many."""
        old = delete(turn_recalls).where(turn_recalls.c.recalled_at < before)
        return await self._storage.write(lambda tx: tx.execute(old).rowcount)
