"""How does a second process, or the next one, learn that something is to be left alone?

Shared is only until when a breaker is open, never a count: each process judges by its own calls. It is best effort,
and local first: a storage that is away opens no breaker and holds up no call for long. Rows hold wall time, because
another process has another monotonic clock; the length of the pause stands beside it, so that a clock that was set
does not make a pause longer than it was.
"""

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from mainstay.clock import Clock
from mainstay.errors import Category, StorageUnavailable
from mainstay.recovery.breaker.model import Change, State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.breaker.tables import pauses
from mainstay.recovery.model import Failure
from mainstay.storage.sqlite import Storage

__all__ = ["SharedPauses"]

_FRESH_S: Final = 0.2
_PATIENCE_S: Final = 0.2
_SAME_S: Final = 0.5  # what two clocks differ by when they mean the same moment
_WAITING: Final = 100
_CATEGORIES: Final = frozenset(str(each) for each in Category)
"""A newer worker on the same storage may know more of them."""

_log = logging.getLogger(__name__)


class SharedPauses:
    """The breakers' pauses, shared by the processes of one storage.

    Attributes:
        dropped: pauses that could not be shared since the start.
    """

    def __init__(self, storage: Storage, breakers: Breakers, *, clock: Clock) -> None:
        self._storage = storage
        self._breakers = breakers
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._changes: asyncio.Queue[tuple[str, Change]] = asyncio.Queue(_WAITING)
        self._read_at = -_FRESH_S
        self._heard: dict[str, datetime] = {}  # until when; a pause is heeded once, however the clock is set
        self.dropped = 0
        breakers.listen(self._changed)

    async def refresh(self) -> None:
        """Open what others have opened. Reads the storage at most five times a second, and never raises."""
        now_s = self._clock.monotonic()
        if now_s - self._read_at < _FRESH_S:
            return
        self._read_at = now_s
        try:
            async with asyncio.timeout(_PATIENCE_S):
                rows = await self._storage.read(lambda tx: tx.execute(select(pauses)).all())
        except (StorageUnavailable, TimeoutError) as error:
            _log.warning("Error: which breakers other processes have opened is not known: %r", error)
            return
        now = self._clock.now()
        for row in rows:
            breaker = self._breakers.by_identity.get(row.identity)
            if breaker is None or self._heard.get(row.identity) == row.until_at:
                continue
            self._heard[row.identity] = row.until_at
            left_s = min((row.until_at - now).total_seconds(), row.seconds)
            if left_s > breaker.snapshot().open_s + _SAME_S:
                category = Category(row.category) if row.category in _CATEGORIES else Category.OVERLOADED
                breaker.open_for(left_s, Failure(category=category, message=row.message), cause="told")

    async def run(self) -> None:
        """Write down what opens and closes here, until cancelled."""
        while True:
            identity, change = await self._changes.get()
            try:
                await self._storage.write(lambda tx, i=identity, c=change: self._write(tx, i, c))  # type: ignore[misc]
            except StorageUnavailable as error:
                self.dropped += 1
                _log.warning("Error: other processes do not learn of an open breaker: %s", error)

    def _write(self, tx: Connection, identity: str, change: Change) -> None:
        if change.state is State.CLOSED:
            tx.execute(delete(pauses).where(pauses.c.identity == identity))
            return
        failure = change.failure
        until_at = self._clock.now() + timedelta(seconds=change.open_s)
        values = {
            "until_at": until_at,
            "seconds": change.open_s,
            "category": failure.category if failure else Category.TIMEOUT,
            "message": failure.message if failure else "",
        }
        self._heard[identity] = until_at
        statement = insert(pauses).values(identity=identity, **values)
        longer = pauses.c.until_at < statement.excluded.until_at
        tx.execute(statement.on_conflict_do_update(index_elements=["identity"], set_=values, where=longer))

    def _changed(self, breaker: Breaker, change: Change) -> None:
        identity = next((key for key, each in self._breakers.by_identity.items() if each is breaker), None)
        if identity is not None and change.state is not State.HALF_OPEN and change.cause != "told":
            self._loop.call_soon_threadsafe(self._put, identity, change)

    def _put(self, identity: str, change: Change) -> None:
        try:
            self._changes.put_nowait((identity, change))
        except asyncio.QueueFull:
            self.dropped += 1
