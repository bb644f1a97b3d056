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

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from mainstay.errors import ConfigError, StorageUnavailable
from mainstay.storage.model import StorageSettings

__all__ = [
    "changes",
    "connect_reader",
    "connect_writer",
    "create",
    "faults",
    "in_transaction",
    "path_of",
    "unavailable",
]

_WAL_LIMIT_BYTES: Final = 64 * 1024 * 1024  # what a burst leaves behind; SQLite itself never shrinks the file

_MEANINGS: Final = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_LOCKED: "it is locked",
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it can not be written: check the disk and the file's permissions",
    sqlite3.SQLITE_PERM: "access is denied: check the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it can not be opened: check the path, the permissions and the disk",
    sqlite3.SQLITE_IOERR: "the disk reports an error or is full",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_PROTOCOL: "its locks do not work: it must be on a local disk",
    sqlite3.SQLITE_CORRUPT: "the file is damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is not a database: check the path",
}


def path_of(url: str) -> Path:
    """The file behind ``sqlite:///path``.

    Raises:
        ConfigError: for anything else; PostgreSQL is not supported yet.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "storage.url is not a database URL: write it like sqlite:///.mainstay/mainstay.db"
        ) from None
    if parsed.get_backend_name() != "sqlite":
        raise ConfigError(
            f"storage.url: {parsed.get_backend_name()} is not supported yet: use sqlite:/// and a path"
        )
    if parsed.query:
        raise ConfigError("storage.url takes no options after a question mark; see the other settings of storage")
    if not parsed.database or parsed.database == ":memory:":
        raise ConfigError("storage.url names no file: what is kept in memory only would be lost at every restart")
    return Path(parsed.database)


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
        if isinstance(origin, sqlite3.Error):
            meaning = _MEANINGS.get(getattr(origin, "sqlite_errorcode", 0) & 0xFF)
            if meaning:
                return StorageUnavailable(f"database {path}: {meaning} ({origin})")
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
