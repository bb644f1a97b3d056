"""May this message be sent, changed or taken back, and what do the chats hold after it?"""

import json
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from mainstay.sandbox.feishu import cardtext
from mainstay.sandbox.feishu.cards import CardKit
from mainstay.sandbox.feishu.model import App, Chat, Json, Moment, Refusal, StoredMessage

__all__ = ["Messages", "message_json", "post_text"]

_UUID_LIFE_S = 3600.0
_PATCH_LIFE_S = 14 * 86400.0
_MAX_EDITS = 20
_TEXT_BYTES = 150 * 1024
_TYPES = {"text", "post", "interactive", "image", "file", "audio", "media", "sticker", "share_chat", "share_user"}


def _invalid(what: str) -> Refusal:
    return Refusal(230001, f"Your request contains an invalid request parameter, ext={what}")


def _unknown() -> Refusal:
    return Refusal(99992354, "these ids not existed")


class Messages:
    """All chats, and every message in them."""

    def __init__(self, app: App, cards: CardKit, rng: random.Random) -> None:
        self.chats: dict[str, Chat] = {}
        self.messages: dict[str, StoredMessage] = {}
        self.reactions: dict[str, dict[str, str]] = {}
        """Message id to reaction id to emoji."""
        self._app = app
        self._cards = cards
        self._rng = rng
        self._uuids: dict[str, tuple[float, str]] = {}

    def new_id(self, prefix: str, digits: int = 32) -> str:
        """A fresh id: the prefix and that many hexadecimal digits."""
        return f"{prefix}{self._rng.getrandbits(digits * 4):0{digits}x}"

    def send(self, query: Mapping[str, str], body: Json, now: Moment) -> StoredMessage:
        """``POST /im/v1/messages``."""
        known = self._known(body, now)
        if known is not None:
            return known
        chat = self.receiver(query, body)
        return self._store(chat, body, now)

    def receiver(self, query: Mapping[str, str], body: Json) -> Chat:
        """The chat that a send goes to. Raises Refusal 230001 or 230002."""
        kind, receiver = query.get("receive_id_type", "open_id"), body.get("receive_id")
        if kind not in {"chat_id", "open_id", "union_id", "user_id", "email"}:
            raise _invalid("invalid receive_id_type")
        if not isinstance(receiver, str) or not receiver:
            raise _invalid("invalid receive_id")
        if kind == "chat_id":
            chat = self.chats.get(receiver)
            if chat is None:
                raise Refusal(230002, "The bot can not be outside the group.")
            return chat
        user = receiver.replace("on_", "ou_", 1) if kind == "union_id" else receiver
        chat = next((each for each in self.chats.values() if each.user_id == user), None)
        if chat is None:
            raise Refusal(230013, "Bot has NO availability to this user.")
        return chat

    def reply(self, message_id: str, body: Json, now: Moment) -> StoredMessage:
        """``POST /im/v1/messages/:message_id/reply``."""
        known = self._known(body, now)
        if known is not None:
            return known
        parent = self.living(message_id)
        return self._store(self.chats[parent.chat_id], body, now, parent)

    def living(self, message_id: str) -> StoredMessage:
        """The message, not taken back. Raises Refusal 99992354 or 230011."""
        message = self.messages.get(message_id)
        if message is None:
            raise _unknown()
        if message.deleted:
            raise Refusal(230011, "The message is recalled.")
        return message

    def own(self, message_id: str) -> StoredMessage:
        """The bot's own message, to be changed. Raises Refusal."""
        if message_id not in self.messages:
            raise _invalid("invalid message_id")
        message = self.living(message_id)
        if message.sender_type != "app":
            raise Refusal(230017, "Bot is NOT the owner of the resource.")
        return message

    def patch(self, message_id: str, body: Json, now: Moment) -> StoredMessage:
        """``PATCH /im/v1/messages/:message_id``: another card in the same message."""
        message = self.own(message_id)
        if message.msg_type != "interactive":
            raise _invalid("This message is NOT a card.")
        if now.platform_s - message.platform_s > _PATCH_LIFE_S:
            raise Refusal(230031, "The message cannot be updated after 14 days.")
        content = body.get("content")
        if not isinstance(content, str):
            raise _invalid("invalid content")
        _check_card(content)
        if not (_shared(message.content) and _shared(content)):
            raise _invalid("update_multi must be true before and after")
        return self._changed(replace(message, content=content, card_id=""), now)

    def edit(self, message_id: str, body: Json, now: Moment) -> StoredMessage:
        """``PUT /im/v1/messages/:message_id``: another text or post in the same message, 20 times at most."""
        message = self.own(message_id)
        if message.msg_type not in {"text", "post"} or body.get("msg_type") != message.msg_type:
            raise Refusal(230054, "This operation is not supported for this message type.")
        if message.edits >= _MAX_EDITS:
            raise Refusal(230072, "The message has reached the number of times it can be edited.")
        content = _check_content(message.msg_type, body.get("content"))
        return self._changed(replace(message, content=content, edits=message.edits + 1), now)

    def delete(self, message_id: str, now: Moment) -> StoredMessage:
        """``DELETE /im/v1/messages/:message_id``."""
        return self._changed(replace(self.own(message_id), deleted=True), now)

    def recall(self, message_id: str, now: Moment) -> StoredMessage:
        """A person takes back what they said. Raises Refusal when it is not there."""
        return self._changed(replace(self.living(message_id), deleted=True), now)

    def answered(self, message_id: str, answer: object, now: Moment) -> None:
        """The bot has answered a press on a card: one that comes with the answer takes the place of that card."""
        given = answer.get("card") if isinstance(answer, dict) else None
        content = given.get("data") if isinstance(given, dict) and given.get("type") == "raw" else None
        message = self.messages.get(message_id)
        if message is None or not isinstance(content, dict):
            return
        if message.card_id:
            self._cards.answered(message.card_id, content, now)
            return
        with suppress(Refusal):
            _check_card(json.dumps(content))
            self._changed(replace(message, content=json.dumps(content, ensure_ascii=False)), now)

    def pressed(self, message_id: str, content: Json, now: Moment) -> None:
        """The bot changes a card by the token of a press, which was answered before. Raises Refusal 11311."""
        try:
            _check_card(json.dumps(content, ensure_ascii=False))
        except Refusal as why:
            raise Refusal(11311, why.message) from None
        self.answered(message_id, {"card": {"type": "raw", "data": content}}, now)

    def page(self, query: Mapping[str, str]) -> Json:
        """``GET /im/v1/messages``: the history of a chat or a thread, in pages."""
        kind, container = query.get("container_id_type"), query.get("container_id", "")
        if kind == "chat" and container in self.chats:
            group = self.chats[container].chat_type == "group"
            found = [
                each
                for each in self.messages.values()
                if each.chat_id == container
                and not (group and each.thread_id and each.root_id)
                and _within(each, query)
            ]
        elif kind == "thread":
            found = [each for each in self.messages.values() if container and each.thread_id == container]
        else:
            raise _invalid("invalid container_id")
        found.sort(key=lambda each: each.created_ms, reverse=query.get("sort_type") == "ByCreateTimeDesc")
        size, start = _number(query, "page_size", 20), _number(query, "page_token", 0)
        if not 1 <= size <= 50:
            raise _invalid("invalid page_size")
        items = found[start : start + size]
        more = start + size < len(found)
        listed: list[object] = [message_json(each, self._app) for each in items]
        return {"has_more": more, "page_token": str(start + size) if more else "", "items": listed}

    def react(self, message_id: str, body: Json) -> Json:
        """``POST /im/v1/messages/:message_id/reactions``."""
        self.living(message_id)
        kind = body.get("reaction_type")
        emoji = kind.get("emoji_type") if isinstance(kind, dict) else None
        if not isinstance(emoji, str) or not emoji:
            raise Refusal(231001, "reaction type is invalid.")
        given = self.reactions.setdefault(message_id, {})
        known = next((each for each, shown in given.items() if shown == emoji), "")  # the bot shows each once
        reaction_id = known or self.new_id("ZCaCIjUBVVWSrm5L-", 24)
        given[reaction_id] = emoji
        return {"reaction_id": reaction_id, "reaction_type": {"emoji_type": emoji}}

    def unreact(self, message_id: str, reaction_id: str) -> Json:
        """``DELETE /im/v1/messages/:message_id/reactions/:reaction_id``."""
        emoji = self.reactions.get(message_id, {}).pop(reaction_id, None)
        if emoji is None:
            raise Refusal(231011, "The reaction does not exist.")
        return {"reaction_id": reaction_id, "reaction_type": {"emoji_type": emoji}}

    def _known(self, body: Json, now: Moment) -> StoredMessage | None:
        uuid = body.get("uuid")
        if uuid is None or uuid == "":
            return None
        if not isinstance(uuid, str) or len(uuid) > 50:
            raise _invalid("invalid uuid")
        at_s, message_id = self._uuids.get(uuid, (0.0, ""))
        if not message_id or now.platform_s - at_s >= _UUID_LIFE_S:
            return None
        return self.messages.get(message_id)

    def _store(self, chat: Chat, body: Json, now: Moment, parent: StoredMessage | None = None) -> StoredMessage:
        kind = body.get("msg_type")
        if not isinstance(kind, str) or kind not in _TYPES:
            raise _invalid("invalid msg_type")
        content = _check_content(kind, body.get("content"))
        message = StoredMessage(
            message_id=self.new_id("om_"),
            chat_id=chat.chat_id,
            msg_type=kind,
            content=content,
            sender_id=self._app.app_id,
            sender_type="app",
            created_ms=now.ms,
            updated_ms=now.ms,
            at_s=now.real_s,
            platform_s=now.platform_s,
            root_id=(parent.root_id or parent.message_id) if parent else "",
            parent_id=parent.message_id if parent else "",
            thread_id=self._thread(parent, body) if parent else "",
        )
        card_id = _entity(content) if kind == "interactive" else ""
        if card_id:
            card = self._cards.attach(card_id, now)
            card.message_id = message.message_id
            message = replace(message, card_id=card_id)
        self.messages[message.message_id] = message
        uuid = body.get("uuid")
        if isinstance(uuid, str) and uuid:
            self._uuids[uuid] = (now.platform_s, message.message_id)
        return message

    def _thread(self, parent: StoredMessage, body: Json) -> str:
        """The thread that a reply is in: the parent's, or a new one when it is asked for."""
        if parent.thread_id or body.get("reply_in_thread") is not True:
            return parent.thread_id
        thread_id = self.new_id("omt_", 12)
        self.messages[parent.message_id] = replace(parent, thread_id=thread_id)
        return thread_id

    def _changed(self, message: StoredMessage, now: Moment) -> StoredMessage:
        message = replace(message, updated=True, updated_ms=now.ms)
        self.messages[message.message_id] = message
        return message


def message_json(message: StoredMessage, app: App) -> Json:
    """A message as the API writes it; ids that do not apply are absent."""
    sender = {
        "id": message.sender_id,
        "id_type": "app_id" if message.sender_type == "app" else "open_id",
        "sender_type": message.sender_type,
        "tenant_key": app.tenant_key,
    }
    written: Json = {
        "message_id": message.message_id,
        "msg_type": message.msg_type,
        "create_time": str(message.created_ms),
        "update_time": str(message.updated_ms),
        "deleted": message.deleted,
        "updated": message.updated,
        "chat_id": message.chat_id,
        "sender": sender,
        "body": {"content": "This message was recalled" if message.deleted else message.content},
    }
    for name in ("root_id", "parent_id", "thread_id"):
        if getattr(message, name):
            written[name] = getattr(message, name)
    if message.mentions:
        written["mentions"] = list(message.mentions)
    return written


def _check_content(kind: str, content: object) -> str:
    if not isinstance(content, str) or not content:
        raise _invalid("invalid content")
    try:
        parsed = json.loads(content)
    except ValueError:
        raise _invalid("content is not a string in json format") from None
    if not isinstance(parsed, dict):
        raise _invalid("content is not a string in json format")
    if kind == "interactive":
        _check_card(content)
        return content
    if len(content.encode()) > (_TEXT_BYTES if kind == "text" else cardtext.MAX_BYTES):
        raise Refusal(230025, "The length of the message content reaches its limit.")
    if kind == "text" and not str(parsed.get("text", "")).strip():
        raise _invalid("text content is empty")
    if kind == "post":
        post_text(parsed)
    return content


def post_text(parsed: Json) -> str:
    """What a post says in the first of its languages, line by line. Raises Refusal 230001 when it is no post."""
    post = parsed if "content" in parsed else next(iter(parsed.values()), None)
    lines = post.get("content") if isinstance(post, dict) else None
    if not isinstance(lines, list) or not all(isinstance(line, list) for line in lines):
        raise _invalid("post content is invalid")
    nodes = [[node for node in line if isinstance(node, dict)] for line in lines]
    return "\n".join("".join(str(node.get("text", "")) for node in line) for line in nodes)


def _check_card(content: str) -> None:
    if len(content.encode()) > cardtext.MAX_BYTES:
        raise Refusal(230025, "The length of the message content reaches its limit.")
    if _entity(content):
        return
    try:
        card = cardtext.parse(content)
        if card.get("schema") == "2.0":
            cardtext.check_v2(card)
        else:
            cardtext.check_tables(card)
    except Refusal as why:
        if why.code == 230099:
            raise
        raise Refusal(
            230099,
            f"Failed to create card content, ext=ErrCode: {why.code}; ErrMsg: {why.message}; ErrorValue: ; ",
        ) from None


def _entity(content: str) -> str:
    given = json.loads(content)
    data = given.get("data") if given.get("type") == "card" else None
    card_id = data.get("card_id") if isinstance(data, dict) else None
    return card_id if isinstance(card_id, str) else ""


def _shared(content: str) -> bool:
    card = json.loads(content)
    config = card.get("config")
    given = config.get("update_multi") if isinstance(config, dict) else None
    return given is True or (given is None and card.get("schema") == "2.0") or bool(_entity(content))


def _within(message: StoredMessage, query: Mapping[str, str]) -> bool:
    seconds = message.created_ms // 1000
    start = _number(query, "start_time", 0)
    end = _number(query, "end_time", 0)
    return seconds >= start and (not end or seconds <= end)


def _number(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name) or str(default)
    if not text.isdecimal():
        raise _invalid(f"invalid {name}")
    return int(text)
