"""What does a press on a card ask for, may it be done, and what is the person told?

What it carries is taken for a wish and never for the truth: it names a turn, and what is tried again, asked or
judged is read from our own storage. Anybody in the chat may press; only to stop an answer is for who asked. Who
asked stays who asked when something is tried again; a question that was suggested is asked by who presses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Literal, get_args

from mainstay.channels.feishu.envelope import Json, mapping_at, text_at
from mainstay.channels.feishu.model import Offer, Offered
from mainstay.messages import Message

__all__ = [
    "PRESSES",
    "Already",
    "Dropped",
    "Press",
    "Told",
    "Vote",
    "answer",
    "at_home",
    "follow_up",
    "other_try",
    "read_press",
    "vote_of",
]

PRESSES: Final = ("card.action.trigger", "card.action.trigger_v1")
"""The events that a press comes as; the second one in the older form, without parts around it."""

Wish = Literal["retry", "ask", "feedback", "stop"]
Vote = Literal["up", "down"]
_WISHES: Final[tuple[Wish, ...]] = get_args(Wish)
_VOTES: Final[tuple[Vote, ...]] = get_args(Vote)


class Told(StrEnum):
    """What the person who pressed is told."""

    TRYING = "trying"
    ASKING = "asking"
    ALREADY = "already"
    THANKS = "thanks"
    STOPPING = "stopping"
    NO_MORE = "no_more"
    OVER = "over"
    NOT_YOURS = "not_yours"
    NOT_NOW = "not_now"


_TOASTS: Final[Mapping[Told, tuple[str, str, str]]] = {
    Told.TRYING: ("info", "Trying again…", "正在重试……"),
    Told.ASKING: ("info", "Asking…", "正在提问……"),
    Told.ALREADY: ("info", "Somebody has asked for that already.", "已经有人点过了。"),
    Told.THANKS: ("success", "Thank you.", "感谢反馈。"),
    Told.STOPPING: ("success", "Stopping…", "正在停止……"),
    Told.NO_MORE: ("warning", "This can not be tried again any more.", "这条消息已无法重试。"),
    Told.OVER: ("warning", "That is over already.", "已经结束，无法操作。"),
    Told.NOT_YOURS: ("warning", "Only who asked can stop the answer.", "只有提问者可以停止回答。"),
    Told.NOT_NOW: ("error", "That did not work. Please press again in a moment.", "操作未成功，请稍后再点一次。"),
}
"""The kind of message, and its text in English and Chinese. An ``info`` promises something, a ``success`` is it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """Somebody pressed a button of this turn.

    Attributes:
        wish: what for.
        choice: which of several: the number of a question, or a vote.
        person: who; empty if the platform does not say it.
        chat_id: where; the older form does not say it, and then it is empty.
        message_id: the message on whose card it was pressed.
    """

    turn_id: str
    chat_id: str
    message_id: str
    wish: Wish = "retry"
    choice: str = ""
    person: str = ""


@dataclass(frozen=True, slots=True)
class Already:
    """The other try was accepted before."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """It leads to nothing; the reason is what is counted."""

    reason: Literal[
        "press_unreadable", "press_unknown_turn", "press_elsewhere", "press_not_offered", "press_too_late"
    ]


def read_press(event: Json) -> Press | None:
    """Read a press in either of its forms; None if it is not on a button of ours."""
    value = mapping_at(event, "action", "value")
    turn_id, action = text_at(value, "turn"), text_at(value, "action")
    wish = next((wish for wish in _WISHES if wish == action), None)
    if wish is None or not turn_id:
        return None
    return Press(
        turn_id=turn_id,
        chat_id=text_at(event, "context", "open_chat_id") or text_at(event, "open_chat_id"),
        message_id=text_at(event, "context", "open_message_id") or text_at(event, "open_message_id"),
        wish=wish,
        choice=text_at(value, "choice"),
        person=text_at(event, "operator", "open_id") or text_at(event, "open_id"),
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
    if not at_home(press, known.message, known.card_message_id):
        return Dropped("press_elsewhere")
    if known.offer is Offer.NONE:
        return Dropped("press_not_offered")
    if known.offer is not Offer.MADE:
        return Already()
    if now - known.created_at > timedelta(seconds=window_s):
        return Dropped("press_too_late")
    return known.message.again()


def follow_up(press: Press, known: Offered | None, *, now: datetime) -> Message | Dropped:
    """The question that was suggested, as said by who pressed, in the same thread; or why there is none.

    Its id derives from the turn and the question, so that many presses, by many people, ask it once.
    """
    if known is None:
        return Dropped("press_unknown_turn")
    if not at_home(press, known.message, known.card_message_id):
        return Dropped("press_elsewhere")
    number = int(press.choice) if press.choice.isascii() and press.choice.isdecimal() else len(known.suggestions)
    if number >= len(known.suggestions):
        return Dropped("press_not_offered")
    if not press.person:
        return Dropped("press_unreadable")
    asked = known.message
    return Message(
        channel=asked.channel,
        bot_id=asked.bot_id,
        kind="callback",
        external_id=f"ask:{asked.turn_id}:{number}",
        chat_id=asked.chat_id,
        thread_id=asked.thread_id,
        chat_type=asked.chat_type,
        sender_id=press.person,
        text=known.suggestions[number],
        sent_at=now,
        reply_in_thread=asked.reply_in_thread,
        reply_to=press.message_id or asked.target_id,
    )


def vote_of(press: Press, known: Offered | None) -> Vote | Dropped:
    """What who pressed thinks of the answer; or why it is not counted."""
    if known is None:
        return Dropped("press_unknown_turn")
    if not at_home(press, known.message, known.card_message_id):
        return Dropped("press_elsewhere")
    vote = next((vote for vote in _VOTES if vote == press.choice), None)
    return vote if vote and press.person else Dropped("press_unreadable")


def at_home(press: Press, message: Message, card_message_id: str) -> bool:
    """Whether it was pressed in the chat of the message: a card can be forwarded, and an id be guessed."""
    if press.chat_id:
        return press.chat_id == message.chat_id
    return bool(press.message_id) and press.message_id == card_message_id


def answer(told: Told) -> Json:
    """What the platform shows to who pressed, in the language of their client; nobody else sees it."""
    kind, english, chinese = _TOASTS[told]
    return {"toast": {"type": kind, "content": english, "i18n": {"en_us": english, "zh_cn": chinese}}}
