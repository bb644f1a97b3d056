"""May a message be for the bot now that it was edited?

Asked of a message that was not for the bot before: whoever forgot to mention it adds that to what they have said.
What is told of an edit says no more than which message it was, so the platform is asked for the rest, and what it
says goes the way of every new message. That costs a call of the month's quota for each edit in a group, so there is
a bound by the hour. What was accepted is not asked for here: `mainstay.channels.feishu.reading` does that, when its
answer begins.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.connection.sqlite import moment
from mainstay.channels.feishu.envelope import Json, text_at
from mainstay.channels.feishu.history import as_event
from mainstay.channels.feishu.machine import Action
from mainstay.channels.feishu.marks import Marks
from mainstay.channels.feishu.model import FeishuSettings

__all__ = ["Edits"]

_HOUR_S: Final = 3600.0


class Edits:
    """What was edited, of one bot.

    Args:
        settings: of the channel.
        client: asks the platform.
        marks: remembers what was edited.
        known: whether a message, by its id, was accepted or answered before; raises StorageUnavailable.
    """

    def __init__(
        self,
        settings: FeishuSettings,
        *,
        client: FeishuClient,
        marks: Marks,
        known: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._settings = settings
        self._client = client
        self._marks = marks
        self._known = known
        self._time = client.time
        self._asked_s: deque[float] = deque()
        self._forbidden = False

    async def edited(self, message_id: str) -> Json | None:
        """Remember it; a message that may be for the bot now comes back as the event of a new one in a group.

        In a private chat everything was for the bot already.

        Raises:
            StorageUnavailable: it is not remembered.
            Refused: the platform can not say now how the message is.
        """
        await self._marks.edited(message_id)
        if await self._known(message_id) or not self._may_ask():
            return None
        try:
            item = next(iter(await self._client.message(message_id)), {})
        except Refused as refused:
            if refused.refusal.action in (Action.WAIT, Action.QUOTA):
                raise
            self._forbidden = refused.refusal.scope
            return None
        said_at = moment(text_at(item, "create_time"))
        oldest = self._time.now() - timedelta(seconds=self._settings.freshness)
        if item.get("deleted") is True or said_at is None or said_at < oldest:
            return None
        return as_event(item, chat_id=text_at(item, "chat_id"), chat_type="group")

    def _may_ask(self) -> bool:
        """Whether the app may, and the hour has a call left; takes it."""
        now_s = self._time.monotonic()
        while self._asked_s and self._asked_s[0] < now_s - _HOUR_S:
            self._asked_s.popleft()
        if self._forbidden or len(self._asked_s) >= self._settings.edit_calls:
            return False
        self._asked_s.append(now_s)
        return True
