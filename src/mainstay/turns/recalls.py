"""Which messages were taken back?

Stored, because whoever hears of it need not be the worker that answers, nor outlive the answer; and because the
platform may tell it before the message itself. In a group most of what is taken back was never for us.

What who asked has stopped is taken back too, but what they said stays said: they are told what was stopped.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID, uuid5

from sqlalchemy import Connection, bindparam, delete, select
from sqlalchemy.dialects.sqlite import insert

from mainstay.clock import Clock
from mainstay.messages import Message
from mainstay.storage.sqlite import Storage
from mainstay.turns.machine import said_in, without
from mainstay.turns.tables import turn_recalls

__all__ = ["Left", "Recalls", "all_recalled", "recalled_of", "stopped_of"]

_STOPS = UUID("6d61696e-7374-4179-8000-73746f707300")  # "mainstay stops": the namespace of `_stop_of`
_OF_THESE = select(turn_recalls.c.turn_id).where(turn_recalls.c.turn_id.in_(bindparam("these", expanding=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left of a message, when some of what is answered together was taken back.

    Attributes:
        is_over: none of it is to be answered.
        stopped: what those of them said that were stopped: something else was added to them later.
    """

    message: Message
    is_over: bool = False
    stopped: tuple[str, ...] = ()


@lru_cache(4096)
def _stop_of(turn_id: str) -> str:
    """The id under which it is kept that a message was stopped, and not taken back."""
    return str(uuid5(_STOPS, turn_id))


def recalled_of(tx: Connection, message: Message) -> frozenset[str]:
    """Which of the messages that are answered here were taken back, by the platform's id.

    What a press has asked for can be ended by itself; the message that it refers to stays what it is.
    """
    turns = {message.turn_id_of(external_id): external_id for external_id, _ in said_in(message)}
    found = _found(tx, [*turns, message.turn_id])
    if message.kind == "callback" and message.turn_id in found:
        return frozenset(turns.values())
    return frozenset(turns[turn_id] for turn_id in found if turn_id in turns)


def stopped_of(tx: Connection, message: Message) -> frozenset[str]:
    """Which of them were stopped, and not taken back."""
    stops = {_stop_of(message.turn_id_of(external_id)): external_id for external_id, _ in said_in(message)}
    return frozenset(stops[stop] for stop in _found(tx, stops))


def _found(tx: Connection, ids: Iterable[str]) -> set[str]:
    return set(tx.scalars(_OF_THESE, {"these": list(ids)}))


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

        def work(tx: Connection) -> None:
            self._add(tx, [turn_id])
            tx.execute(delete(turn_recalls).where(turn_recalls.c.turn_id == _stop_of(turn_id)))

        await self._storage.write(work)

    async def stop(self, messages: Iterable[Message]) -> None:
        """Remember that these, with all that is answered together with them, were stopped: all, or none."""
        asked = list(messages)

        def work(tx: Connection) -> None:
            for message in asked:
                if message.kind == "callback":  # the message that it refers to stays what it is
                    self._add(tx, [message.turn_id])
                    continue
                gone = recalled_of(tx, message)
                turns = [message.turn_id_of(each) for each, _ in said_in(message) if each not in gone]
                self._add(tx, [*turns, *map(_stop_of, turns)])

        await self._storage.write(work)

    def _add(self, tx: Connection, ids: Iterable[str]) -> None:
        rows = [{"turn_id": each, "recalled_at": self._clock.now()} for each in ids]
        if rows:
            tx.execute(insert(turn_recalls).on_conflict_do_nothing(), rows)

    async def left_of(self, message: Message) -> Left:
        """What of it is still to be answered, or else to be told that it is not."""

        def work(tx: Connection) -> Left:
            gone, stopped = recalled_of(tx, message), stopped_of(tx, message)
            left = without(message, gone)
            if left is None:
                return Left(message=without(message, gone - stopped) or message, is_over=True)
            return Left(message=left, stopped=tuple(text for each, text in said_in(message) if each in stopped))

        return await self._storage.read(work)

    async def gone(self, messages: Iterable[Message]) -> set[str]:
        """The turn_ids of those of which nothing is left to be answered."""
        asked = list(messages)
        return await self._storage.read(lambda tx: {each.turn_id for each in asked if all_recalled(tx, each)})

    async def prune(self, before: datetime) -> int:
        """Forget what was taken back before then; returns how many."""
        old = delete(turn_recalls).where(turn_recalls.c.recalled_at < before)
        return await self._storage.write(lambda tx: tx.execute(old).rowcount)
