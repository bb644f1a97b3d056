"""What was said while nobody listened?

The chats that were spoken in last are asked for their history, and what is found goes the way of every event: what
is known already is recognised there. How much is asked is bounded, because each chat costs a call of the month's
quota: so many chats, so many minutes, so many pages, so many calls in an hour. What the app may not read is not
asked for again.
"""

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from mainstay.bus import Bus
from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.connection.model import Container
from mainstay.channels.feishu.connection.sqlite import Chats, moment
from mainstay.channels.feishu.envelope import Envelope, Json, MalformedEvent, text_at
from mainstay.channels.feishu.history import as_event
from mainstay.channels.feishu.intake import Intake, Taken
from mainstay.channels.feishu.machine import Action
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.clock import Clock
from mainstay.events import HistoryRead, HistoryRefused

__all__ = ["Backfill", "Found"]

_ON_ITS_WAY: Final = timedelta(seconds=30)
"""A younger message may just be coming by itself."""
_HOUR_S: Final = 3600.0
_NEXT: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of asking the histories.

    Attributes:
        missed: messages that were not known, and should have come by themselves long ago.
        again: the platform or the storage could not be asked: it is worth another try.
    """

    missed: int = 0
    again: bool = False


class Backfill:
    """Asks the histories of one bot's chats.

    Args:
        name: of the channel.
        settings: of the channel.
        client: asks the platform.
        chats: knows whom to ask.
        intake: takes what is found.
        bus: hears what was found, and what may not be read.
        clock: tells how old is too old.
    """

    def __init__(
        self,
        name: str,
        settings: FeishuSettings,
        *,
        client: FeishuClient,
        chats: Chats,
        intake: Intake,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._chats = chats
        self._intake = intake
        self._bus = bus
        self._clock = clock
        self._asked_s: deque[float] = deque()
        self.refused: dict[str, str] = {}
        """Why it is not asked any more, by type of chat."""

    async def since(self, at: datetime | None) -> Found:
        """Take in what was said since then, but nothing that is too old; None: since the last process."""
        oldest = self._clock.now() - timedelta(seconds=self._settings.backfill_max_age)
        asked = new = missed = 0
        again = False
        for container in self._chats.latest(self._settings.backfill_chats):
            if container.chat_type in self.refused or not self._may_ask():
                continue
            asked += 1
            begin = max(oldest, self._begin(container, at) or oldest)
            try:
                items = await self._client.said_since(container.container_id, begin, in_thread=container.is_thread)
            except Refused as refused:
                again = self._refused(container, refused) or again
                continue
            answered = {text_at(each, "parent_id") for each in items if self._is_ours(each)}
            for item in items:
                said_at = moment(text_at(item, "create_time"))
                known = self._chats.has_heard(text_at(item, "message_id"))
                if said_at is None or said_at < begin or known or item.get("deleted") is True:
                    continue
                if text_at(item, "message_id") in answered:
                    continue  # by a process whose storage is not ours, as after a restore
                is_new = await self._take(container, item)
                again = again or is_new is None
                new += bool(is_new)
                missed += bool(is_new) and said_at < self._clock.now() - _ON_ITS_WAY
        if new:
            self._bus.emit(HistoryRead(channel=self._name, chats=asked, messages=new))
        return Found(missed=missed, again=again)

    def _is_ours(self, item: Json) -> bool:
        return text_at(item, "sender", "id") == self._settings.app_id and item.get("deleted") is not True

    def _begin(self, container: Container, at: datetime | None) -> datetime | None:
        """By the platform's clock, which may differ from ours: what is asked for twice is recognised."""
        if at is not None:
            return at - timedelta(seconds=self._settings.clock_skew)
        heard_at = self._chats.heard_before(container.container_id)
        return heard_at and heard_at + _NEXT

    def _may_ask(self) -> bool:
        """Whether the hour has a call left; takes it. A connection that flaps is not to eat the month's quota."""
        now_s = self._clock.monotonic()
        while self._asked_s and self._asked_s[0] < now_s - _HOUR_S:
            self._asked_s.popleft()
        if len(self._asked_s) >= self._settings.backfill_calls:
            return False
        self._asked_s.append(now_s)
        return True

    def _refused(self, container: Container, refused: Refused) -> bool:
        """Whether it is worth another try."""
        refusal = refused.refusal
        if refusal.scope:
            self.refused[container.chat_type] = refusal.reason
            self._bus.emit(HistoryRefused(channel=self._name, chat_type=container.chat_type, reason=refusal.reason))
        elif refusal.action is Action.TERMINAL:
            self._chats.forget(container.container_id)
        return refusal.action is Action.WAIT

    async def _take(self, container: Container, item: Json) -> bool | None:
        """Whether it is new; None: it could not be stored."""
        envelope = Envelope(
            type="im.message.receive_v1",
            token="",
            app_id=self._settings.app_id,
            event=as_event(item, chat_id=container.chat_id, chat_type=container.chat_type),
        )
        deadline = asyncio.get_running_loop().time() + self._settings.ack_timeout
        try:
            taken = await self._intake.take(envelope, deadline)
        except MalformedEvent:
            return False
        return taken.new if isinstance(taken, Taken) else None
