"""How do the tables become what the program needs?

Each room owns its tables and their history: ``tables.HEAD`` names the revision its code needs, ``migrations/``
holds the Alembic scripts that lead there, one branch for each room. All of them run in one transaction, under a
lock on a file beside the database, so that two starts at once migrate once. Every migration must leave the program
of the version before it working: during a reload both run.

Alembic takes longer to import than all the rest, so it is imported only when there is something to do.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final

from mainstay.errors import SchemaMismatch, StorageUnavailable
from mainstay.storage.engine import connect_reader, connect_writer, create, faults
from mainstay.storage.file import path_of
from mainstay.storage.holding import holding
from mainstay.storage.model import StorageSettings
from mainstay.storage.schema import missing, revisions

__all__ = ["pending", "upgrade"]

_LOCK_TIMEOUT_S: Final = 60.0
_LOCK_POLL_S: Final = 0.05
_ENVIRONMENT: Final = Path(__file__).parent / "environment"


def pending(url: str, rooms: Sequence[str]) -> list[str]:
    """The revisions that the database lacks; empty when there is nothing to do. Changes nothing.

    Args:
        url: see `StorageSettings.url`.
        rooms: packages with a ``tables`` module and a ``migrations`` folder, e.g. ``"mainstay.inbox"``.

    Raises:
        StorageUnavailable: if the database can not be read.
    """
    heads = [import_module(f"{room}.tables").HEAD for room in rooms]
    path = path_of(url)
    if not path.exists():
        return heads
    engine = connect_reader(StorageSettings(url=url))
    try:
        with faults(path), engine.connect() as connection:
            return missing(heads, revisions(connection))
    finally:
        engine.dispose()


def upgrade(url: str, rooms: Sequence[str]) -> list[str]:
    """Bring the database to what the rooms need; returns the revisions that were lacking.

    Raises:
        SchemaMismatch: if a newer version of the program has written it.
        StorageUnavailable: if it can not be written, or somebody else has been migrating for a minute.
    """
    if not pending(url, rooms):
        return []
    path = path_of(url)
    create(path)
    with holding(path), _locked(path):
        lacking = pending(url, rooms)
        if lacking:
            _run(url, path, rooms)
        return lacking


def _run(url: str, path: Path, rooms: Sequence[str]) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(attributes={})
    config.set_main_option("script_location", _escaped(_ENVIRONMENT))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(_escaped(_migrations(room)) for room in rooms))
    engine = connect_writer(StorageSettings(url=url))
    try:
        with faults(path), engine.connect() as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, "heads")
    except CommandError as error:
        raise SchemaMismatch(
            f"database {path}: it was written by a newer version of this program, which is needed here ({error})"
        ) from error
    finally:
        engine.dispose()


def _migrations(room: str) -> Path:
    origin = import_module(f"{room}.tables").__file__
    assert origin is not None
    return Path(origin).parent / "migrations"


def _escaped(path: Path) -> str:
    return str(path).replace("%", "%%")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    name = path.with_name(path.name + ".migrating")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageUnavailable(f"database {path}: {name.name} can not be created: {error.strerror}") from error
    try:
        give_up_at = time.monotonic() + _LOCK_TIMEOUT_S  # noqa: TID251  a command, not a machine
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up_at:  # noqa: TID251
                    raise StorageUnavailable(
                        f"database {path}: another process has been migrating it for a minute"
                    ) from None
                time.sleep(_LOCK_POLL_S)
            else:
                break
        yield
    finally:
        os.close(lock)
