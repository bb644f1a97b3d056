"""How does a card, or an outcome, get in front of the person?

Each step can be done again: a card's id is stored before the card is sent; the key of a message derives from the
turn, so that within the platform's hour of memory a message is not sent twice; later the chat's history is asked
first. An outcome is written to its card as a whole, in one request that also ends the streaming, so there is no
moment at which half of it is shown.
"""

from dataclasses import replace
from datetime import timedelta
from typing import Final

import orjson

from mainstay.bus import Bus
from mainstay.channels.feishu.card import final_card, fits, outcome_text, text_message
from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.envelope import text_at
from mainstay.channels.feishu.machine import Action, final_sequence
from mainstay.channels.feishu.model import Card, Delivery, Offer, Via
from mainstay.channels.feishu.press import retry_button
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.clock import Clock
from mainstay.events import CardCreated, CardSent
from mainstay.messages import Message
from mainstay.recovery.notices import language_of

__all__ = ["Courier"]

_KEY_LIFE: Final = timedelta(minutes=50)
"""The platform knows a message's key for an hour; the rest is for clocks and for a slow last request."""
_RETRACT_TRIES: Final = 5


class Courier:
    """Shows cards and outcomes; raises `Refused` and StorageUnavailable."""

    def __init__(self, client: FeishuClient, outbox: Outbox, *, bus: Bus, clock: Clock) -> None:
        self._client = client
        self._outbox = outbox
        self._bus = bus
        self._clock = clock

    async def create(self, turn_id: str, content: str) -> tuple[Card, bool]:
        """Make the turn's card; False when another worker's card was there first, and is the turn's card."""
        card_id = await self._client.create_card(content)
        card = await self._outbox.add_card(turn_id, card_id)
        ours = card.card_id == card_id
        if ours:
            self._bus.emit(CardCreated(turn_id=turn_id))
        return card, ours

    async def show(self, card: Card, message: Message) -> Card:
        """Send the card, unless the person has it."""
        if card.message_id:
            return card
        message_id = ""
        if self._clock.now() - card.created_at > _KEY_LIFE:
            found = await self._looked_up(card, message) or await self._looked_up(card, message, in_chat=True)
            message_id = next(iter(found), "")
        if not message_id:
            message_id = await self._client.reply_with_card(message, card.card_id, key=card.turn_id)
        await self._outbox.card_sent(card.turn_id, message_id)
        self._bus.emit(CardSent(turn_id=card.turn_id))
        return replace(card, message_id=message_id)

    async def _looked_up(self, card: Card, message: Message, *, in_chat: bool = False) -> list[str]:
        """The messages that may show this card, as the history has them: replies, or those that are none."""
        look = self._client.said_to_chat if in_chat else self._client.replies
        replies = await look(message, card.created_at)
        found = [each.message_id for each in replies if each.msg_type == "interactive"]
        others = await self._outbox.cards_of_others(card.turn_id, found)
        return [message_id for message_id in found if message_id not in others]

    async def deliver(self, delivery: Delivery) -> Via:
        """Show an outcome; returns how."""
        if delivery.via is Via.CARD:
            content = _card(delivery)
            if fits(content):
                await self._on_card(delivery, content)
                return Via.CARD
            await self._outbox.degrade(delivery.seq, apologise=delivery.apologise, error="too long for a card")
        await self._as_text(delivery)
        return Via.TEXT

    async def withdraw(self, turn_id: str) -> None:
        """Show a failed turn's card without its button, because another try was accepted."""
        delivery = await self._outbox.take_offer(turn_id)
        card = await self._outbox.card(turn_id)
        if delivery is None or card is None:
            return
        sequence = final_sequence(delivery.attempt, delivery.tries)
        await self._client.replace_card(card.card_id, _card(delivery), sequence)
        await self._outbox.offer_withdrawn(turn_id)

    async def _on_card(self, delivery: Delivery, content: str) -> None:
        card = await self._outbox.card(delivery.turn_id)
        written = False
        if card is None:
            card, written = await self.create(delivery.turn_id, content)
        if not written:
            sequence = final_sequence(delivery.attempt, delivery.tries)
            await self._client.replace_card(card.card_id, content, sequence)
        await self.show(card, delivery.message)

    async def _as_text(self, delivery: Delivery) -> None:
        """Answer in a plain message, then take back the card, so that the person sees one outcome and not two."""
        content = text_message("\n\n".join(part for part in _said(delivery) if part))
        since = delivery.text_since
        if since is None:
            await self._outbox.text_begins(delivery.seq)
        if since is None or not await self._said_before(delivery, content):
            key = f"{delivery.turn_id}.{'sorry' if delivery.apologise else 'text'}"
            await self._client.reply_with_text(delivery.message, content, key)
        await self._retract(delivery)

    async def _said_before(self, delivery: Delivery, content: str) -> bool:
        since = delivery.text_since
        if since is None or self._clock.now() - since <= _KEY_LIFE:
            return False
        wanted = text_at(orjson.loads(content), "text")
        replies = await self._client.replies(delivery.message, since)
        replies += await self._client.said_to_chat(delivery.message, since)
        return any(each.msg_type == "text" and _text_of(each.content) == wanted for each in replies)

    async def _retract(self, delivery: Delivery) -> None:
        card = await self._outbox.card(delivery.turn_id)
        if card is None:
            return
        try:
            sent = [card.message_id] if card.message_id else await self._looked_up(card, delivery.message)
            for message_id in sent:
                await self._client.delete(message_id)
        except Refused as refused:
            if refused.refusal.action is Action.WAIT and delivery.tries < _RETRACT_TRIES:
                raise


def _card(delivery: Delivery) -> str:
    offered = delivery.offer is Offer.MADE
    button = retry_button(delivery.turn_id, language_of(delivery.message.text)) if offered else None
    return final_card(*_said(delivery), button=button)


def _said(delivery: Delivery) -> tuple[str, str]:
    return outcome_text(delivery.outcome, delivery.text, delivery.notice, apologise=delivery.apologise)


def _text_of(content: str) -> str:
    try:
        return text_at(orjson.loads(content), "text")
    except orjson.JSONDecodeError:
        return ""
