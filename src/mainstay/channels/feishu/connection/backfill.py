"""What was said while nobody listened?

The chats that were spoken in last are asked for their history, and what is found goes the way of every event: what
is known already is recognised there. How much is asked is bounded, because each chat costs a call of the month's
quota: so many chats, so many minutes, so many pages, so many calls in an hour. What the app may not read is not
asked for again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal

from mainstay.bus import Bus
from mainstay.channels.feishu.client import MOST_SAID, FeishuClient, Refused
from mainstay.channels.feishu.connection.model import Container
from mainstay.channels.feishu.connection.sqlite import Chats, moment
from mainstay.channels.feishu.envelope import Envelope, Json, MalformedEvent, text_at
from mainstay.channels.feishu.history import as_event
from mainstay.channels.feishu.intake import Intake, Taken
from mainstay.channels.feishu.machine import Action
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.errors import Category
from mainstay.events import ErrorSeen, HistoryRead, HistoryRefused

__all__ = ["Backfill", "Found"]

_log = logging.getLogger(__name__)
_ON_ITS_WAY: Final = timedelta(seconds=30)
"""A younger message may just be coming by itself."""
_HOUR_S: Final = 3600.0
_NEXT: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What came of asking the histories.

    Attributes:
        missed: messages that were not known, and should have come by themselves long ago.
        again: whom it is worth to ask once more, because the platform or the storage could not be asked.
    """

    missed: int = 0
    again: Sequence[Container] = ()


@dataclass(slots=True, kw_only=True)
class _Look:
    """One look at the histories.

    Attributes:
        since: see `Backfill.since`, but by the platform's clock.
        oldest: what was said before is not answered any more; by the same.
        read: the containers that were asked.
        threads: how many of them were found by the way.
        answered: messages that a process has answered whose storage is not ours, as after a restore.
    """

    since: datetime | None
    oldest: datetime
    read: set[str] = field(default_factory=set)
    threads: int = 0
    answered: set[str] = field(default_factory=set)
    new: int = 0
    missed: int = 0
    again: list[Container] = field(default_factory=list)


class Backfill:
    """Asks the histories of one bot's chats.

    Args:
        name: of the channel.
        settings: of the channel.
        client: asks the platform.
        chats: knows whom to ask.
        intake: takes what is found.
        bus: hears what was found, and what may not be read.
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
    ) -> None:
        self._name = name
        self._settings = settings
        self._client = client
        self._chats = chats
        self._intake = intake
        self._bus = bus
        self._time = client.time
        self._skew = timedelta(seconds=settings.clock_skew)
        self._asked_s: deque[float] = deque()
        self.refused: dict[str, str] = {}
        """Why it is not asked any more, by type of chat."""
        self.left_out = 0
        """How many were not asked, because the hour had no call left, or not to their end."""

    async def since(self, at: datetime | None, containers: Sequence[Container] | None = None) -> Found:
        """Take in what was said since then, but nothing that is too old.

        Args:
            at: None for the end of the last process.
            containers: whom to ask; by default the latest.
        """
        oldest = self._time.now() - timedelta(seconds=self._settings.backfill_max_age)
        look = _Look(since=self._time.of(at) if at else None, oldest=oldest)
        left = deque(self._chats.latest(self._settings.backfill_chats) if containers is None else containers)
        while left:
            container = left.popleft()
            if container.chat_type in self.refused or container.container_id in look.read:
                continue
            if not self._may_ask():
                self.left_out += 1 + len(left)
                break
            try:
                items = await self._read(container, look)
            except Refused as refused:
                ask = self._refused(container, refused)
                if ask == "others":
                    continue
                look.again += [container, *left] if ask == "again" else []
                break
            if not await self._take_in(container, items, look):
                look.again.append(container)
        if look.new:
            self._bus.emit(HistoryRead(channel=self._name, chats=len(look.read), messages=look.new))
        return Found(missed=look.missed, again=look.again)

    async def _read(self, container: Container, look: "_Look") -> list[Json]:
        """What was said there, oldest first; in a group also in the threads, which its history only begins."""
        look.read.add(container.container_id)
        start = self._start(container, look)
        items = await self._said(container.container_id, start, in_thread=container.is_thread)
        if container.chat_type == "p2p" or container.is_thread:
            return items
        threads = dict.fromkeys(text_at(each, "thread_id") for each in reversed(items))
        for thread_id in [each for each in threads if each and each not in look.read]:
            if look.threads == self._settings.backfill_chats or not self._may_ask():
                self.left_out += 1
                continue
            look.threads += 1
            look.read.add(thread_id)
            try:
                items += await self._said(thread_id, start, in_thread=True)
            except Refused as refused:
                if refused.refusal.action is Action.WAIT:
                    raise
        return sorted(items, key=lambda each: moment(text_at(each, "create_time")) or look.oldest)

    async def _said(self, container_id: str, start: datetime, *, in_thread: bool) -> list[Json]:
        items = await self._client.said_since(container_id, start, in_thread=in_thread)
        first_at = moment(text_at(items[0], "create_time")) if len(items) >= MOST_SAID else None
        self.left_out += first_at is not None and first_at > start
        return items

    async def _take_in(self, container: Container, items: list[Json], look: "_Look") -> bool:
        """False: something could not be stored; what was said after it waits for it."""
        look.answered |= {text_at(each, "parent_id") for each in items if self._is_ours(each)}
        begin, now = self._begin(container, look), self._time.now()
        for item in items:
            said_at, message_id = moment(text_at(item, "create_time")), text_at(item, "message_id")
            known = self._chats.has_heard(message_id) or message_id in look.answered
            if said_at is None or known or item.get("deleted") is True:
                continue
            if said_at < begin:
                look.missed += self._is_evidence(container, item, said_at, look.since)
                continue
            new = await self._take(container, item)
            if new is None:
                return False
            look.new += new
            look.missed += new and said_at < now - _ON_ITS_WAY
        return True

    def _is_ours(self, item: Json) -> bool:
        return text_at(item, "sender", "id") == self._settings.app_id and item.get("deleted") is not True

    def _is_evidence(self, container: Container, item: Json, said_at: datetime, since: datetime | None) -> bool:
        """Whether it should have come, though it is too old to be answered: in private everything does."""
        by_a_person = container.chat_type == "p2p" and text_at(item, "sender", "sender_type") == "user"
        return by_a_person and since is not None and said_at > since + self._skew

    def _begin(self, container: Container, look: "_Look") -> datetime:
        """By the platform's clock, which may differ from ours: what is asked for twice is recognised."""
        if look.since is not None:
            return max(look.oldest, look.since - self._skew)
        heard_at = self._chats.heard_before(container.container_id)
        return max(look.oldest, heard_at + _NEXT) if heard_at else look.oldest

    def _start(self, container: Container, look: "_Look") -> datetime:
        """From when on is asked, which costs no more: for evidence, and for threads that began before."""
        if container.chat_type != "p2p":
            return look.oldest
        return look.since - self._skew if look.since is not None else self._begin(container, look)

    def _may_ask(self) -> bool:
        """Whether the hour has a call left; takes it. A connection that flaps is not to eat the month's quota."""
        now_s = self._time.monotonic()
        while self._asked_s and self._asked_s[0] < now_s - _HOUR_S:
            self._asked_s.popleft()
        if len(self._asked_s) >= self._settings.backfill_calls:
            return False
        self._asked_s.append(now_s)
        return True

    def _refused(self, container: Container, refused: Refused) -> Literal["again", "others", "nobody"]:
        """Whom to ask after that: this one again and all that are left, only those, or nobody."""
        refusal = refused.refusal
        match refusal.action:
            case Action.WAIT:
                return "again"
            case Action.CONFIGURE if refusal.scope:
                kind = container.chat_type
                self.refused[kind] = refusal.reason
                self._bus.emit(HistoryRefused(channel=self._name, chat_type=kind, reason=refusal.reason))
            case Action.CONFIGURE | Action.QUOTA:
                return "nobody"
            case Action.TERMINAL:
                self._chats.forget(container.container_id)
        return "others"

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
        except Exception as error:  # noqa: BLE001  the border: it would end every start as long as it stands there
            _log.error("a message of a history could not be taken", exc_info=error)
            self._bus.emit(
                ErrorSeen(
                    category=Category.INTERNAL,
                    message=type(error).__name__,
                    where=f"{self._name}.backfill",
                    logged=True,
                )
            )
            return False
        return taken.new if isinstance(taken, Taken) else None
