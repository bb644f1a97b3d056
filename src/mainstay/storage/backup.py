"""How is the database copied while it is written, and a copy made the database again?

VACUUM INTO, not SQLite's online backup. It reads one snapshot, as it was when it began, holds up no writer, and can
be given a deadline; the copy is one file of the smallest size, without what was deleted. The online backup in steps
begins anew whenever another process has written, and beside a busy service never ends; in a single step nobody can
end it, and it copies deleted pages too. While a copy is made the write-ahead log can not be emptied: it grows by
what is written meanwhile.

What has its final name is whole: everything is written aside, checked, synced, and then renamed.
"""

import fcntl
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from mainstay.errors import ConfigError, MainstayError, SchemaMismatch, StorageUnavailable
from mainstay.storage.file import connected, path_of, reached, scripts
from mainstay.storage.holding import alone, holding

__all__ = ["Copy", "Restored", "back_up", "copy_file", "database_of", "dated", "prune", "restore"]

_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock
_STAMP: Final = r"\d{8}T\d{6}\.\d{3}Z"
_SIDES: Final = ("-wal", "-shm", "-journal")
"""Of files that SQLite has beside a database, and reads again when it is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A database that was checked.

    Attributes:
        revisions: what its tables have reached, see `mainstay.storage.schema`.
    """

    path: Path
    size_bytes: int
    revisions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What has taken the database's place.

    Attributes:
        kept: where the database is that was there before; None if there was none.
        lacking: revisions that it has not reached; `mainstay.storage.migrate` leads there.
    """

    copy: Copy
    kept: Path | None
    lacking: tuple[str, ...]


def database_of(url: str) -> Path:
    """The file that is backed up. Raises ConfigError where that is another program's business."""
    if url.startswith("postgres"):
        raise ConfigError(
            "storage.url: a PostgreSQL database is backed up by pg_dump --format=custom, and restored by pg_restore"
        )
    return path_of(url)


def dated(name: str, at: datetime) -> str:
    """How a backup is called that was given no name: ``feishu-agent-20261126T041530.123Z.db``."""
    return f"{name}-{at.astimezone(UTC):%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z.db"


def back_up(path: Path, target: Path, *, within_s: float) -> Copy:
    """Copy the database as it is now; other processes go on using it.

    Raises:
        MainstayError: if there is something at ``target`` already.
        StorageUnavailable: there is no database, it is damaged or exchanged, a disk is full, it takes too long.
    """
    if not path.exists():
        raise StorageUnavailable(f"there is no database at {path} yet: `mainstay migrate` makes one")
    with holding(path), _aside(target) as fresh:
        _copy(path, fresh, within_s)
        copy = _checked(fresh)
    return Copy(path=target, size_bytes=copy.size_bytes, revisions=copy.revisions)


def copy_file(source: Path, target: Path) -> None:
    """A file that belongs to a backup, readable for its owner only. Raises MainstayError."""
    with source.open("rb") as whole, _aside(target) as fresh, fresh.open("wb") as file:
        shutil.copyfileobj(whole, file)


def prune(directory: Path, name: str, keep: int, *, beside: Sequence[str]) -> list[Path]:
    """Remove all but the newest of those that `dated` has named; returns which.

    Args:
        directory: where they are.
        name: see `dated`.
        keep: how many stay.
        beside: the endings, behind the backup's name, of what was copied with it and goes with it.
    """
    ours = re.compile(rf"{re.escape(name)}-{_STAMP}\.db")
    found = sorted(each for each in directory.iterdir() if ours.fullmatch(each.name) and each.is_file())
    old = found[: max(0, len(found) - keep)]
    for backup in old:
        for ending in beside:
            backup.with_name(backup.name + ending).unlink(missing_ok=True)
        backup.unlink()
    return old


def restore(file: Path, path: Path, *, rooms: Sequence[str], at: datetime) -> Restored:
    """Make that file the database; the one that is there is kept beside it.

    Args:
        file: a backup; it is left as it is.
        path: of the database.
        rooms: see `mainstay.storage.migrate.pending`.
        at: now, for the name of what is kept.

    Raises:
        MainstayError: the database is in use, the file is no backup, or a disk is full; nothing was changed.
        SchemaMismatch: a newer version of this program has written it.
    """
    _refuse(file, path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with alone(path):
        fresh = path.with_name(f".{path.name}.restoring")
        fresh.unlink(missing_ok=True)
        with file.open("rb") as backup, _aside(fresh) as whole, whole.open("wb") as opened:
            shutil.copyfileobj(backup, opened)
        try:
            copy = _checked(fresh, called=file)
            history = [scripts(room) for room in rooms]
            _refuse_newer(file, copy.revisions, history)
            kept = _keep(path, at)
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync(path.parent)
    lacking = tuple(known[-1] for known in history if known[-1] not in copy.revisions)
    return Restored(copy=copy, kept=kept, lacking=lacking)


def _refuse(file: Path, path: Path) -> None:
    if not file.is_file():
        raise MainstayError(f"{file} is not there, or no file: name a backup, as `mainstay backup` makes them")
    if path.exists() and file.samefile(path):
        raise MainstayError(f"{file} is the database itself")
    with suppress(FileNotFoundError):
        if file.with_name(f"{file.name}-wal").stat().st_size:
            raise MainstayError(
                f"{file} is only a part: what was written last is in {file.name}-wal; copy it by `mainstay backup`"
            )


def _refuse_newer(file: Path, revisions: Sequence[str], history: Sequence[Sequence[str]]) -> None:
    if not revisions:
        raise MainstayError(f"{file} is a database, but none of Mainstay's")
    unknown = sorted(set(revisions) - {revision for known in history for revision in known})
    if unknown:
        raise SchemaMismatch(
            f"{file} was written by a newer version of this program, which is needed here ({', '.join(unknown)})"
        )


def _keep(path: Path, at: datetime) -> Path | None:
    """Give the database a second name, and take away what SQLite would believe to belong to the next one.

    What the write-ahead log holds is brought into the file. Where that can not be done, because the file is
    damaged, the log is kept with it, as it was.
    """
    if not path.exists():
        _drop_sides(path)
        return None
    kept = path.with_name(f"{path.name}.before-{at.astimezone(UTC):%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z")
    for side in ("", *_SIDES):
        with suppress(FileNotFoundError):
            kept.with_name(kept.name + side).hardlink_to(path.with_name(path.name + side))
    with suppress(StorageUnavailable), connected(path) as connection:
        connection.execute("PRAGMA busy_timeout=0")  # none of ours has it open; others are not waited for
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not is_busy:
            _drop_sides(kept)
    _sync(path.parent)
    _drop_sides(path)
    return kept


def _drop_sides(path: Path) -> None:
    for side in _SIDES:
        path.with_name(path.name + side).unlink(missing_ok=True)


def _copy(path: Path, fresh: Path, within_s: float) -> None:
    until_s = time.monotonic() + within_s  # noqa: TID251  a command, not a machine

    def is_late() -> bool:
        return time.monotonic() > until_s  # noqa: TID251

    try:
        with connected(path) as connection:
            connection.set_progress_handler(is_late, _STEPS)
            connection.execute("VACUUM INTO ?", (str(fresh),))
    except StorageUnavailable as error:
        if is_late():
            raise StorageUnavailable(
                f"database {path}: copying it takes longer than {within_s:g} s: allow more"
            ) from error
        raise


def _checked(path: Path, *, called: Path | None = None) -> Copy:
    """What is in there, once SQLite finds nothing wrong with it. Raises StorageUnavailable."""
    with connected(path, called=called) as connection:
        found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(3)")]
    if found != ["ok"]:
        raise StorageUnavailable(f"database {called or path}: the file is damaged ({'; '.join(found)})")
    return Copy(path=path, size_bytes=path.stat().st_size, revisions=tuple(sorted(reached(path))))


@contextmanager
def _aside(target: Path) -> Iterator[Path]:
    """An empty file, which gets that name when the block has ended well, and is gone when it has not.

    What a kill has left is removed by the next one: a file that is being written is locked.

    Raises:
        MainstayError: there is something of that name, or the disk is full.
    """
    if os.path.lexists(target):
        raise MainstayError(f"{target} exists already, and is left as it is")
    fresh = target.with_name(f".{target.name}.mainstay-{os.getpid()}.partial")
    try:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(target.parent)
        file = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield fresh
            os.fsync(file)
            fresh.rename(target)
        except BaseException:
            _remove(fresh)
            raise
        finally:
            os.close(file)
        _sync(target.parent)
    except OSError as error:
        raise MainstayError(f"{target} can not be written: {error.strerror}") from error


def _sweep(directory: Path) -> None:
    for left in directory.glob(".*.mainstay-*.partial"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(left)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _drop_sides(path)


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
