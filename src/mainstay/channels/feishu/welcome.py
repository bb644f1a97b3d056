"""Has somebody come in who is to be welcomed?

A welcome is a message that nobody said: it is accepted like every other, once for a person (or a group) and day,
and what is told is its outcome. So it survives a crash, and is not told twice.
"""

from datetime import UTC, datetime
from typing import Final

from mainstay.channels.feishu.envelope import Envelope, MalformedEvent, text_at
from mainstay.messages import Message

__all__ = ["ARRIVALS", "welcome"]

_ENTERED: Final = "im.chat.access_event.bot_p2p_chat_entered_v1"
_ADDED: Final = "im.chat.member.bot.added_v1"
ARRIVALS: Final = (_ENTERED, _ADDED)
"""A person has opened the private chat with the bot; the bot was added to a group."""


def welcome(envelope: Envelope, *, channel: str, app_id: str, text: str, now: datetime) -> Message:
    """What to accept when one of `ARRIVALS` comes; the day is that of the event, also when it comes late.

    Raises:
        MalformedEvent: if it does not say who came where.
    """
    in_group = envelope.type == _ADDED
    chat_id = text_at(envelope.event, "chat_id")
    person = text_at(envelope.event, "operator_id", "open_id")
    if not chat_id or not (in_group or person):
        raise MalformedEvent("an arrival without a chat, or without who came")
    at = datetime.fromtimestamp(envelope.created_s, UTC) if envelope.created_s else now
    return Message(
        channel=channel,
        bot_id=app_id,
        kind="event",
        external_id=f"welcome:{chat_id if in_group else person}:{at:%Y-%m-%d}",
        chat_id=chat_id,
        thread_id="welcome",
        chat_type="group" if in_group else "p2p",
        sender_id=person,
        text="",
        sent_at=at,
        notice=text,
    )
