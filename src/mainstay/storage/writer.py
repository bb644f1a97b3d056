"""How do many small writes become one commit?

A commit costs one wait for the disk, however much is in it. So one thread does all the writing: whatever has come
in while the last commit was on its way shares the next one (group commit). Each work has a SAVEPOINT of its own and
fails alone; if the commit fails, none of its works has happened, and each caller is told so.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine

from mainstay.clock import Clock
from mainstay.errors import StorageUnavailable
from mainstay.storage.engine import changes, in_transaction, savepoint, unavailable
from mainstay.storage.model import StorageSettings

__all__ = ["Writer"]

T = TypeVar("T")

_PROBE_BYTES: Final = 64 * 1024  # more than the free pages that a full disk usually still has


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[Connection], Any]
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class _Done:
    result: Any
    changed: bool


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class Writer:
    """The thread that writes. Its counters may be read from any thread."""

    def __init__(self, engine: Engine, settings: StorageSettings, clock: Clock, path: Path) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._path = path
        self._jobs: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)
        self._busy_since: float | None = None
        self.fault = ""
        """Why the last write could not be stored; empty once one was."""
        self.refused = 0
        self.writes = 0
        self.commits = 0
        self.failed = 0
        self.last_commit_s = 0.0

    @property
    def queued(self) -> int:
        """How many works are waiting."""
        return len(self._jobs)

    @property
    def busy_s(self) -> float:
        """How long the transaction that is being made has taken so far."""
        since = self._busy_since
        return 0.0 if since is None else self._clock.monotonic() - since

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Take nothing more, store what waits, end. False if that took longer than ``timeout_s``."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Queue a work. Cancelling the future takes it out again, unless it has begun.

        Raises:
            StorageUnavailable: if too many are waiting, or the storage is closed.
        """
        job = _Job(work, Future())
        with self._wake:
            if self._closing or not self._thread.is_alive():
                raise StorageUnavailable(f"database {self._path}: it is closed; nothing was stored")
            if len(self._jobs) >= self._settings.write_queue:
                self.refused += 1
                raise StorageUnavailable(
                    f"database {self._path}: {len(self._jobs)} writes are waiting already; nothing was stored"
                )
            self._jobs.append(job)
            self._wake.notify()
        return job.future

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._busy_since = self._clock.monotonic()
            if batch:
                self._write(batch)
            else:
                self._probe()
            self._busy_since = None
        self._disconnect()

    def _next(self) -> list[_Job] | None:
        """The works of the next transaction; empty when it is time to probe; None at the end."""
        with self._wake:
            while not self._jobs:
                if self._closing:
                    return None
                if not self._wake.wait(self._settings.probe_interval if self.fault else None) and not self._jobs:
                    return []
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), self._settings.batch))]

    def _write(self, batch: Sequence[_Job]) -> None:
        jobs = [job for job in batch if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        try:
            ends = self._transact([job.work for job in jobs])
        except BaseException as error:  # noqa: BLE001  the thread's border: it becomes every caller's exception
            self._disconnect()
            ends = [_Failed(self._reason(error)) for _ in jobs]
        else:
            self.commits += 1
            self.last_commit_s = self.busy_s
        self._count(ends)
        self._busy_since = None
        for job, end in zip(jobs, ends, strict=True):
            match end:
                case _Done():
                    job.future.set_result(end.result)
                case _Failed():
                    job.future.set_exception(end.error)

    def _transact(self, works: Sequence[Callable[[Connection], Any]]) -> list[_Done | _Failed]:
        connection = self._connect()
        with connection.begin():
            return [self._attempt(connection, work) for work in works]

    def _attempt(self, connection: Connection, work: Callable[[Connection], Any]) -> _Done | _Failed:
        before = changes(connection)
        try:
            with savepoint(connection):
                result = work(connection)
        except BaseException as error:
            if not in_transaction(connection):
                raise
            return _Failed(unavailable(error, self._path) or error)
        return _Done(result, changes(connection) != before)

    def _count(self, ends: Sequence[_Done | _Failed]) -> None:
        faults = [
            end.error for end in ends if isinstance(end, _Failed) and isinstance(end.error, StorageUnavailable)
        ]
        done = [end for end in ends if isinstance(end, _Done)]
        self.failed += len(faults)
        self.writes += len(done)
        if faults:
            self.fault = str(faults[0])
        elif any(end.changed for end in done):  # a look that found nothing to write proves nothing
            self.fault = ""

    def _reason(self, error: BaseException) -> StorageUnavailable:
        fault = unavailable(error, self._path) or StorageUnavailable(
            f"database {self._path}: the transaction failed ({type(error).__name__}: {error})"
        )
        fault.__cause__ = error
        return fault

    def _probe(self) -> None:
        """Store something and remove it, so that a recovery shows although nobody writes."""
        try:
            connection = self._connect()
            with connection.begin():
                connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS storage_probe (filler BLOB)")
                connection.exec_driver_sql("INSERT INTO storage_probe VALUES (zeroblob(?))", (_PROBE_BYTES,))
            with connection.begin():
                connection.exec_driver_sql("DROP TABLE storage_probe")
        except Exception as error:  # noqa: BLE001  the thread's border: it stays the reason of `check`
            self._disconnect()
            self.fault = str(self._reason(error))
        else:
            self.fault = ""

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

    def _disconnect(self) -> None:
        """Give the connection up: after a failed commit nobody knows its state; the next write makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()
