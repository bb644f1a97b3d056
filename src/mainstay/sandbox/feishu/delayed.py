"""May a card that was pressed be changed by the token of that press?

``POST /interactive/v1/card/update``, as its documentation has it: within 30 minutes, twice, and only after the
press was answered; what comes before is undone by the answer. The card is one that all share, or else names the
people who are to see the change; who they are makes no difference here, where everybody sees the same.
"""

from dataclasses import dataclass

from mainstay.sandbox.feishu.messages import Messages
from mainstay.sandbox.feishu.model import Json, Moment, Refusal

__all__ = ["Delayed"]

_LIFE_S = 1800.0
_MOST_UPDATES = 2


@dataclass(slots=True)
class _Token:
    message_id: str
    given_at_s: float
    answered: bool = False
    updates: int = 0


class Delayed:
    """The tokens of presses that may still be of use."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._tokens: dict[str, _Token] = {}

    def pressed(self, token: str, message_id: str, now: Moment) -> None:
        """The bot is being told of a press, with this token."""
        self._tokens = {key: each for key, each in self._tokens.items() if _is_good(each, now)}
        self._tokens[token] = _Token(message_id, now.platform_s)

    def answered(self, token: str) -> None:
        """The bot has answered the press."""
        self._tokens[token].answered = True

    def update(self, body: Json, now: Moment) -> str:
        """Another card in the place of the one that was pressed; returns the message's id. Raises Refusal."""
        token, card = body.get("token"), body.get("card")
        if not isinstance(token, str) or not token.startswith("c-"):
            raise Refusal(300020, "the token is malformed")
        known = self._tokens.get(token)
        if known is None or not _is_good(known, now):
            raise Refusal(300030, "the token is invalid or has expired")
        if known.updates >= _MOST_UPDATES:
            raise Refusal(300040, "the token was used too often")
        if not isinstance(card, dict):
            raise Refusal(10002, "the card is invalid")
        _check_readers(card)
        if self._messages.messages[known.message_id].deleted:
            raise Refusal(200000, "the message was recalled")
        content = {key: value for key, value in card.items() if key != "open_ids"}
        if known.answered:
            self._messages.pressed(known.message_id, content, now)
        known.updates += 1
        return known.message_id


def _is_good(token: _Token, now: Moment) -> bool:
    return now.platform_s - token.given_at_s <= _LIFE_S


def _check_readers(card: Json) -> None:
    """A card of schema 2.0 is shared by all unless it says otherwise, one of schema 1.0 only if it says so."""
    config, readers = card.get("config"), card.get("open_ids")
    shared = config.get("update_multi") if isinstance(config, dict) else None
    if shared is True or (shared is None and card.get("schema") == "2.0"):
        return
    if readers is None:
        raise Refusal(300090, "open_ids are missing")
    if not isinstance(readers, list) or not readers or not all(isinstance(each, str) for each in readers):
        raise Refusal(200320, "open_ids are invalid")
