"""What does the channel ask of the platform?

Every question and request, by the name of what is wanted; `mainstay.channels.feishu.api` makes the calls.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

from mainstay.channels.feishu.api import MESSAGES, Api
from mainstay.channels.feishu.card import card_message
from mainstay.channels.feishu.envelope import Json, mapping_at, text_at
from mainstay.channels.feishu.machine import Action, failed_request
from mainstay.channels.feishu.model import Bot
from mainstay.channels.feishu.refused import Refused
from mainstay.errors import Category
from mainstay.messages import Message

__all__ = ["MOST_SAID", "REACTIONS", "FeishuClient", "Refused", "Reply"]

REACTIONS: Final = "/reactions"

_HISTORY_PAGES: Final = 10
_PAGE: Final = 50
MOST_SAID: Final = 2 * _PAGE
"""How many messages `FeishuClient.said_since` finds at most."""
_CARDS: Final = "/open-apis/cardkit/v1/cards"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One message of ours, as the chat's history has it."""

    message_id: str
    msg_type: str
    content: str


class FeishuClient(Api):
    """The calls that the channel needs, for one app. Every method raises `Refused`."""

    async def bot(self) -> Bot:
        """Who we are."""
        path = "/open-apis/bot/v3/info"
        found = mapping_at(await self._call("GET", path), "bot")
        if not text_at(found, "open_id"):
            raise self._refused(path, failed_request(Category.MALFORMED, "an answer without the bot's open_id"))
        return Bot(open_id=text_at(found, "open_id"), name=text_at(found, "app_name"))

    async def create_card(self, card: str) -> str:
        """Make a card that nobody sees yet, and return its id."""
        return await self._wanted("POST", _CARDS, {"type": "card_json", "data": card}, "card_id")

    async def replace_card(self, card_id: str, card: str, sequence: int) -> None:
        """Write the whole card, streaming or not."""
        body = {"card": {"type": "card_json", "data": card}, "sequence": sequence}
        await self._call("PUT", f"{_CARDS}/{_part(card_id)}", body)

    async def until_stream(self, card_id: str, unless: asyncio.Event) -> None:
        """Wait for the turn of this card's next `stream`, or until ``unless``; the text may change meanwhile."""
        await self._hold("PUT", _content(card_id, "any"), unless)

    async def stream(self, card_id: str, element: str, text: str, sequence: int) -> None:
        """Write one element of a streaming card; the text is the whole text so far."""
        body = {"content": text, "sequence": sequence}
        await self._call("PUT", _content(card_id, element), body)

    async def set_card(self, card_id: str, settings: str, sequence: int) -> None:
        """Open or close streaming."""
        await self._call(
            "PATCH", f"{_CARDS}/{_part(card_id)}/settings", {"settings": settings, "sequence": sequence}
        )

    async def reply_with_card(self, message: Message, card_id: str, key: str) -> str:
        """Show the card to the person, and return the id of the message that does."""
        return await self._reply(message, "interactive", card_message(card_id), key)

    async def reply_with(self, message: Message, kind: str, content: str, key: str) -> str:
        """Answer with a ``"text"`` or a ``"post"``, and return the id of the message."""
        return await self._reply(message, kind, content, key)

    async def _reply(self, message: Message, kind: str, content: str, key: str) -> str:
        """The same ``key`` (at most 50 characters) within an hour gives the same message, not a second one.

        Where a thread is not possible the answer goes to the chat, without being a reply. Of several messages it is
        to the first that was not taken back.
        """
        body: dict[str, object] = {"msg_type": kind, "content": content, "uuid": key}
        if not message.target_id:
            return await self._say(message.chat_id, body)
        threaded = body | ({"reply_in_thread": True} if message.reply_in_thread else {})
        targets = [message.target_id, *(message_id for message_id, _ in message.parts[1:])]
        for number, target_id in enumerate(targets, start=1):
            try:
                path = f"{MESSAGES}/{_part(target_id)}/reply"
                return await self._wanted("POST", path, threaded, "message_id", chat_id=message.chat_id)
            except Refused as refused:
                if refused.refusal.action is Action.UNTHREAD:
                    break
                if not refused.refusal.gone or number == len(targets):
                    raise
        return await self._say(message.chat_id, body)

    async def _say(self, chat_id: str, body: dict[str, object]) -> str:
        body["receive_id"] = chat_id
        path = f"{MESSAGES}?receive_id_type=chat_id"
        return await self._wanted("POST", path, body, "message_id", chat_id=chat_id)

    async def message(self, message_id: str) -> list[Json]:
        """A message as it is now; of forwarded ones also those that are in it."""
        found = await self._call("GET", f"{MESSAGES}/{_part(message_id)}")
        return _objects(mapping_at(found, "data").get("items"))

    async def react(self, message_id: str, emoji: str) -> str:
        """Show this reaction under a message, and return its id."""
        path = f"{MESSAGES}/{_part(message_id)}{REACTIONS}"
        return await self._wanted("POST", path, {"reaction_type": {"emoji_type": emoji}}, "reaction_id")

    async def unreact(self, message_id: str, reaction_id: str) -> None:
        """Take a reaction of ours away."""
        await self._call("DELETE", f"{MESSAGES}/{_part(message_id)}{REACTIONS}/{_part(reaction_id)}")

    async def delete(self, message_id: str) -> None:
        """Take one of our messages back."""
        await self._call("DELETE", f"{MESSAGES}/{_part(message_id)}")

    async def replies(self, message: Message, since: datetime) -> list[Reply]:
        """Our answers to a message, oldest first, as far back as ``since``.

        The history of a chat shows only the roots of its threads, so a message with a thread is looked up there.
        """
        asked = await self.message(message.target_id) if message.target_id else []
        thread_id = next((text_at(each, "thread_id") for each in asked), "")
        thread = f"container_id_type=thread&container_id={_part(thread_id)}"
        query = thread if thread_id else self._chat(message, since)
        return await self._said(query, parent_id=message.target_id)

    async def said_to_chat(self, message: Message, since: datetime) -> list[Reply]:
        """What we have said in the message's chat and not as a reply, because a thread was not possible."""
        return await self._said(self._chat(message, since), parent_id="")

    def _chat(self, message: Message, since: datetime) -> str:
        start = int(self.time.of(since).timestamp()) - 60
        return f"container_id_type=chat&container_id={_part(message.chat_id)}&start_time={start}"

    async def _said(self, query: str, *, parent_id: str) -> list[Reply]:
        return [
            Reply(
                message_id=text_at(each, "message_id"),
                msg_type=text_at(each, "msg_type"),
                content=text_at(each, "body", "content"),
            )
            for each in await self._history(query)
            if text_at(each, "parent_id") == parent_id
            and text_at(each, "sender", "sender_type") == "app"
            and text_at(each, "sender", "id") == self._settings.app_id
            and each.get("deleted") is not True
        ]

    async def said_since(self, container_id: str, since: datetime, *, in_thread: bool) -> list[Json]:
        """What was said in a chat or a thread, oldest first; of very much only the latest.

        ``since`` is the platform's time. A thread can not be asked for a time, so that older messages may be among
        them.
        """
        kind = "thread" if in_thread else "chat"
        query = f"container_id_type={kind}&container_id={_part(container_id)}"
        if not in_thread:
            query += f"&start_time={int(since.timestamp())}"
        return (await self._history(query, "ByCreateTimeDesc", pages=MOST_SAID // _PAGE))[::-1]

    async def _history(
        self, query: str, sort_type: str = "ByCreateTimeAsc", *, pages: int = _HISTORY_PAGES
    ) -> list[Json]:
        found: list[Json] = []
        page = ""
        for _ in range(pages):
            path = f"{MESSAGES}?{query}&sort_type={sort_type}&page_size={_PAGE}{page}"
            data = mapping_at(await self._call("GET", path), "data")
            found += _objects(data.get("items"))
            if data.get("has_more") is not True or not text_at(data, "page_token"):
                break
            page = "&page_token=" + _part(text_at(data, "page_token"))
        return found


def _content(card_id: str, element: str) -> str:
    return f"{_CARDS}/{_part(card_id)}/elements/{element}/content"


def _part(text: str) -> str:
    """One part of a path or query, whatever it holds: ids come from outside."""
    return quote(text, safe="")


def _objects(items: object) -> list[Json]:
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
