"""How are cards and outcomes stored?

An outcome is inserted in the transaction that finishes its turn (`Outbox.post`); which of them is shown next is
decided by `mainstay.channels.outbox.lanes`.
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID, uuid5

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from mainstay.channels.characters import well_formed
from mainstay.channels.feishu.model import Card, Delivery, Offer, Offered, Via
from mainstay.channels.feishu.tables import cards, feedback, outbox
from mainstay.channels.outbox.lanes import Lanes
from mainstay.messages import Finished, Message, Outcome

__all__ = ["Outbox", "Standing"]

_PARTS = UUID("6d61696e-7374-4179-8000-706172747300")  # "mainstay parts": the namespace of further cards' keys

_turn = case((cards.c.part_of == "", cards.c.turn_id), else_=cards.c.part_of)
"""The turn that a card belongs to."""

_CARD = select(cards).where(cards.c.turn_id == bindparam("key"))
_CARDS = (
    select(cards)
    .where(or_(cards.c.turn_id == bindparam("turn_id"), cards.c.part_of == bindparam("turn_id")))
    .order_by(cards.c.part)
)
_THIS_CARD = update(cards).where(cards.c.turn_id == bindparam("key"), cards.c.card_id == bindparam("this"))
_ADD_CARD, _ADD_OUTCOME = insert(cards), insert(outbox)
_OUTCOME = select(outbox).where(outbox.c.turn_id == bindparam("turn_id"), outbox.c.channel == bindparam("channel"))
_ENDED = select(outbox.c.seq).where(outbox.c.turn_id == bindparam("turn_id"))

Standing = Literal["free", "held_up", "ended"]
"""``held_up``: an earlier outcome of the lane is not shown yet. ``ended``: the turn has its outcome already."""


class Outbox(Lanes[Delivery]):
    """The cards and outcomes of one channel. Every method but `post` raises StorageUnavailable; see `Lanes`.

    If two processes showed an outcome at the same time, the platform would merge the two: keys and sequences are
    derived.
    """

    table, waiting, shown = outbox, "pending", "delivered"
    forgotten = ("delivered",)

    def _read(self, row: Row[Any]) -> Delivery:
        return _delivery(row)

    async def card(self, turn_id: str, part: int = 0) -> Card | None:
        """The card of a turn, or of a part of its answer, if one was made."""
        return await self._storage.read(lambda tx: _card(tx, _key(turn_id, part)))

    async def cards(self, turn_id: str) -> list[Card]:
        """All cards that were made for a turn."""
        return await self._storage.read(lambda tx: _cards(tx, turn_id))

    async def add_card(self, turn_id: str, card_id: str, part: int = 0) -> Card:
        """Remember a card that was just made; returns the part's card, which is the one that was there first."""
        now, key = self._clock.now(), _key(turn_id, part)

        def work(tx: Connection) -> Card:
            known = _card(tx, key)
            if known is None:
                values = {"turn_id": key, "channel": self._channel, "card_id": card_id, "message_id": ""}
                parts = {"part_of": turn_id if part else "", "part": part}
                tx.execute(_ADD_CARD, {**values, **parts, "created_at": now})
                return Card(turn_id=turn_id, card_id=card_id, message_id="", created_at=now, key=key, part=part)
            if known.card_id:
                return known
            tx.execute(update(cards).where(cards.c.turn_id == key).values(card_id=card_id, created_at=now))
            return replace(known, card_id=card_id, created_at=now)

        return await self._storage.write(work)

    async def retire_card(self, card: Card) -> None:
        """It can not be written any more: another one is made in its place, and shown by another message."""
        this = {"key": card.key, "this": card.card_id}
        values = {"card_id": "", "message_id": "", "generation": card.generation + 1}
        retired = {**values, "retired": card.message_id or card.retired}
        await self._storage.write(lambda tx: tx.execute(_THIS_CARD, {**this, **retired}).rowcount)

    async def taken_back(self, card: Card) -> None:
        """Nobody sees the message any more that showed the card before this one."""
        this = cards.c.turn_id == card.key, cards.c.retired == card.retired
        await self._storage.write(lambda tx: tx.execute(update(cards).where(*this).values(retired="")).rowcount)

    async def other_cards(self, card: Card, message_ids: Collection[str]) -> set[str]:
        """Which of these messages show another card: of this turn, or of an earlier try at the same message."""
        query = select(cards.c.message_id).where(cards.c.message_id.in_(message_ids), cards.c.turn_id != card.key)
        return await self._storage.read(lambda tx: set(tx.execute(query).scalars()))

    async def card_sent(self, card: Card, message_id: str) -> None:
        """Remember the message that shows the card."""
        this = {"key": card.key, "this": card.card_id}
        await self._storage.write(lambda tx: tx.execute(_THIS_CARD, {**this, "message_id": message_id}).rowcount)

    async def turns_with_cards_left(self) -> list[str]:
        """The turns, oldest first, whose cards no outcome has closed, and none will that is there already."""
        query = select(_turn).where(self._is_left()).group_by(_turn).order_by(func.min(cards.c.created_at))
        return await self._storage.read(lambda tx: list(tx.execute(query).scalars()))

    async def cards_left(self, turn_id: str) -> list[Card]:
        """Those cards of one turn."""
        query = select(cards).where(self._is_left(), _turn == turn_id).order_by(cards.c.part)
        return await self._storage.read(lambda tx: [_read_card(row) for row in tx.execute(query)])

    async def forget_card(self, card: Card) -> None:
        """There is nothing to be done about it any more."""
        statement = delete(cards).where(cards.c.turn_id == card.key)
        await self._storage.write(lambda tx: tx.execute(statement).rowcount)

    def _is_left(self) -> ColumnElement[bool]:
        settled = select(outbox.c.turn_id).where(outbox.c.state != "dead")
        return and_(cards.c.channel == self._channel, _turn.not_in(settled))

    def post(
        self,
        tx: Connection,
        message: Message,
        *,
        turn_id: str,
        attempt: int,
        final: Finished,
        footer: str = "",
        suggestions: Sequence[str] = (),
    ) -> None:
        """Insert an outcome in the caller's transaction, leased to this process, which is about to show it."""
        now = self._clock.now()
        values = {
            "turn_id": turn_id,
            "channel": self._channel,
            "lane": message.lane,
            "attempt": attempt,
            "message": message.to_json(),
            "outcome": final.outcome.value,
            "text": well_formed(final.text),
            "notice": well_formed(final.notice),
            "state": self.waiting,
            "via": (Via.TEXT if message.notice else Via.CARD).value,
            "apologise": False,
            "tries": 0,
            "error": "",
            "created_at": now,
            "due_at": self._leased_until(),
            "offer": (Offer.MADE if final.offers_retry else Offer.NONE).value,
            "footer": well_formed(footer),
            "suggestions": json.dumps(suggestions),
        }
        tx.execute(_ADD_OUTCOME, values)

    async def offered(self, turn_id: str) -> Offered | None:
        """What this channel has stored about a turn's outcome; None if there is nothing (any more) to be read."""

        def work(tx: Connection) -> Offered | None:
            row = self._outcome_of(tx, turn_id)
            if row is None:
                return None
            return Offered(
                message=Message.from_json(row.message),
                offer=Offer(row.offer),
                created_at=row.created_at,
                card_message_id=next((card.message_id for card in reversed(_cards(tx, turn_id))), ""),
                suggestions=tuple(json.loads(row.suggestions)),
            )

        try:
            return await self._storage.read(work)
        except (ValueError, TypeError, KeyError):
            return None

    async def take_offer(self, turn_id: str) -> Delivery | None:
        """Write no card of this turn with its button any more; None when there is none to be withdrawn.

        The outcome that is returned counts as one more try to show it, so that its sequence is higher than that of
        every write with the button; one that is taken later has none.
        """

        def work(tx: Connection) -> Delivery | None:
            row = self._outcome_of(tx, turn_id)
            if row is None or row.offer not in (Offer.MADE, Offer.TAKEN):
                return None
            taken = {"offer": Offer.TAKEN.value, "tries": row.tries + 1}
            tx.execute(update(outbox).where(outbox.c.seq == row.seq).values(taken))
            return replace(_delivery(row), offer=Offer.TAKEN)

        return await self._storage.write(work)

    async def offer_withdrawn(self, turn_id: str) -> None:
        """The platform has the card without its button."""
        taken = outbox.c.turn_id == turn_id, outbox.c.offer == Offer.TAKEN.value
        statement = update(outbox).where(*taken).values(offer=Offer.WITHDRAWN.value)
        await self._storage.write(lambda tx: tx.execute(statement).rowcount)

    async def suggest(self, turn_id: str, suggestions: Sequence[str]) -> Delivery | None:
        """Have these offered under an answer; what is returned is to be written as `take_offer` has it."""

        def work(tx: Connection) -> Delivery | None:
            row = self._outcome_of(tx, turn_id)
            if row is None:
                return None
            values = {"suggestions": json.dumps(suggestions), "tries": row.tries + 1}
            tx.execute(update(outbox).where(outbox.c.seq == row.seq).values(values))
            return replace(_delivery(row), suggestions=tuple(suggestions))

        return await self._storage.write(work)

    def _outcome_of(self, tx: Connection, turn_id: str) -> Row[Any] | None:
        return tx.execute(_OUTCOME, {"turn_id": turn_id, "channel": self._channel}).one_or_none()

    async def dead(self, turn_id: str) -> Delivery | None:
        """The outcome of a turn that could not be shown, if there is one that can be read."""

        def work(tx: Connection) -> Delivery | None:
            row = self._outcome_of(tx, turn_id)
            return _delivery(row) if row is not None and row.state == "dead" else None

        try:
            return await self._storage.read(work)
        except (ValueError, TypeError, KeyError):
            return None

    async def make_due(self) -> None:
        """Whatever an earlier process left, whenever it meant to go on: now."""
        now = self._clock.now()
        statement = update(outbox).where(self._waiting()).values(due_at=now)
        await self._storage.write(lambda tx: tx.execute(statement).rowcount)

    async def degrade(self, seq: int, via: Via, *, apologise: bool, error: str) -> None:
        """From now on in this form."""
        await self._change(seq, via=via.value, apologise=apologise, error=error)

    async def text_begins(self, seq: int) -> None:
        """A try as post or text may reach the platform from now on."""
        await self._change(seq, text_since=self._clock.now())

    async def standing(self, lane: str, turn_id: str) -> Standing:
        """Whether a card of this turn may appear or be streamed to."""

        def work(tx: Connection) -> Standing:
            if tx.execute(_ENDED, {"turn_id": turn_id}).first() is not None:
                return "ended"
            return "free" if tx.execute(self._ahead, {"lane": lane}).first() is None else "held_up"

        return await self._storage.read(work)

    async def prune(self, keep_s: float) -> int:
        """Forget what was delivered longer ago than this, with its cards and opinions."""
        before = self._clock.now() - timedelta(seconds=keep_s)
        delivered = outbox.c.channel == self._channel, outbox.c.state == "delivered", outbox.c.ended_at < before
        old = select(outbox.c.turn_id).where(*delivered)
        await self._forget(cards.c.turn_id, select(cards.c.turn_id).where(_turn.in_(old)))
        gone = await super().prune(keep_s)
        late = feedback.c.channel == self._channel, feedback.c.turn_id.not_in(select(outbox.c.turn_id))
        await self._forget(feedback.c.turn_id, select(feedback.c.turn_id).where(*late).distinct())
        return gone

    async def prune_dead(self, keep_s: float) -> int:
        """Forget what could not be shown, longer ago than this; returns how many."""
        before = self._clock.now() - timedelta(seconds=keep_s)
        dead = outbox.c.channel == self._channel, outbox.c.state == "dead", outbox.c.ended_at < before
        return await self._forget(outbox.c.seq, select(outbox.c.seq).where(*dead))


def _key(turn_id: str, part: int) -> str:
    """What names a card, so that a part is sent once, however often it is tried."""
    return str(uuid5(_PARTS, f"{turn_id} {part}")) if part else turn_id


def _card(tx: Connection, key: str) -> Card | None:
    row = tx.execute(_CARD, {"key": key}).one_or_none()
    return _read_card(row) if row is not None else None


def _cards(tx: Connection, turn_id: str) -> list[Card]:
    return [_read_card(row) for row in tx.execute(_CARDS, {"turn_id": turn_id})]


def _read_card(row: Row[Any]) -> Card:
    return Card(
        turn_id=row.part_of or row.turn_id,
        card_id=row.card_id,
        message_id=row.message_id,
        created_at=row.created_at,
        key=row.turn_id,
        part=row.part,
        generation=row.generation,
        retired=row.retired,
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        seq=row.seq,
        turn_id=row.turn_id,
        attempt=row.attempt,
        message=Message.from_json(row.message),
        outcome=Outcome(row.outcome),
        text=row.text,
        notice=row.notice,
        via=Via(row.via),
        apologise=row.apologise,
        tries=row.tries + 1,
        created_at=row.created_at,
        text_since=row.text_since,
        offer=Offer(row.offer),
        footer=row.footer,
        suggestions=tuple(json.loads(row.suggestions)),
    )
