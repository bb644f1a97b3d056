"""How does a card, or an outcome, get in front of the person?

Each step can be done again: a card's id is stored before the card is sent; the key of a message derives from the
turn and the part, so that within the platform's hour of memory a message is not sent twice; later the chat's
history is asked first. An outcome is written to its card as a whole, in one request that also ends the streaming,
so there is no moment at which half of it is shown. One that needs several cards is written from the first to the
last, and each but the last says that it goes on below.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import orjson

from mainstay.bus import Bus
from mainstay.channels.feishu.buttons import feedback_buttons, retry_button, suggestions
from mainstay.channels.feishu.card import ended_card, final_cards, fits, outcome_text, post_message, text_message
from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.machine import Action
from mainstay.channels.feishu.model import Card, Delivery, FeishuSettings, Offer, Via
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.feishu.streaming import LAST_SEQUENCE, final_sequence, replaceable
from mainstay.channels.feishu.wording import NOTHING_MORE, NOTHING_MORE_BELOW
from mainstay.clock import Clock
from mainstay.events import CardCreated, CardSent
from mainstay.messages import Message, Outcome
from mainstay.recovery.notices import language_of

__all__ = ["Courier"]

_KEY_LIFE: Final = timedelta(minutes=50)
"""The platform knows a message's key for an hour; the rest is for clocks and for a slow last request."""
_RETRACT_TRIES: Final = 5


class Courier:
    """Shows cards and outcomes; raises `Refused` and StorageUnavailable.

    Attributes:
        may_stream_buttons: whether a card that is being written gets a button, until the platform refuses that.
    """

    def __init__(
        self, settings: FeishuSettings, client: FeishuClient, outbox: Outbox, *, bus: Bus, clock: Clock
    ) -> None:
        self._settings = settings
        self.may_stream_buttons = settings.stop_button
        self._client = client
        self._outbox = outbox
        self._bus = bus
        self._clock = clock

    async def create(self, turn_id: str, content: str, part: int = 0) -> tuple[Card, bool]:
        """Make the card of a turn, or of a part of its answer; False when another worker's was there first."""
        card_id = await self._client.create_card(content)
        card = await self._outbox.add_card(turn_id, card_id, part)
        ours = card.card_id == card_id
        if ours:
            self._bus.emit(CardCreated(turn_id=turn_id))
        return card, ours

    async def show(self, card: Card, message: Message) -> Card:
        """Send the card, unless the person has it; first take back the one that it stands for."""
        if card.retired:
            await self._delete(card.retired)
            await self._outbox.taken_back(card)
            card = replace(card, retired="")
        if card.message_id:
            return card
        message_id = ""
        if self._clock.now() - card.created_at > _KEY_LIFE:
            found = await self._looked_up(card, message) or await self._looked_up(card, message, in_chat=True)
            message_id = next(iter(found), "")
        if not message_id:
            message_id = await self._client.reply_with_card(message, card.card_id, key=card.message_key)
        await self._outbox.card_sent(card, message_id)
        self._bus.emit(CardSent(turn_id=card.turn_id))
        return replace(card, message_id=message_id)

    async def _looked_up(self, card: Card, message: Message, *, in_chat: bool = False) -> list[str]:
        """The messages that may show this card, as the history has them: replies, or those that are none."""
        look = self._client.said_to_chat if in_chat else self._client.replies
        replies = await look(message, card.created_at)
        found = [each.message_id for each in replies if each.msg_type == "interactive"]
        others = await self._outbox.other_cards(card, found)
        return [message_id for message_id in found if message_id not in others]

    async def deliver(self, delivery: Delivery) -> Via:
        """Show an outcome; returns how."""
        said = "\n\n".join(part for part in _said(delivery) if part)
        if delivery.via is Via.CARD:
            for part, content in enumerate(self._cards(delivery)):
                await self._on_card(delivery, part, content)
            return Via.CARD
        if delivery.via is Via.POST:
            post = post_message(said)
            if fits(post):
                await self._as_message(delivery, Via.POST, post)
                return Via.POST
            await self._outbox.degrade(
                delivery.seq, Via.TEXT, apologise=delivery.apologise, error="too long for a post"
            )
        await self._as_message(delivery, Via.TEXT, text_message(said, language_of(delivery.message.text)))
        return Via.TEXT

    async def withdraw(self, turn_id: str) -> None:
        """Show a failed turn's card without its button, because another try was accepted."""
        delivery = await self._outbox.take_offer(turn_id)
        if delivery is not None and await self._rewrite(delivery):
            await self._outbox.offer_withdrawn(turn_id)

    async def suggest(self, turn_id: str, texts: Sequence[str]) -> None:
        """Show these questions under an answer that was shown without them."""
        delivery = await self._outbox.suggest(turn_id, texts)
        if delivery is not None and delivery.via is Via.CARD:
            await self._rewrite(delivery)

    async def renew(self, card: Card, message: Message) -> None:
        """Have another card made in the place of one that can not be written any more."""
        if not card.message_id:  # it may have been sent all the same; then sending it again tells where it is
            try:
                card = await self.show(card, message)
            except Refused as refused:
                if refused.refusal.action is Action.WAIT:
                    raise
        await self._outbox.retire_card(card)

    async def close(self, card: Card, *, goes_on: bool = False) -> None:
        """Say on a card that nothing more will come, for good: no worker can write it after that.

        What there is of the answer stays above it, if it can be read and the platform takes it. ``goes_on``: the
        person sees the next card, too, which says it.
        """
        if card.retired:
            await self._delete(card.retired)
        if not card.card_id:
            return
        kept = await self._kept(card, goes_on=goes_on)
        if kept:
            try:
                await self._client.replace_card(card.card_id, kept, LAST_SEQUENCE - 1)
            except Refused as refused:
                if refused.refusal.action not in (Action.DEGRADE, Action.APOLOGISE):
                    raise
            else:
                return
        [content] = final_cards("", NOTHING_MORE)
        await self._client.replace_card(card.card_id, content, LAST_SEQUENCE)

    async def _kept(self, card: Card, *, goes_on: bool) -> str:
        """The card as it ends, with its part of the answer; empty if that is not known, or may not be shown."""
        delivery = await self._outbox.dead(card.turn_id)
        if delivery is None or not delivery.text or delivery.apologise:
            return ""
        parts = self._cards(delivery)[card.part :]
        if goes_on and len(parts) > 1:
            return parts[0]
        return ended_card(parts[0], NOTHING_MORE_BELOW) if parts else ""

    async def _delete(self, message_id: str) -> None:
        """Take a message back, if the platform ever lets us."""
        try:
            await self._client.delete(message_id)
        except Refused as refused:
            if refused.refusal.action is Action.WAIT:
                raise

    async def _rewrite(self, delivery: Delivery) -> bool:
        """Write the last card of an outcome once more; False if there is none."""
        cards = await self._outbox.cards(delivery.turn_id)
        if not cards or not cards[-1].card_id:
            return False
        await self._write(cards[-1], delivery, self._cards(delivery)[-1])
        return True

    async def _on_card(self, delivery: Delivery, part: int, content: str) -> None:
        card = await self._outbox.card(delivery.turn_id, part)
        if card is None or not card.card_id or not await self._is_written(card, delivery, content):
            card, ours = await self.create(delivery.turn_id, content, part)
            if not ours:
                await self._write(card, delivery, content)
        await self.show(card, delivery.message)

    async def _is_written(self, card: Card, delivery: Delivery, content: str) -> bool:
        """Write a card; False if it gives way to another one."""
        try:
            await self._write(card, delivery, content)
        except Refused as refused:
            if not replaceable(refused.refusal, card.generation):
                raise
            await self.renew(card, delivery.message)
            return False
        return True

    async def _write(self, card: Card, delivery: Delivery, content: str) -> None:
        sequence = final_sequence(delivery.attempt, delivery.tries)
        await self._client.replace_card(card.card_id, content, sequence)

    def _cards(self, delivery: Delivery) -> list[str]:
        language = language_of(delivery.message.text)
        buttons = suggestions(delivery.turn_id, delivery.suggestions)
        if delivery.offer is Offer.MADE:
            buttons.append(retry_button(delivery.turn_id, language))
        if self._settings.feedback and delivery.outcome is Outcome.ANSWERED:
            buttons.append(feedback_buttons(delivery.turn_id))
        return final_cards(*_said(delivery), footer=delivery.footer, buttons=buttons, language=language)

    async def _as_message(self, delivery: Delivery, via: Via, content: str) -> None:
        """Answer in a message of its own, then take back the cards, so that the person sees one outcome."""
        since = delivery.text_since
        if since is None:
            await self._outbox.text_begins(delivery.seq)
        if since is None or not await self._said_before(delivery, content):
            key = f"{delivery.turn_id}.{'sorry' if delivery.apologise else via.value}"
            await self._client.reply_with(delivery.message, via.value, content, key)
        await self._retract(delivery)

    async def _said_before(self, delivery: Delivery, content: str) -> bool:
        since = delivery.text_since
        if since is None or self._clock.now() - since <= _KEY_LIFE:
            return False
        wanted = _gist(content)
        replies = await self._client.replies(delivery.message, since)
        replies += await self._client.said_to_chat(delivery.message, since)
        return any(each.msg_type in (Via.POST, Via.TEXT) and _gist(each.content) == wanted for each in replies)

    async def _retract(self, delivery: Delivery) -> None:
        try:
            for card in await self._outbox.cards(delivery.turn_id):
                sent = [card.message_id] if card.message_id else await self._looked_up(card, delivery.message)
                for message_id in filter(None, [*sent, card.retired]):
                    await self._delete(message_id)
        except Refused as refused:
            if refused.refusal.action is Action.WAIT and delivery.tries < _RETRACT_TRIES:
                raise


def _said(delivery: Delivery) -> tuple[str, str]:
    language = language_of(delivery.message.text)
    return outcome_text(
        delivery.outcome, delivery.text, delivery.notice, apologise=delivery.apologise, language=language
    )


def _gist(content: str) -> str:
    """The letters of a message's texts: what the platform leaves of a post when it is read back."""
    try:
        parsed = orjson.loads(content)
    except orjson.JSONDecodeError:
        return ""
    text = "".join(_texts(parsed))
    return "".join(char for char in text if char.isalnum()) or text


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _texts(each)
    elif isinstance(node, dict):
        for key, each in node.items():
            if key == "text" and isinstance(each, str):
                yield each
            else:
                yield from _texts(each)
