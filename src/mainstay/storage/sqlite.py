"""Where is everything kept, and who may write?

The rooms hand in functions of a SQLAlchemy `Connection`; here they get a thread and a transaction. All writing is
done by one thread (`mainstay.storage.writer`), reading by a few others, each on a snapshot of its own. A work must
return plain values, not a result that still reads, and must not commit.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from mainstay.checks import Condition
from mainstay.clock import Clock
from mainstay.errors import LeftAlone, SchemaMismatch, StorageUnavailable
from mainstay.guard import Guard, Unguarded
from mainstay.storage.engine import connect_reader, connect_writer, create, faults
from mainstay.storage.file import path_of
from mainstay.storage.holding import hold
from mainstay.storage.model import StorageSettings, StorageStats
from mainstay.storage.schema import missing, revisions
from mainstay.storage.writer import Writer

__all__ = ["Storage"]

T = TypeVar("T")


class Storage:
    """One per process. `open` it before anything else and `close` it last.

    Args:
        settings: see `StorageSettings`.
        clock: for deadlines.
        guard: asked before each read and write.

    Raises:
        ConfigError: if the URL is not one of a SQLite file.
    """

    def __init__(self, settings: StorageSettings, *, clock: Clock, guard: Guard | None = None) -> None:
        self._settings = settings
        self._guard = guard or Unguarded()
        self._path = path_of(settings.url)
        self._writing = connect_writer(settings)
        self._reading = connect_reader(settings)
        self._writer = Writer(self._writing, settings, clock, self._path)
        self._readers = ThreadPoolExecutor(settings.readers, thread_name_prefix="storage-reader")
        self._read_slots = threading.Semaphore(settings.read_queue)
        self._reads_refused = 0
        self._held: int | None = None

    async def open(self, expected: Mapping[str, str]) -> None:
        """Connect, after checking that the database has these tables.

        Args:
            expected: the revision that each room's code needs: its ``tables.HEAD``.

        Raises:
            SchemaMismatch: if it has others; the message names the command that helps.
            StorageUnavailable: if it can not be opened.
        """
        await asyncio.to_thread(self._open, expected)
        self._writer.start()

    def _open(self, expected: Mapping[str, str]) -> None:
        if expected and not self._path.exists():
            raise SchemaMismatch(f"there is no database at {self._path} yet: run `mainstay migrate`")
        create(self._path)
        self._held = hold(self._path)
        try:
            self._compare(expected)
        except BaseException:
            self._let_go()
            raise

    def _compare(self, expected: Mapping[str, str]) -> None:
        with faults(self._path), self._writing.connect(), self._reading.connect() as connection:
            reached = revisions(connection)
        lacking = missing(expected.values(), reached)
        if lacking:
            raise SchemaMismatch(
                f"database {self._path}: this program needs {', '.join(lacking)}, "
                f"there is {', '.join(sorted(reached)) or 'nothing'}: run `mainstay migrate`"
            )

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction and return its result once that is stored for good.

        Cancelling takes the work back if it has not begun; else it is stored and its result is lost.

        Raises:
            StorageUnavailable: if it could not be stored, or not within ``write_timeout``.
            Exception: whatever ``work`` raised; nothing of it is stored then.
        """
        with self._permit():
            return await self._end(self._writer.submit(work), self._settings.write_timeout, "write")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` on a snapshot of what was stored when it began.

        Raises:
            StorageUnavailable: if it could not be read, or not within ``read_timeout``.
            Exception: whatever ``work`` raised.
        """
        with self._permit():
            return await self._end(self._submit_read(work), self._settings.read_timeout, "read")

    def _permit(self) -> AbstractContextManager[object]:
        """Where the database has failed of late, nobody waits for it to fail once more."""
        try:
            return self._guard.permit()
        except LeftAlone as error:
            raise StorageUnavailable(str(error)) from error

    def _submit_read(self, work: Callable[[Connection], T]) -> Future[T]:
        if not self._read_slots.acquire(blocking=False):
            self._reads_refused += 1
            raise StorageUnavailable(
                f"database {self._path}: {self._settings.read_queue} reads are waiting already"
            )
        try:
            future = self._readers.submit(self._read, work)
        except RuntimeError as error:
            self._read_slots.release()
            raise StorageUnavailable(f"database {self._path}: it is closed") from error
        future.add_done_callback(lambda _: self._read_slots.release())
        return future

    def _read(self, work: Callable[[Connection], T]) -> T:
        with faults(self._path), self._reading.connect() as connection, connection.begin():
            return work(connection)

    async def _end(self, future: Future[T], timeout_s: float, what: str) -> T:
        waiting = asyncio.wrap_future(future)
        try:
            await asyncio.wait({waiting}, timeout=timeout_s)
            if waiting.done():
                return waiting.result()
            begun = not future.cancel()
            doubt = "; it may still be stored" if begun and what == "write" else ""
            raise StorageUnavailable(f"database {self._path}: a {what} took longer than {timeout_s:g} s{doubt}")
        finally:
            if not waiting.done():
                waiting.cancel()

    async def close(self) -> None:
        """Store what waits, let reads end, and give the file back."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        drained = self._writer.stop(self._settings.write_timeout)
        self._readers.shutdown()
        self._reading.dispose()
        self._writing.dispose()
        self._let_go()
        if not drained:
            lost = self._writer.queued
            raise StorageUnavailable(
                f"database {self._path}: {lost} writes were given up: the disk does not answer"
            )

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            os.close(held)

    def check(self) -> Condition:
        """``"database"``: down from a failed write until one succeeds, or while one hangs."""
        writer = self._writer
        reason = writer.fault
        if writer.busy_s > self._settings.write_timeout:
            reason = f"database {self._path}: a write has taken {writer.busy_s:.0f} s so far"
        return Condition(
            name="database",
            affects_status=bool(reason),
            status="down" if reason else "ok",
            reason=reason,
            detail={"queued": writer.queued, "lastCommitMs": round(writer.last_commit_s * 1000, 3)},
        )

    def stats(self) -> StorageStats:
        """Counters since `open`, and sizes now; cheap enough for every scrape."""
        writer = self._writer
        return StorageStats(
            size_bytes=_size(self._path),
            wal_bytes=_size(self._path.with_name(self._path.name + "-wal")),
            queued=writer.queued,
            refused=writer.refused + self._reads_refused,
            writes=writer.writes,
            commits=writer.commits,
            failed=writer.failed,
            last_commit_s=writer.last_commit_s,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
