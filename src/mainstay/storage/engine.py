"""How is a connection to the database made, and what do its errors mean?

SQLite's settings belong to the connection and some cannot change inside a transaction, so they are set when it is
made. The driver begins no transactions of its own: BEGIN is sent by the engine, IMMEDIATE for the writer, so that a
write that must wait for another process waits at its beginning, where waiting is harmless, and not in its middle,
where SQLite refuses instead of waiting.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from mainstay.errors import StorageUnavailable
from mainstay.storage.file import meaning, path_of
from mainstay.storage.model import StorageSettings

__all__ = [
    "changes",
    "connect_reader",
    "connect_writer",
    "create",
    "faults",
    "in_transaction",
    "savepoint",
    "unavailable",
]

_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024  # what a burst leaves behind; SQLite itself never shrinks the file


def create(path: Path) -> None:
    """Make the directory and an empty file that only its owner may read, unless they are there.

    Raises:
        StorageUnavailable: if the disk does not let us.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StorageUnavailable(f"database {path}: it can not be created: {error.strerror}") from error


def connect_writer(settings: StorageSettings) -> Engine:
    """The engine of the one thread (or command) that writes."""
    path = path_of(settings.url)
    engine = create_engine(_url(path), poolclass=NullPool, connect_args=_arguments(settings))
    _prepare(engine, [*_pragmas(settings), "PRAGMA journal_mode=WAL"], "BEGIN IMMEDIATE")
    return engine


def connect_reader(settings: StorageSettings) -> Engine:
    """The engine of the threads that read; SQLite refuses a write through it."""
    path = path_of(settings.url)
    engine = create_engine(
        _url(path),
        poolclass=QueuePool,
        pool_size=settings.readers,
        max_overflow=0,
        connect_args=_arguments(settings),
    )
    _prepare(engine, [*_pragmas(settings), "PRAGMA query_only=ON"], "BEGIN")
    return engine


def _url(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


def _arguments(settings: StorageSettings) -> dict[str, object]:
    return {"isolation_level": None, "check_same_thread": False, "timeout": settings.busy_timeout}


def _pragmas(settings: StorageSettings) -> list[str]:
    return [
        f"PRAGMA synchronous={'NORMAL' if settings.synchronous == 'normal' else 'FULL'}",
        "PRAGMA foreign_keys=ON",
        f"PRAGMA journal_size_limit={_WAL_LIMIT_BYTES}",
    ]


def _prepare(engine: Engine, pragmas: list[str], begin: str) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def in_transaction(connection: Connection) -> bool:
    """Whether SQLite still has our transaction: a full disk or an I/O error may have ended it."""
    return _driver(connection).in_transaction


def changes(connection: Connection) -> int:
    """Rows that this connection has changed so far: what tells a write from a look that found nothing to do."""
    return _driver(connection).total_changes


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """What is done within this is undone if it raises, and nothing else of the transaction.

    Said to the driver itself: SQLAlchemy's own nested transaction costs as much as a small work does.
    """
    driver = _driver(connection)
    driver.execute("SAVEPOINT work")
    try:
        yield
    except BaseException:
        if driver.in_transaction:
            driver.execute("ROLLBACK TO work")
            driver.execute("RELEASE work")
        raise
    driver.execute("RELEASE work")


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def unavailable(error: BaseException, path: Path) -> StorageUnavailable | None:
    """What a disk, a lock or a damaged file made SQLite say; None if the statement itself is to blame.

    An I/O error ends the transaction, and what SQLAlchemy then raises is that there is none to roll back: the
    reason is found among the errors that came before.
    """
    seen: BaseException | None = error
    while seen is not None:
        origin = seen.orig if isinstance(seen, DBAPIError) else seen
        if isinstance(origin, sqlite3.Error) and (what := meaning(origin)):
            return StorageUnavailable(f"database {path}: {what} ({origin})")
        seen = seen.__context__
    return None


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Raise what `unavailable` finds in place of the driver's exception."""
    try:
        yield
    except Exception as error:
        fault = unavailable(error, path)
        if fault is None:
            raise
        raise fault from error
