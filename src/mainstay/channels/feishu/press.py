"""What does a press on a card ask for, may it be done, and what is the person told?

There is one button: another try at a turn that has failed. What it carries is taken for a wish and never for the
truth: it names a turn, and what is tried again is read from our own storage. Anybody in the chat may press it; who
asked stays who asked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal

from mainstay.channels.feishu.envelope import Json, mapping_at, text_at
from mainstay.channels.feishu.model import Offer, Offered
from mainstay.messages import Message
from mainstay.recovery.notices import Language

__all__ = [
    "PRESSES",
    "Already",
    "Dropped",
    "Press",
    "Told",
    "answer",
    "other_try",
    "read_press",
    "retry_button",
]

PRESSES: Final = ("card.action.trigger", "card.action.trigger_v1")
"""The events that a press comes as; the second one in the older form, without parts around it."""

_RETRY: Final = "retry"
_LABELS: Final[Mapping[Language, str]] = {"en": "Try again", "zh": "重试"}


class Told(StrEnum):
    """What the person who pressed is told."""

    TRYING = "trying"
    ALREADY = "already"
    NO_MORE = "no_more"
    NOT_NOW = "not_now"


_TOASTS: Final[Mapping[Told, tuple[str, str, str]]] = {
    Told.TRYING: ("info", "Trying again…", "正在重试……"),
    Told.ALREADY: ("info", "Somebody has asked for that already.", "已经有人点过重试了。"),
    Told.NO_MORE: ("warning", "This can not be tried again any more.", "这条消息已无法重试。"),
    Told.NOT_NOW: ("error", "That did not work. Please press again in a moment.", "操作未成功，请稍后再点一次。"),
}
"""The kind of message, and its text in English and Chinese."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """Somebody pressed the button of this turn.

    Attributes:
        chat_id: where; the older form does not say it, and then it is empty.
        message_id: the message on whose card it was pressed.
    """

    turn_id: str
    chat_id: str
    message_id: str


@dataclass(frozen=True, slots=True)
class Already:
    """The other try was accepted before."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """There is no other try; the reason is what is counted."""

    reason: Literal[
        "press_unreadable", "press_unknown_turn", "press_elsewhere", "press_not_offered", "press_too_late"
    ]


def retry_button(turn_id: str, language: Language) -> Json:
    """The element of a card that asks for another try."""
    return {
        "tag": "button",
        "element_id": "retry",
        "text": {"tag": "plain_text", "content": _LABELS[language]},
        "type": "primary",
        "behaviors": [{"type": "callback", "value": {"action": _RETRY, "turn": turn_id}}],
    }


def read_press(event: Json) -> Press | None:
    """Read a press in either of its forms; None if it is not on a button of ours."""
    value = mapping_at(event, "action", "value")
    turn_id = text_at(value, "turn")
    if text_at(value, "action") != _RETRY or not turn_id:
        return None
    return Press(
        turn_id=turn_id,
        chat_id=text_at(event, "context", "open_chat_id") or text_at(event, "open_chat_id"),
        message_id=text_at(event, "context", "open_message_id") or text_at(event, "open_message_id"),
    )


def other_try(
    press: Press, known: Offered | None, *, now: datetime, window_s: float
) -> Message | Already | Dropped:
    """The message to accept, so that the turn that was pressed is tried again; or why there is none.

    Args:
        press: what was pressed.
        known: what our storage has about that turn.
        now: the wall time.
        window_s: how long after its failure a turn may be tried again.
    """
    if known is None:
        return Dropped("press_unknown_turn")
    if not _at_home(press, known):
        return Dropped("press_elsewhere")
    if known.offer is Offer.NONE:
        return Dropped("press_not_offered")
    if known.offer is not Offer.MADE:
        return Already()
    if now - known.created_at > timedelta(seconds=window_s):
        return Dropped("press_too_late")
    return known.message.again()


def _at_home(press: Press, known: Offered) -> bool:
    """Whether it was pressed in the chat of the message: a card can be forwarded, and an id be guessed."""
    if press.chat_id:
        return press.chat_id == known.message.chat_id
    return bool(press.message_id) and press.message_id == known.card_message_id


def answer(told: Told) -> Json:
    """What the platform shows to who pressed, in the language of their client; nobody else sees it."""
    kind, english, chinese = _TOASTS[told]
    return {"toast": {"type": kind, "content": english, "i18n": {"en_us": english, "zh_cn": chinese}}}
