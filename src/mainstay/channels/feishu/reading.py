"""What does a message refer to, and does it still say what it said?

Asked when its answer begins, within a time of its own, and never at the cost of the answer: what can not be looked
up is said to be missing. A quote is handed to the agent as lines that begin with ``>``, apart from what the person
says now.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mainstay.channels.feishu.card import part_of
from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.content import read_content
from mainstay.channels.feishu.envelope import Json, MalformedEvent, text_at
from mainstay.channels.feishu.marks import Marks
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.parse import mentions_in
from mainstay.channels.feishu.wording import NOT_READ
from mainstay.errors import StorageUnavailable
from mainstay.messages import Message

__all__ = ["Reader"]

_MOST_QUOTED: Final = 2000  # characters
_MOST_FORWARDED: Final = 30  # messages


class Reader:
    """Reads messages once more for one bot.

    Args:
        settings: of the channel.
        client: asks the platform.
        marks: knows what was edited, and what the bot itself has said.
        bot: who the bot is, once that is known.
    """

    def __init__(
        self, settings: FeishuSettings, *, client: FeishuClient, marks: Marks, bot: Callable[[], Bot | None]
    ) -> None:
        self._settings = settings
        self._client = client
        self._marks = marks
        self._bot = bot

    async def read(self, message: Message) -> Message:
        """The message as it is now, and with what it refers to."""
        try:
            async with asyncio.timeout(self._settings.quote_timeout):
                message = await self._as_edited(message)
        except (Refused, StorageUnavailable, MalformedEvent, TimeoutError):
            pass  # then it is answered as it was sent
        if not message.quotes:
            return message
        try:
            async with asyncio.timeout(self._settings.quote_timeout):
                quoted = await self._quoted(message)
        except (Refused, StorageUnavailable, MalformedEvent, TimeoutError):
            quoted = NOT_READ
        context = "\n\n".join(each for each in (quoted, message.context) if each)
        return replace(message, context=context)

    async def _as_edited(self, message: Message) -> Message:
        said = message.parts or ((message.target_id, message.text),)
        now = tuple([(message_id, await self._current(message_id, text)) for message_id, text in said])
        if now == said:
            return message
        return message.joined(now) if message.parts else replace(message, text=now[0][1])

    async def _current(self, message_id: str, text: str) -> str:
        """What a message says now. What is told of an edit says only that there was one."""
        if not await self._marks.was_edited(message_id):
            return text
        return next((self._words(each) for each in await self._client.message(message_id)), "") or text

    async def _quoted(self, message: Message) -> str:
        if message.quotes == message.external_id:
            return await self._forwarded(message)
        if message.quotes == message.thread_id and await self._marks.was_here(message.lane):
            return ""  # the conversation began with it
        answer, part = await self._marks.own_words(message.quotes)
        if answer:
            return f"[In reply to this message of yours:]\n{_quote(part_of(answer, part))}"
        found = await self._client.message(message.quotes)
        words = next((self._words(each) for each in found), "")
        return f"[In reply to this message:]\n{_quote(words)}" if words else NOT_READ

    async def _forwarded(self, message: Message) -> str:
        found = await self._client.message(message.external_id)
        inside = [each for each in found if text_at(each, "upper_message_id")]
        lines = [words for each in inside[:_MOST_FORWARDED] if (words := self._words(each))]
        quote = _quote("\n".join(lines))
        return f"[The messages that were forwarded:]\n{quote}" if quote else NOT_READ

    def _words(self, item: Json) -> str:
        if item.get("deleted") is True:
            return ""
        bot, content = self._bot(), text_at(item, "body", "content")
        return read_content(text_at(item, "msg_type"), content, mentions_in(item), bot.open_id if bot else "").text


def _quote(words: str) -> str:
    cut = words if len(words) <= _MOST_QUOTED else f"{words[:_MOST_QUOTED]}…"
    return "\n".join(f"> {line}" for line in cut.splitlines())
