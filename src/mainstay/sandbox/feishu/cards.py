"""May this operation on a card entity happen, and what does the card show after it?

CardKit, decided from the request and the time alone. Every operation but creation carries a sequence number that
must be higher than any before it, whatever the operation.
"""

import copy
import itertools
import random
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from mainstay.sandbox.feishu import cardtext, elements
from mainstay.sandbox.feishu.elements import Change
from mainstay.sandbox.feishu.model import Card, Json, Moment, Refusal

__all__ = ["CardKit"]

_STREAMING_S = 600.0
_LIFE_S = 14 * 86400.0
_MAX_TEXT = 100_000
_MAX_INT32 = 2**31 - 1
_HISTORY_CHARS = 32_000_000


def _invalid(what: str) -> Refusal:
    return Refusal(10002, f"Your request contains an invalid request parameter. {what}")


class CardKit:
    """All card entities."""

    def __init__(self, rng: random.Random) -> None:
        self.cards: dict[str, Card] = {}
        self._with_history: deque[Card] = deque()
        self._history_chars = 0
        self._numbers = itertools.count(rng.randrange(7_000_000_000_000_000_000, 7_900_000_000_000_000_000))

    def create(self, body: Json, now: Moment, *, pressable: bool = False) -> Card:
        """``POST /cardkit/v1/cards``."""
        if body.get("type") != "card_json":
            raise _invalid("type")
        content = cardtext.parse(body.get("data"))
        cardtext.check_v2(content, pressable=pressable)
        card = Card(
            card_id=str(next(self._numbers)),
            content=content,
            created_at_s=now.platform_s,
            opened_at_s=now.platform_s,
            streaming=cardtext.wants_streaming(content) is True,
        )
        if card.streaming:
            card.opened_with = cardtext.words(content)[0]
        self._with_history.append(card)
        self._remember(card, 0, now)
        self.cards[card.card_id] = card
        return card

    def find(self, card_id: str, now: Moment) -> Card:
        """The living card of that id. Raises Refusal 200740 or 200750."""
        card = self.cards.get(card_id)
        if card is None:
            raise Refusal(200740, "The card entity does not exist")
        if now.platform_s - card.created_at_s > _LIFE_S:
            raise Refusal(200750, "The card entity has expired")
        self.settle(card, now)
        return card

    def settle(self, card: Card, now: Moment) -> bool:
        """End the streaming of a card that was opened 10 minutes ago; returns whether the platform ended it."""
        if card.streaming and now.platform_s - card.opened_at_s >= _STREAMING_S:
            card.streaming, card.timed_out, card.timeout_told = False, True, False
        return card.timed_out

    def stream(self, card: Card, element_id: str, body: Json, now: Moment) -> None:
        """``PUT …/elements/:element_id/content``: the whole text so far."""
        text = body.get("content")
        if not isinstance(text, str) or not 1 <= len(text) <= _MAX_TEXT:
            raise _invalid("content")
        sequence, uuid = self._admit(card, body)
        if card.timed_out and not card.timeout_told:
            card.timeout_told = True
            raise Refusal(200850, "Card streaming timeout")
        if not card.streaming:
            raise Refusal(300309, "ErrMsg: streaming mode is closed; ")
        target = _find_element(card.content, element_id)
        if target.tag not in {"markdown", "plain_text"}:
            raise Refusal(300310, "Only update text")
        before = target.node.get("content")
        target.node["content"] = text
        try:
            cardtext.check_size(card.content)
            cardtext.check_tables(card.content)
        except Refusal:
            target.node["content"] = before
            raise
        self._done(card, sequence, uuid, now)

    def settings(self, card: Card, body: Json, now: Moment, *, pressable: bool = False) -> None:
        """``PATCH …/settings``: switch streaming on or off, set the summary."""
        settings = cardtext.parse(body.get("settings"))
        config = settings.get("config")
        if not isinstance(config, dict):
            raise _invalid("settings")
        sequence, uuid = self._admit(card, body)
        cardtext.check_still(card.content, streaming=cardtext.wants_streaming(settings) is True and not pressable)
        current = card.content.get("config")
        card.content["config"] = {**(current if isinstance(current, dict) else {}), **config}
        self._set_streaming(card, now, wanted=cardtext.wants_streaming(settings))
        self._done(card, sequence, uuid, now)

    def replace(self, card: Card, body: Json, now: Moment, *, pressable: bool = False) -> None:
        """``PUT /cardkit/v1/cards/:card_id``: another card in the place of this one."""
        given = body.get("card")
        if not isinstance(given, dict) or given.get("type") != "card_json":
            raise _invalid("card")
        content = cardtext.parse(given.get("data"))
        cardtext.check_v2(content, pressable=pressable)
        sequence, uuid = self._admit(card, body)
        card.content = content
        self._set_streaming(card, now, wanted=cardtext.wants_streaming(content) is True)
        self._done(card, sequence, uuid, now)

    def change(
        self, card: Card, body: Json, changes: Sequence[Change], now: Moment, *, pressable: bool = False
    ) -> None:
        """Parts of the card become other ones: all that are asked for, or none."""
        sequence, uuid = self._admit(card, body)
        content = copy.deepcopy(card.content)
        wanted = elements.apply(content, changes)
        cardtext.check_v2(content, pressable=pressable)
        card.content = content
        self._set_streaming(card, now, wanted=wanted)
        self._done(card, sequence, uuid, now)

    def attach(self, card_id: str, now: Moment) -> Card:
        """The card that a message is about to show; raises Refusal 230099 if it is unknown, or was sent before."""
        try:
            card = self.find(card_id, now)
        except Refusal as why:
            raise Refusal(230099, _not_created(why.code, why.message)) from None
        if card.message_id:
            raise Refusal(230099, _not_created(200780, "the card entity can only be sent once"))
        return card

    @contextmanager
    def interaction(self, card_id: str) -> Iterator[None]:
        """While a person's press on the card is being answered, the bot can not change the card."""
        card = self.cards.get(card_id)
        if card is None:
            yield
            return
        card.interacting = True
        try:
            yield
        finally:
            card.interacting = False

    def answered(self, card_id: str, content: Json, now: Moment) -> None:
        """The bot answers a press with another card. It is shown unless the card streams, or it is none."""
        card = self.cards.get(card_id)
        if card is None or card.streaming:
            return
        with suppress(Refusal):
            cardtext.check_v2(content)
            card.content = content
            self._remember(card, card.sequence, now)

    def _admit(self, card: Card, body: Json) -> tuple[int, str]:
        sequence, uuid = body.get("sequence"), body.get("uuid", "")
        if not isinstance(sequence, int) or isinstance(sequence, bool) or not 1 <= sequence <= _MAX_INT32:
            raise _invalid("sequence")
        if not isinstance(uuid, str) or len(uuid) > 64:
            raise _invalid("uuid")
        if uuid and uuid in card.uuids:
            raise Refusal(200770, "UUID conflict")
        if sequence <= card.sequence:
            raise Refusal(300317, "ErrMsg: sequence number compare failed; ")
        if card.interacting:
            raise Refusal(200810, "The card is in an ongoing interaction and cannot be updated")
        return sequence, uuid

    def _done(self, card: Card, sequence: int, uuid: str, now: Moment) -> None:
        card.sequence = sequence
        if uuid:
            card.uuids.add(uuid)
        self._remember(card, sequence, now)

    def _remember(self, card: Card, sequence: int, now: Moment) -> None:
        """Note what is shown; beyond the bound the oldest cards keep only their first and last text."""
        said = cardtext.words(card.content)[0]
        if card.history and card.history[-1][2] == said:
            return
        card.history.append((now.real_s, sequence, said))
        self._history_chars += len(said)
        while self._history_chars > _HISTORY_CHARS and self._with_history:
            oldest = self._with_history.popleft()
            self._history_chars -= sum(len(text) for _, _, text in oldest.history[1:-1])
            del oldest.history[1:-1]

    def _set_streaming(self, card: Card, now: Moment, *, wanted: bool | None) -> None:
        if wanted is None:
            return
        card.streaming, card.timed_out = wanted, False
        if wanted:
            card.opened_at_s = now.platform_s


def _not_created(code: int, message: str) -> str:
    return f"Failed to create card content, ext=ErrCode: {code}; ErrMsg: {message}; ErrorValue: card_id; "


def _find_element(content: Json, element_id: str) -> cardtext.Element:
    node = next((each for each in cardtext.tagged(content) if each.get("element_id") == element_id), None)
    if node is None:
        raise Refusal(300313, "ErrMsg: element not exist; ")
    return cardtext.Element(element_id, str(node.get("tag")), "", node, action=False)
