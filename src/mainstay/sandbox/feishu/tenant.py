"""Who is here, and what do the people do?

One tenant with one bot, a private chat and a group; other chats and people come into being when they speak.
"""

import json
import random
from typing import Literal

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.cards import CardKit
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
        message_id: str = "",
    ) -> StoredMessage:
        """A person speaks; in a group to the bot, unless ``mention`` is false.

        Raises:
            Refusal: if ``reply_to`` is no message, or ``message_id`` is one already.
            ValueError: if ``chat_type`` is none.
        """
        if chat_type not in {"p2p", "group"}:
            raise ValueError(f'chat_type {chat_type!r}: it must be "p2p" or "group"')
        parent = self.messages.living(reply_to) if reply_to else None
        place = self._chat(parent.chat_id if parent else chat, chat_type, sender)
        if message_id in self.messages.messages:
            raise Refusal(230001, f"message_id {message_id} was said already; deliver it again instead")
        to_bot = mention and place.chat_type == "group"
        content = json.dumps({"text": f"{events.MENTION_KEY} {text}" if to_bot else text}, ensure_ascii=False)
        mentioned: Json = {
            "key": events.MENTION_KEY,
            "id": self.app.bot_open_id,
            "id_type": "open_id",
            "name": self.app.bot_name,
            "tenant_key": self.app.tenant_key,
        }
        message = StoredMessage(
            message_id=message_id or self.messages.new_id("om_"),
            chat_id=place.chat_id,
            msg_type="text",
            content=content,
            sender_id=sender,
            sender_type="user",
            created_ms=now.ms,
            updated_ms=now.ms,
            at_s=now.real_s,
            platform_s=now.platform_s,
            root_id=(parent.root_id or parent.message_id) if parent else "",
            parent_id=parent.message_id if parent else "",
            thread_id=parent.thread_id if parent else "",
            mentions=(mentioned,) if to_bot else (),
        )
        self.messages.messages[message.message_id] = message
        self.record.said(message.message_id)
        if len(self.record.messages()) > _MAX_SAID:
            self._forget()
        return message

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
