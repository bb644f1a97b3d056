"""How does a restart, or a second worker, know how many calls were made?

Calls are added to the month's one row some seconds after they were made, all at once; each write comes back with
what every process has made. A process that is killed in between has its last seconds not counted, and a write of
which nobody knows whether it was stored is made again. An app has twelve rows a year: none is forgotten.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import Connection, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from mainstay.channels.feishu.governor.model import Mode
from mainstay.channels.feishu.governor.quota import Quota, Stretch, month_of
from mainstay.channels.feishu.tables import calls
from mainstay.clock import Clock
from mainstay.errors import StorageUnavailable
from mainstay.storage.sqlite import Storage

__all__ = ["StoredCalls"]

_EVERY_S: Final = 10.0
_log = logging.getLogger(__name__)


class StoredCalls:
    """The calls that all processes have made for one app.

    Args:
        quota: of this process.
        on_stretched: called with the calls used, by the one process that was the first to see that they run short.
        every_s: how long calls are gathered.
    """

    def __init__(
        self,
        storage: Storage,
        app_id: str,
        *,
        quota: Quota,
        clock: Clock,
        on_stretched: Callable[[int], object],
        every_s: float = _EVERY_S,
    ) -> None:
        self._storage = storage
        self._app_id = app_id
        self._quota = quota
        self._clock = clock
        self._on_stretched = on_stretched
        self._every_s = every_s
        self._failing = False

    async def run(self) -> None:
        """Learn what was used, then write down what is used, until cancelled; the rest is written then."""
        try:
            await self.load()
            while True:
                await asyncio.sleep(self._every_s)
                await self.flush()
        finally:
            await self.flush()

    async def load(self) -> None:
        """Learn what was used; where that can not be read, the next write tells."""
        month = month_of(self._clock.now())
        self._quota.used(self._clock.now())
        try:
            self._learn(month, await self._storage.read(lambda tx: _row(tx, self._app_id, month)))
        except StorageUnavailable as error:
            self._failed(error)

    async def flush(self) -> None:
        """Write down what was used so far."""
        if not self._quota.unsaved:
            return
        now = self._clock.now()
        month, leaving = month_of(now), self._quota.leave()
        stretch = None
        if self._quota.mode(now) is Mode.STRETCHED:
            stretch = Stretch(now, self._quota.used(now))

        def work(tx: Connection) -> tuple[bool, tuple[int, Stretch | None]]:
            _add(tx, self._app_id, leaving)
            first = stretch is not None and _stretched(tx, self._app_id, month, stretch, self._quota.stretched_from)
            return first, _row(tx, self._app_id, month)

        try:
            first, row = await self._storage.write(work)
        except BaseException as error:
            self._quota.not_saved()
            if not isinstance(error, StorageUnavailable):
                raise
            self._failed(error)
            return
        self._failing = False
        self._quota.saved()
        self._learn(month, row)
        if first:
            self._on_stretched(row[0])

    def _learn(self, month: str, row: tuple[int, Stretch | None]) -> None:
        self._quota.learn(month, *row)

    def _failed(self, error: StorageUnavailable) -> None:
        if not self._failing:
            _log.warning("Error: the platform's calls are not written down yet: %s", error)
        self._failing = True


def _add(tx: Connection, app_id: str, leaving: Mapping[str, int]) -> None:
    statement = insert(calls)
    upsert = statement.on_conflict_do_update(
        index_elements=["app_id", "month"], set_={"used": calls.c.used + statement.excluded.used}
    )
    tx.execute(upsert, [{"app_id": app_id, "month": month, "used": used} for month, used in leaving.items()])


def _stretched(tx: Connection, app_id: str, month: str, stretch: Stretch, stretched_from: float) -> bool:
    """Store where the line begins; False if another process has done so, for as many calls a month."""
    unknown = or_(calls.c.stretched_at.is_(None), calls.c.stretched_used < stretched_from)
    row = (calls.c.app_id == app_id, calls.c.month == month, unknown)
    values = {"stretched_at": stretch.since, "stretched_used": stretch.used}
    return tx.execute(update(calls).where(*row).values(values)).rowcount == 1


def _row(tx: Connection, app_id: str, month: str) -> tuple[int, Stretch | None]:
    row = tx.execute(select(calls).where(calls.c.app_id == app_id, calls.c.month == month)).one_or_none()
    if row is None:
        return 0, None
    stretch = Stretch(row.stretched_at, row.stretched_used) if row.stretched_at is not None else None
    return row.used, stretch
