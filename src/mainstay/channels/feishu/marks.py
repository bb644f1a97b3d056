"""What is remembered about the messages of people: what did they change, and which reaction do they carry?"""

from datetime import timedelta

from sqlalchemy import ColumnElement, Connection, and_, delete, select
from sqlalchemy.dialects.sqlite import insert

from mainstay.channels.feishu.tables import cards, edits, outbox, receipts
from mainstay.clock import Clock
from mainstay.messages import Outcome
from mainstay.storage.sqlite import Storage

__all__ = ["Marks"]


class Marks:
    """Of one channel. Every method raises StorageUnavailable."""

    def __init__(self, storage: Storage, channel: str, *, clock: Clock) -> None:
        self._storage = storage
        self._channel = channel
        self._clock = clock

    async def edited(self, message_id: str) -> None:
        """Its author has changed it."""
        row = insert(edits).values(channel=self._channel, message_id=message_id, edited_at=self._clock.now())
        await self._storage.write(lambda tx: tx.execute(row.on_conflict_do_nothing()).rowcount)

    async def was_edited(self, message_id: str) -> bool:
        """Whether its author has changed it since it was said."""
        known = select(edits.c.message_id).where(edits.c.channel == self._channel, edits.c.message_id == message_id)
        return await self._storage.read(lambda tx: tx.execute(known).first() is not None)

    async def own_words(self, message_id: str) -> tuple[str, int]:
        """The answer whose card this message shows, and which of them; empty if that is not known (any more)."""
        said = (
            select(outbox.c.text, cards.c.part)
            .join(cards, outbox.c.turn_id.in_((cards.c.turn_id, cards.c.part_of)))
            .where(cards.c.channel == self._channel, cards.c.message_id == message_id)
        )

        def work(tx: Connection) -> tuple[str, int]:
            row = tx.execute(said).first()
            return (row.text, row.part) if row else ("", 0)

        return await self._storage.read(work)

    async def was_here(self, lane: str) -> bool:
        """Whether the bot has answered in this conversation, as far back as outcomes are kept."""
        known = select(outbox.c.seq).where(outbox.c.channel == self._channel, outbox.c.lane == lane).limit(1)
        return await self._storage.read(lambda tx: tx.execute(known).first() is not None)

    async def receipt(self, message_id: str) -> str:
        """The reaction that says that it was seen; empty if there is none."""
        known = select(receipts.c.reaction_id).where(self._receipt_of(message_id))
        return await self._storage.read(lambda tx: str(tx.scalar(known) or ""))

    async def receipt_shown(self, message_id: str, reaction_id: str) -> None:
        """The person sees this reaction."""
        values = {"reaction_id": reaction_id, "shown_at": self._clock.now()}
        row = insert(receipts).values(channel=self._channel, message_id=message_id, **values)
        same = row.on_conflict_do_update(index_elements=["channel", "message_id"], set_=values)
        await self._storage.write(lambda tx: tx.execute(same).rowcount)

    async def receipt_gone(self, message_id: str) -> None:
        """That reaction is not there any more."""
        gone = delete(receipts).where(self._receipt_of(message_id))
        await self._storage.write(lambda tx: tx.execute(gone).rowcount)

    def _receipt_of(self, message_id: str) -> ColumnElement[bool]:
        return and_(receipts.c.channel == self._channel, receipts.c.message_id == message_id)

    async def outcome_of(self, turn_id: str) -> tuple[str, Outcome] | None:
        """The message of a turn, as JSON, and what became of it, once that has been shown or given up."""
        ended = select(outbox.c.message, outbox.c.outcome).where(
            outbox.c.channel == self._channel, outbox.c.turn_id == turn_id, outbox.c.state != "pending"
        )

        def work(tx: Connection) -> tuple[str, Outcome] | None:
            row = tx.execute(ended).one_or_none()
            return (row.message, Outcome(row.outcome)) if row else None

        return await self._storage.read(work)

    async def ended_unseen(self) -> list[str]:
        """Turns that are over, whose message still says that it was seen: the process died in between."""
        waiting = select(receipts.c.message_id).where(receipts.c.channel == self._channel)
        known = select(outbox.c.turn_id, outbox.c.message).where(
            outbox.c.channel == self._channel, outbox.c.state != "pending"
        )

        def work(tx: Connection) -> list[str]:
            left = set(tx.scalars(waiting))
            if not left:
                return []
            return [row.turn_id for row in tx.execute(known) if any(each in row.message for each in left)]

        return await self._storage.read(work)

    async def prune(self, keep_s: float) -> None:
        """Forget what is older."""
        before = self._clock.now() - timedelta(seconds=keep_s)
        old = (
            delete(edits).where(edits.c.channel == self._channel, edits.c.edited_at < before),
            delete(receipts).where(receipts.c.channel == self._channel, receipts.c.shown_at < before),
        )
        await self._storage.write(lambda tx: [tx.execute(each).rowcount for each in old])
