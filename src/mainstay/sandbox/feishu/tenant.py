"""Who is here, and what do the people do?

One tenant with one bot, a private chat and a group; other chats and people come into being when they speak.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from mainstay.sandbox.feishu.cards import CardKit
from mainstay.sandbox.feishu.delayed import Delayed
from mainstay.sandbox.feishu.limits import Limits
from mainstay.sandbox.feishu.messages import Messages
from mainstay.sandbox.feishu.model import App, Chat, Json, Moment, Options, Refusal, StoredMessage
from mainstay.sandbox.feishu.record import Record
from mainstay.sandbox.feishu.registry import Registry
from mainstay.sandbox.feishu.tokens import Tokens

__all__ = ["GROUP", "P2P", "USER", "Tenant"]

P2P = "oc_" + "a" * 32
GROUP = "oc_" + "b" * 32
USER = "ou_u1"
_MAX_SAID = 20_000


class Tenant:
    """Everything that the platform knows, and the people in it."""

    def __init__(self, app: App, options: Options, rng: random.Random) -> None:
        self.app = app
        self.options = options
        self.tokens = Tokens(app, rng)
        self.connections = Registry(app, rng)
        self.limits = Limits()
        self.cards = CardKit(rng)
        self.messages = Messages(app, self.cards, rng)
        self.messages.chats[P2P] = Chat(chat_id=P2P, chat_type="p2p", user_id=USER)
        self.messages.chats[GROUP] = Chat(chat_id=GROUP, chat_type="group")
        self.delayed = Delayed(self.messages)
        self.record = Record(self.messages, self.cards)

    def say(
        self,
        text: str,
        now: Moment,
        *,
        chat: str = "",
        chat_type: Literal["p2p", "group"] = "p2p",
        sender: str = USER,
        reply_to: str = "",
        mention: bool = True,
        mentions: Sequence[str] = (),
        message_id: str = "",
        msg_type: str = "text",
        content: Mapping[str, object] | None = None,
        topic: bool = False,
        forwards: Sequence[str] = (),
        by_app: bool = False,
    ) -> StoredMessage:
        """A person speaks; in a group to the bot, unless ``mention`` is false.

        Args:
            text: what is said; of another type of message only what the record calls it.
            now: the moment.
            chat: its id; empty for the sender's private chat, or the one group.
            chat_type: of a chat that comes into being.
            sender: the open_id of who speaks.
            reply_to: the message that is replied to.
            mention: in a group: whether the bot is mentioned.
            mentions: open_ids of others who are mentioned, or ``"all"`` for everybody.
            message_id: to be given this id rather than a fresh one.
            msg_type: the platform's type of message.
            content: what the platform writes of a message of another type than text.
            topic: whether what is said in the chat opens a topic, as in a topic group.
            forwards: the ids of messages that are forwarded, all in one.
            by_app: whether the sender is a bot, which may be the one that is told of it.

        Raises:
            Refusal: if ``reply_to`` is no message, or ``message_id`` is one already.
            ValueError: if ``chat_type`` is none.
        """
        if chat_type not in {"p2p", "group"}:
            raise ValueError(f'chat_type {chat_type!r}: it must be "p2p" or "group"')
        parent = self.messages.living(reply_to) if reply_to else None
        if forwards:
            msg_type, content = "merge_forward", {"content": "Merged and Forwarded Message"}
            forwards = [self.messages.living(each).message_id for each in forwards]
        place = self._chat(parent.chat_id if parent else chat, chat_type, sender)
        if message_id in self.messages.messages:
            raise Refusal(230001, f"message_id {message_id} was said already; deliver it again instead")
        mentioned = self._mentioned([*(["bot"] if mention and place.chat_type == "group" else []), *mentions])
        keys = [str(each["key"]) for each in mentioned] + (["@_all"] if "all" in mentions else [])
        written = content if content is not None else {"text": " ".join([*keys, text])}
        opens = topic and parent is None
        message = StoredMessage(
            message_id=message_id or self.messages.new_id("om_"),
            chat_id=place.chat_id,
            msg_type=msg_type,
            content=json.dumps(written, ensure_ascii=False),
            sender_id=sender,
            sender_type="app" if by_app else "user",
            created_ms=now.ms,
            updated_ms=now.ms,
            at_s=now.real_s,
            platform_s=now.platform_s,
            root_id=(parent.root_id or parent.message_id) if parent else "",
            parent_id=parent.message_id if parent else "",
            thread_id=parent.thread_id if parent else self.messages.new_id("omt_", 12) if opens else "",
            mentions=tuple(mentioned),
            inside=tuple(forwards),
        )
        self.messages.messages[message.message_id] = message
        self.record.said(message.message_id)
        if len(self.record.messages()) > _MAX_SAID:
            self._forget()
        return message

    def _mentioned(self, who: Sequence[str]) -> list[Json]:
        """As the platform lists them, in the order of their places in the text; everybody is not listed."""
        own = {"bot": (self.app.bot_open_id, self.app.bot_name)}
        return [
            {
                "key": f"@_user_{number}",
                "id": own.get(each, (each, ""))[0],
                "id_type": "open_id",
                "name": own.get(each, ("", each.removeprefix("ou_").capitalize()))[1],
                "tenant_key": self.app.tenant_key,
            }
            for number, each in enumerate((each for each in who if each != "all"), start=1)
        ]

    def edit(
        self, message_id: str, text: str, now: Moment, *, mentions: Sequence[str] | None = None
    ) -> StoredMessage:
        """A person changes what they said, and whom it mentions (None: whom it did; ``"bot"`` is the bot).

        Raises Refusal when it is not there, and KeyError when it is no text.
        """
        message = self.messages.living(message_id)
        if message.sender_type != "user" or message.msg_type != "text":
            raise KeyError(f"no text of a person: {message_id}")
        mentioned = message.mentions if mentions is None else tuple(self._mentioned(mentions))
        keys = [str(each["key"]) for each in mentioned]
        content = json.dumps({"text": " ".join([*keys, text])}, ensure_ascii=False)
        changed = replace(
            message, content=content, mentions=mentioned, updated=True, updated_ms=now.ms, before=message
        )
        self.messages.messages[message_id] = changed
        self.record.touch(message_id)
        return changed

    def enter(self, sender: str) -> Chat:
        """A person opens their private chat with the bot."""
        return self._chat("", "p2p", sender)

    def add_bot(self, chat: str) -> Chat:
        """Somebody adds the bot to a group."""
        return self._chat(chat, "group", "")

    def _forget(self) -> None:
        for each in self.record.forget_oldest():
            gone = self.messages.messages.pop(each)
            self.messages.reactions.pop(each, None)
            self.cards.cards.pop(gone.card_id, None)

    def recall(self, message_id: str, now: Moment) -> StoredMessage:
        """A person takes back what they said. Raises Refusal when it is not there."""
        message = self.messages.recall(message_id, now)
        self.record.touch(message_id)
        return message

    def _chat(self, chat_id: str, chat_type: Literal["p2p", "group"], sender: str) -> Chat:
        if not chat_id:
            own = next((each for each in self.messages.chats.values() if each.user_id == sender), None)
            chat_id = GROUP if chat_type == "group" else own.chat_id if own else self.messages.new_id("oc_")
        chat = self.messages.chats.get(chat_id)
        if chat is None:
            user = sender if chat_type == "p2p" else ""
            chat = Chat(chat_id=chat_id, chat_type=chat_type, user_id=user)
            self.messages.chats[chat_id] = chat
        return chat
