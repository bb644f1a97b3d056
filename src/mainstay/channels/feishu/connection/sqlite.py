"""In which chats was the bot last spoken to?

Every message brings its chat to mind; what has changed is written down once a second, by the way. A crash loses
that second, and a new chat of that second can not be asked for what was missed in it. A chat that nobody has heard
of can not be asked either; of so many only the latest are kept. While something that was missed is still being
fetched, the time that is written is that before it was missed: the next process, too, is to ask for it.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Final, NoReturn

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from mainstay.channels.feishu.connection.model import Container
from mainstay.channels.feishu.envelope import Json, mapping_at, text_at
from mainstay.channels.feishu.tables import chats
from mainstay.errors import StorageUnavailable
from mainstay.storage.sqlite import Storage

__all__ = ["Chats", "moment"]

_log = logging.getLogger(__name__)
_KEPT: Final = 200
_RECENT: Final = 2000
_WRITE_EVERY_S: Final = 1.0
_ADD: Final = insert(chats)
_WRITE: Final = _ADD.on_conflict_do_update(
    index_elements=["channel", "container_id"],
    set_={name: _ADD.excluded[name] for name in ("chat_type", "heard_at")},
)
"""Row by row: one statement of hundreds of rows would be put together anew each time, while messages wait."""


class Chats:
    """Those of one channel."""

    def __init__(self, storage: Storage, channel: str) -> None:
        self._storage = storage
        self._channel = channel
        self._known: dict[str, Container] = {}
        self._before: dict[str, datetime] = {}
        self._recent: dict[str, None] = {}
        self._changed: set[str] = set()
        self._held: dict[str, datetime] | None = None
        self._woken = asyncio.Event()

    async def load(self) -> None:
        """Remember what the last process knew. Without a storage that is nothing."""
        query = select(chats).where(chats.c.channel == self._channel).order_by(chats.c.heard_at)
        try:
            rows = await self._storage.read(lambda tx: tx.execute(query).all())
        except StorageUnavailable as error:
            _log.warning("Error: which chats there are is not known, so none is asked what was missed: %s", error)
            return
        for row in rows:
            self._known.setdefault(
                row.container_id,
                Container(
                    container_id=row.container_id,
                    is_thread=row.is_thread,
                    chat_id=row.chat_id,
                    chat_type=row.chat_type,
                    heard_at=row.heard_at,
                ),
            )
            self._before[row.container_id] = row.heard_at

    def note(self, event: Json) -> None:
        """A message has come: the ``event`` of an ``im.message.receive_v1``."""
        message = mapping_at(event, "message")
        chat_id, said_at = text_at(message, "chat_id"), moment(text_at(message, "create_time"))
        if said_at is None or not 0 < len(chat_id) <= 64:
            return
        self._recent[text_at(message, "message_id")] = None
        if len(self._recent) > _RECENT:
            del self._recent[next(iter(self._recent))]
        thread_id = text_at(message, "thread_id")[:64]
        for container_id in dict.fromkeys((chat_id, thread_id or chat_id)):
            known = self._known.get(container_id)
            self._known[container_id] = Container(
                container_id=container_id,
                is_thread=container_id != chat_id,
                chat_id=chat_id,
                chat_type=text_at(message, "chat_type")[:16],
                heard_at=max(known.heard_at, said_at) if known else said_at,
            )
            self._changed.add(container_id)
        self._woken.set()

    def heard_before(self, container_id: str) -> datetime | None:
        """When the last process heard something there; None if it never did."""
        return self._before.get(container_id)

    def has_heard(self, message_id: str) -> bool:
        """Whether this process has got that message; of very many only the latest are remembered."""
        return message_id in self._recent

    def hold(self) -> None:
        """From now on something may be missing that was said before what comes."""
        if self._held is None:
            self._held = {key: each.heard_at for key, each in self._known.items()}

    def release(self) -> None:
        """Nothing is missing any more."""
        if self._held is not None:
            self._changed |= self._held.keys()
            self._held = None
            self._woken.set()

    def forget(self, container_id: str) -> None:
        """There is nothing to be had from it any more."""
        if self._known.pop(container_id, None):
            self._changed.add(container_id)
            self._woken.set()

    def latest(self, count: int) -> list[Container]:
        """The last that were spoken in, the last of all first."""
        return sorted(self._known.values(), key=lambda each: each.heard_at, reverse=True)[:count]

    async def run(self) -> NoReturn:
        """Write down what changes, until cancelled."""
        try:
            while True:
                await self._woken.wait()
                await asyncio.sleep(_WRITE_EVERY_S)
                self._woken.clear()
                await self.write()
        finally:
            if self._changed:
                await self.write()

    async def write(self) -> None:
        """Write down what has changed; what can not be written now is written the next time."""
        for container in self.latest(len(self._known))[_KEPT:]:
            self.forget(container.container_id)
        changed, self._changed = self._changed, set()
        rows = [self._row(self._known[each]) for each in changed if each in self._known]
        gone = [each for each in changed if each not in self._known]

        def work(tx: Connection) -> None:
            if rows:
                tx.execute(_WRITE, rows)
            if gone:
                mine = chats.c.channel == self._channel
                tx.execute(delete(chats).where(mine, chats.c.container_id.in_(gone)))

        try:
            await self._storage.write(work)
        except StorageUnavailable as error:
            self._changed |= changed
            _log.warning("Error: the chats that were spoken in are not written down yet: %s", error)

    def _row(self, container: Container) -> dict[str, object]:
        return {
            "channel": self._channel,
            "container_id": container.container_id,
            "is_thread": container.is_thread,
            "chat_id": container.chat_id,
            "chat_type": container.chat_type,
            "heard_at": (self._held or {}).get(container.container_id, container.heard_at),
        }


def moment(milliseconds: str) -> datetime | None:
    """When that was; None if it is no time."""
    try:
        return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
