"""Is this message for the bot, and what does it say?

Who is answered: in a p2p chat always; in a group only when the bot itself is mentioned (by open_id: names are not
unique, and an app_id is never a mention), or everybody, if that is switched on. Apps are never answered, so
that two bots can not talk to each other forever.

Which conversation it belongs to: in a group the answer goes into a thread, whose root is the message (or the root
that the message already has). The platform names that same root in every later message of the thread, so the
root's id is the key that the first message and all that follow share. In a p2p chat everything is one
conversation, ``"main"``, except what is said in a real thread (``thread_id``): merely quoting a message opens none.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import orjson

from mainstay.channels.feishu.envelope import Json, MalformedEvent, mapping_at, text_at
from mainstay.channels.feishu.model import Bot
from mainstay.messages import Message

__all__ = ["Ignored", "parse_legacy", "parse_message"]

_PLACEHOLDER: Final = re.compile(r"@_user_\d+|@_all\b")
_LEGACY_MENTION: Final = re.compile(r"<at\b[^>]*>(.*?)</at>", re.DOTALL)
_NO_WORDS: Final = "[no text]"


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing to answer. ``later``: it can only be told once the bot's own open_id is known; ask for it again."""

    reason: Literal["not_mentioned", "from_an_app", "bot_unknown"]

    @property
    def later(self) -> bool:
        """Whether the platform should deliver it again."""
        return self.reason == "bot_unknown"


def parse_message(
    event: Json, *, channel: str, app_id: str, bot: Bot | None, answer_all: bool, now: datetime
) -> Message | Ignored:
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
    mentions = _mentions(message)
    text, to_all = _read(message, mentions, bot)
    if in_group and not (to_all and answer_all):
        if bot is None and mentions:
            return Ignored("bot_unknown")
        if bot is None or all(open_id != bot.open_id for open_id, _ in mentions.values()):
            return Ignored("not_mentioned")
    in_thread = in_group or bool(text_at(message, "thread_id"))
    return Message(
        channel=channel,
        bot_id=app_id,
        external_id=message_id,
        chat_id=chat_id,
        thread_id=(text_at(message, "root_id") or message_id) if in_thread else "main",
        chat_type="group" if in_group else "p2p",
        sender_id=sender_id,
        text=text.strip() or _NO_WORDS,
        sent_at=_sent_at(text_at(message, "create_time"), now),
        reply_in_thread=in_thread,
    )


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
    text = _LEGACY_MENTION.sub(r"\1", said).strip() if kind in ("text", "post") else _unreadable(kind, event)
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
    )


def _person_id(ids: Json) -> str:
    return text_at(ids, "open_id") or text_at(ids, "union_id") or text_at(ids, "user_id")


def _mentions(message: Json) -> dict[str, tuple[str, str]]:
    """Placeholder -> (open_id, name) of everybody mentioned by name."""
    listed = message.get("mentions")
    found = {
        text_at(each, "key"): (text_at(each, "id", "open_id"), text_at(each, "name"))
        for each in (listed if isinstance(listed, list) else [])
    }
    found.pop("@_all", None)
    return found


def _sent_at(milliseconds: str, now: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return now


def _read(message: Json, mentions: dict[str, tuple[str, str]], bot: Bot | None) -> tuple[str, bool]:
    """What it says, and whether it speaks to everybody."""
    kind = text_at(message, "message_type")
    try:
        content = orjson.loads(text_at(message, "content") or "{}")
    except orjson.JSONDecodeError:
        raise MalformedEvent("the content of a message is not JSON") from None
    to_all = False

    def name(match: re.Match[str] | str) -> str:
        nonlocal to_all
        key = match if isinstance(match, str) else match[0]
        if key == "@_all":
            to_all = True
            return "@all"
        open_id, who = mentions.get(key, ("", ""))
        if bot and open_id == bot.open_id:
            return ""
        return f"@{who}" if who else key

    match kind:
        case "text":
            text = _PLACEHOLDER.sub(name, text_at(content, "text"))
        case "post":
            text = _post(content, name)
        case _:
            text = _unreadable(kind, content)
    return text, to_all


def _unreadable(kind: str, content: object) -> str:
    """A text in the place of what can not be read, so that the person hears about it."""
    what = text_at(content, "file_name")
    return f"[{kind or 'unknown'}: {what}]" if what else f"[{kind or 'unknown'}]"


def _post(content: object, name: Callable[[str], str]) -> str:
    """Rich text as Markdown: a title, and paragraphs of runs. Some clients put it under a locale first."""
    post = mapping_at(content)
    if "content" not in post:
        post = next((each for each in post.values() if isinstance(each, dict)), {})
    paragraphs = post.get("content")
    lines = [text_at(post, "title")] if text_at(post, "title") else []
    known = paragraphs if isinstance(paragraphs, list) else []
    lines.extend("".join(_runs(paragraph, name)).rstrip() for paragraph in known)
    return "\n".join(lines)


def _runs(paragraph: object, name: Callable[[str], str]) -> Iterator[str]:
    for run in paragraph if isinstance(paragraph, list) else []:
        text = text_at(run, "text")
        match text_at(run, "tag"):
            case "at":
                key = text_at(run, "user_id")
                said = name("@_all" if key == "all" else key)
                yield said if said != key else f"@{text_at(run, 'user_name') or key}"
            case "a":
                href = text_at(run, "href")
                yield f"[{text}]({href})" if text and text != href else href
            case "code_block":
                yield f"\n```{text_at(run, 'language').lower()}\n{text.rstrip()}\n```\n"
            case "emotion":
                yield f"[{text_at(run, 'emoji_type')}]"
            case "hr":
                yield "\n---\n"
            case "text" | "md":
                yield _PLACEHOLDER.sub(lambda match: name(match[0]), text)
            case other:
                yield text or f"[{other or 'unknown'}]"
