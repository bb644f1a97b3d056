"""Is this message for the bot, and what does it say?

Who is answered: in a p2p chat always; in a group only when the bot itself is mentioned (by open_id: names are not
unique, and an app_id is never a mention), or everybody, if that is switched on, or when it follows in a thread that
the bot has answered the root of and nobody is mentioned. Apps are never answered, so that two bots can not talk to
each other forever.

Which conversation it belongs to: in a group the answer goes into a thread, whose root is the message (or the root
that the message already has). The platform names that same root in every later message of the thread, so the
root's id is the key that the first message and all that follow share. In a p2p chat everything is one
conversation, ``"main"``, except what is said in a real thread (``thread_id``): merely quoting a message opens none.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from mainstay.channels.feishu.content import FORWARDED, read_content
from mainstay.channels.feishu.envelope import Json, MalformedEvent, mapping_at, text_at
from mainstay.channels.feishu.model import Bot
from mainstay.channels.feishu.wording import marker, unreadable, unreadable_context
from mainstay.messages import Message
from mainstay.recovery.notices import Language

__all__ = ["Following", "Ignored", "mentions_in", "parse_legacy", "parse_message"]

_LEGACY_MENTION: Final = re.compile(r"<at\b[^>]*>(.*?)</at>", re.DOTALL)
_LOCALE: Final = re.compile(r"\bLarkLocale/([a-z]{2})")
_NO_WORDS: Final = "[no text]"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to answer. ``later``: it can only be told once the bot's own open_id is known; ask for it again."""

    reason: Literal["not_mentioned", "from_an_app", "bot_unknown"]

    @property
    def later(self) -> bool:
        """Whether the platform should deliver it again."""
        return self.reason == "bot_unknown"


@dataclass(frozen=True, slots=True)
class Following:
    """Said in a thread to nobody in particular: for the bot if it has answered the root of that thread."""

    message: Message


def parse_message(
    event: Json, *, channel: str, app_id: str, bot: Bot | None, answer_all: bool, now: datetime
) -> Message | Following | Ignored:
    """Read the ``event`` of an ``im.message.receive_v1``.

    Raises:
        MalformedEvent: if it lacks what every such event has.
    """
    message = mapping_at(event, "message")
    message_id, chat_id = text_at(message, "message_id"), text_at(message, "chat_id")
    if not message_id or not chat_id:
        raise MalformedEvent("a message without message_id or chat_id")
    sender_id = _person_id(mapping_at(event, "sender", "sender_id"))
    if text_at(event, "sender", "sender_type") != "user" or (bot and sender_id == bot.open_id):
        return Ignored("from_an_app")
    if not sender_id:
        raise MalformedEvent("a message without a sender")
    in_group = text_at(message, "chat_type") != "p2p"
    mentions, kind = mentions_in(message), text_at(message, "message_type")
    own_id = bot.open_id if bot else ""
    said = read_content(kind, text_at(message, "content"), mentions, own_id)
    follows = False
    if in_group and not (said.to_all and answer_all):
        if bot is None and mentions:
            return Ignored("bot_unknown")
        follows = bool(text_at(message, "root_id")) and not mentions and not said.to_all
        if not follows and all(open_id != own_id for open_id, _ in mentions.values()):
            return Ignored("not_mentioned")
    in_thread = in_group or bool(text_at(message, "thread_id"))
    only_unread = bool(said.unread) and not said.words
    read = Message(
        channel=channel,
        bot_id=app_id,
        external_id=message_id,
        chat_id=chat_id,
        thread_id=(text_at(message, "root_id") or message_id) if in_thread else "main",
        chat_type="group" if in_group else "p2p",
        sender_id=sender_id,
        text=said.text or _NO_WORDS,
        sent_at=_sent_at(text_at(message, "create_time"), now),
        reply_in_thread=in_thread,
        notice=unreadable(said.unread[0], _language(message)) if only_unread else "",
        context=unreadable_context(said.unread) if said.unread and said.words else "",
        quotes=message_id if kind == FORWARDED else text_at(message, "parent_id"),
        may_join=True,
    )
    return Following(read) if follows else read


def _language(message: Json) -> Language | None:
    """That of the sender's client, where the app may know it."""
    match _LOCALE.search(text_at(message, "user_agent")):
        case None:
            return None
        case found:
            return "zh" if found[1] == "zh" else "en"


def parse_legacy(
    event: Json, *, channel: str, app_id: str, answer_all: bool, sent_at: datetime
) -> Message | Ignored:
    """Read the ``event`` of a schema 1.0 ``message``, in which the platform says itself whether the bot is meant.

    Raises:
        MalformedEvent: if it lacks what every such event has.
    """
    message_id, chat_id = text_at(event, "open_message_id"), text_at(event, "open_chat_id")
    sender_id = _person_id(event)
    if not message_id or not chat_id or not sender_id:
        raise MalformedEvent("a schema 1.0 message without message, chat or sender")
    in_group = text_at(event, "chat_type") != "private"
    to_all = answer_all and "@all" in text_at(event, "text")
    if in_group and not to_all and event.get("is_mention") is not True:
        return Ignored("not_mentioned")
    kind = text_at(event, "msg_type")
    said = text_at(event, "text_without_at_bot") or text_at(event, "text")
    worded = kind in ("text", "post")
    text = _LEGACY_MENTION.sub(r"\1", said).strip() if worded else marker(kind, text_at(event, "file_name"))
    return Message(
        channel=channel,
        bot_id=app_id,
        external_id=message_id,
        chat_id=chat_id,
        thread_id=(text_at(event, "root_id") or message_id) if in_group else "main",
        chat_type="group" if in_group else "p2p",
        sender_id=sender_id,
        text=text or _NO_WORDS,
        sent_at=sent_at,
        reply_in_thread=in_group,
        notice="" if worded else unreadable(kind, None),
        quotes=text_at(event, "parent_id"),
        may_join=True,
    )


def _person_id(ids: Json) -> str:
    return text_at(ids, "open_id") or text_at(ids, "union_id") or text_at(ids, "user_id")


def mentions_in(message: Json) -> dict[str, tuple[str, str]]:
    """Placeholder -> (open_id, name) of everybody mentioned by name; the API writes the id other than events do."""
    listed = message.get("mentions")
    found = {
        text_at(each, "key"): (text_at(each, "id", "open_id") or text_at(each, "id"), text_at(each, "name"))
        for each in (listed if isinstance(listed, list) else [])
    }
    found.pop("@_all", None)
    return found


def _sent_at(milliseconds: str, now: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return now
