"""Does somebody say that an answer is to be stopped?

A word alone, like "stop", while something that the same person asked in the same conversation has no answer yet. It
ends all of that, as if it were taken back; without anything to stop it is a message like every other. Said in a
group outside of any thread it has a conversation of its own, and means what this person asked in that group.
"""

from collections.abc import Collection, Iterable
from typing import Final

from mainstay.messages import Message

__all__ = ["asks_to_stop", "stopped_by"]

_ENDING: Final = " .!…~。！～"


def asks_to_stop(message: Message, words: Collection[str]) -> bool:
    """Whether it says nothing but one of these words; they are in lower case."""
    plain = message.kind == "message" and not (message.notice or message.context)
    return plain and message.text.rstrip(_ENDING).casefold() in words


def stopped_by(message: Message, unanswered: Iterable[Message]) -> list[Message]:
    """What of this is to be stopped by a message that `asks_to_stop`.

    Not what was said later: a stop that is delivered once more, after hours, would end something else. A press has
    no time of the platform's.
    """
    anywhere = message.thread_id == message.external_id
    return [
        each
        for each in unanswered
        if each.sender_id == message.sender_id
        and each.turn_id != message.turn_id
        and each.chat == message.chat
        and (anywhere or each.lane == message.lane)
        and (each.kind == "callback" or (each.kind == "message" and each.sent_at <= message.sent_at))
        and not each.notice
    ]
