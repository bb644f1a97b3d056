"""What does the database's file say of itself?

With the standard library alone: for what is quick, and for an installation that has no SQLAlchemy.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from mainstay.errors import ConfigError, StorageUnavailable

__all__ = ["connected", "lacking", "meaning", "path_of", "reached", "scripts"]

_MEANINGS: Final = {
    sqlite3.SQLITE_BUSY: "another process keeps it locked",
    sqlite3.SQLITE_LOCKED: "it is locked",
    sqlite3.SQLITE_FULL: "the disk is full: free some space",
    sqlite3.SQLITE_READONLY: "it can not be written: check the disk and the file's permissions",
    sqlite3.SQLITE_PERM: "access is denied: check the permissions of the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it can not be opened: check the path, the permissions and the disk",
    sqlite3.SQLITE_IOERR: "the disk reports an error or is full",
    sqlite3.SQLITE_INTERRUPT: "it was interrupted",
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
    scheme, separator, rest = url.partition("://")
    backend = scheme.partition("+")[0]
    if not separator or not backend.isalnum():
        raise ConfigError("storage.url is not a database URL: write it like sqlite:///.mainstay/mainstay.db")
    if backend != "sqlite":
        raise ConfigError(f"storage.url: {backend} is not supported yet: use sqlite:/// and a path")
    database, asked, _ = rest.partition("/")[2].partition("?")
    if asked:
        raise ConfigError("storage.url takes no options after a question mark; see the other settings of storage")
    if not database or database == ":memory:":
        raise ConfigError("storage.url names no file: what is kept in memory only would be lost at every restart")
    return Path(database)


def meaning(error: sqlite3.Error) -> str:
    """What a disk, a lock or a damaged file made SQLite say; empty if the statement itself is to blame."""
    return _MEANINGS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")


@contextmanager
def connected(path: Path, *, called: Path | None = None) -> Iterator[sqlite3.Connection]:
    """A connection to a file that is there; ``called``: its name in errors.

    Raises:
        StorageUnavailable: in place of whatever SQLite raises in the block.
    """
    try:
        address = f"file:{quote(str(path))}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise StorageUnavailable(
            f"database {called or path}: {meaning(error) or 'it can not be used'} ({error})"
        ) from error


def reached(path: Path) -> frozenset[str]:
    """The revisions that the tables have reached: one for each room; none where there is no file, or a new one.

    Raises:
        StorageUnavailable: if it can not be read.
    """
    if not path.exists():
        return frozenset()
    with connected(path) as connection:
        known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'").fetchone()
        rows = connection.execute("SELECT version_num FROM alembic_version") if known else ()
        return frozenset(str(row[0]) for row in rows)


def scripts(room: str) -> list[str]:
    """The revisions of a room's tables, oldest first, by the names of its scripts; nothing of it is imported."""
    found = find_spec(room)
    assert found is not None
    assert found.origin is not None
    return sorted(script.stem for script in (Path(found.origin).parent / "migrations").glob("*.py"))


def lacking(path: Path, rooms: Sequence[str]) -> list[str]:
    """The newest revision of each room that the file has not reached. Raises StorageUnavailable."""
    there = reached(path)
    return [newest for newest in (scripts(room)[-1] for room in rooms) if newest not in there]
