"""How does a restart, or a second worker, know what was spent?

Spending is written after it was entered, by one task, and each write comes back with what everybody has spent.
Before a call the totals are read again: at most five times a second, or each time where chats have a limit, as it
is another chat's turn then. A storage that is away stops no answer: the books of this process decide then, and are
written when it is back. A write of which nobody knows whether it was stored is made again: a disk that hangs may
let something be counted twice, never not at all.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from math import ceil
from typing import Final

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.sqlite import insert

from mainstay.clock import Clock
from mainstay.errors import StorageUnavailable
from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.model import Key, Spent, Totals
from mainstay.models.budget.tables import spending
from mainstay.storage.sqlite import Storage

__all__ = ["StoredSpending"]

_FRESH_S: Final = 0.2
_PATIENCE_S: Final = 1.0
_AGAIN_S: Final = 1.0
_PICO: Final = Decimal(10**12)
_COUNTS: Final = ("picodollars", "input_tokens", "output_tokens", "attempts", "estimated", "unpriced")
_log = logging.getLogger(__name__)


class StoredSpending:
    """The spending of all processes of one storage.

    Args:
        storage: where it is kept.
        ledger: of this process; asks for what the others have spent from now on.
        retention_s: for how long it is kept.
        clock: for how old a reading is.
    """

    def __init__(self, storage: Storage, ledger: Ledger, *, retention_s: float, clock: Clock) -> None:
        self._storage = storage
        self._ledger = ledger
        self._retention = timedelta(seconds=retention_s)
        self._clock = clock
        self._entered = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()  # so that no reading is older than a write that was counted already
        self._read_at = -_FRESH_S
        self._away_until = 0.0
        ledger.keep(self._refresh, self._entered.set)

    async def run(self) -> None:
        """Learn what was spent today, then write down what is entered here, until cancelled."""
        await self._read("", patience_s=None)
        while True:
            await self._entered.wait()
            self._entered.clear()
            if not await self.flush():
                await asyncio.sleep(_AGAIN_S)
                self._entered.set()

    async def flush(self) -> bool:
        """Write down what has been entered so far; False if the storage is away."""
        books = self._ledger.books
        async with self._one_at_a_time:
            if not books.unsaved:
                return True
            day, leaving = self._ledger.today, books.leave()
            try:
                totals = await self._storage.write(lambda tx: _add(tx, leaving, day))
            except BaseException as error:
                books.not_saved()
                if not isinstance(error, StorageUnavailable):
                    raise
                self._failed("what was spent is not written yet", error)
                return False
            books.saved(totals)
            self._away_until = 0.0
            return True

    async def prune(self) -> int:
        """Forget the days past the retention, one at a time; returns how many rows."""
        before, forgotten = self._ledger.today - self._retention, 0
        while day := await self._storage.read(lambda tx: _oldest(tx, before)):
            forgotten += await self._storage.write(lambda tx, d=day: _forget(tx, d))  # type: ignore[misc]
        return forgotten

    async def _refresh(self, chat: str) -> None:
        """See `Ledger.keep`. Without limits nothing depends on it."""
        limits, now_s = self._ledger.books.limits, self._clock.monotonic()
        is_fresh = now_s - self._read_at < _FRESH_S and limits.per_chat is None
        if limits.are_set and not is_fresh and now_s >= self._away_until:
            await self._read(chat, patience_s=_PATIENCE_S)

    async def _read(self, chat: str, *, patience_s: float | None) -> None:
        day = self._ledger.today
        self._ledger.books.today(day)
        self._read_at = self._clock.monotonic()
        try:
            async with asyncio.timeout(patience_s), self._one_at_a_time:
                totals = await self._storage.read(lambda tx: _totals(tx, day, [chat]))
                self._ledger.books.learn(totals)
                self._away_until = 0.0
        except (StorageUnavailable, TimeoutError) as error:
            self._failed("what other processes have spent is not known", error)

    def _failed(self, what: str, error: BaseException) -> None:
        if not self._away_until:
            _log.warning("Error: %s: %r", what, error)
        self._away_until = self._clock.monotonic() + _AGAIN_S


def _add(tx: Connection, leaving: Mapping[Key, Spent], day: date) -> Totals:
    statement = insert(spending)
    more = {name: spending.c[name] + statement.excluded[name] for name in _COUNTS}
    upsert = statement.on_conflict_do_update(index_elements=["day", "chat", "model"], set_=more)
    tx.execute(upsert, [_row(key, spent) for key, spent in leaving.items()])
    return _totals(tx, day, {chat for when, _, chat in leaving if when == day})


def _row(key: Key, spent: Spent) -> dict[str, object]:
    day, model, chat = key
    return {
        "day": day,
        "model": model,
        "chat": chat,
        "picodollars": ceil(spent.dollars * _PICO),
        "input_tokens": spent.input_tokens,
        "output_tokens": spent.output_tokens,
        "attempts": spent.attempts,
        "estimated": spent.estimated,
        "unpriced": spent.unpriced,
    }


def _totals(tx: Connection, day: date, chats: Iterable[str]) -> Totals:
    total = func.sum(spending.c.picodollars)
    today = spending.c.day == day
    by_model = select(spending.c.model, total).where(today).group_by(spending.c.model)
    by_chat = select(spending.c.chat, total).where(today, spending.c.chat.in_(chats)).group_by(spending.c.chat)
    return Totals(
        day=day,
        models={name: sum_ / _PICO for name, sum_ in tx.execute(by_model)},
        chats={name: sum_ / _PICO for name, sum_ in tx.execute(by_chat)},
    )


def _oldest(tx: Connection, before: date) -> date | None:
    oldest: date | None = tx.scalar(select(func.min(spending.c.day)).where(spending.c.day < before))
    return oldest


def _forget(tx: Connection, day: date) -> int:
    return tx.execute(delete(spending).where(spending.c.day == day)).rowcount
