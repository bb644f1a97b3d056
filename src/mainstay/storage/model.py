"""How is the database to be used, and how busy is it?"""

from dataclasses import dataclass

from mainstay.settings import duration, setting

__all__ = ["StorageSettings", "StorageStats"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageSettings:
    """The section ``[storage]``."""

    url: str = setting(
        "sqlite:///.mainstay/mainstay.db", help="Where everything is kept: sqlite:/// and the path of a file."
    )
    synchronous: str = setting(
        "full",
        help="full: a commit survives a power cut; normal: it survives a crash of the process only.",
        choices=("full", "normal"),
    )
    busy_timeout: float = duration("5s", help="How long to wait for another process's write to end.")
    write_timeout: float = duration("10s", help="How long a write may take, its wait for the writer included.")
    read_timeout: float = duration("5s", help="How long a read may take, its wait for a reader included.")
    write_queue: int = setting(1000, help="Writes that may wait for the writer; more are refused.")
    read_queue: int = setting(1000, help="Reads that may wait or run; more are refused.")
    batch: int = setting(64, help="Writes that share one commit at most.")
    readers: int = setting(3, help="Threads that read.")
    probe_interval: float = duration("5s", help="How often a failing database is tried while nothing is written.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageStats:
    """What the database has done since it was opened, and its size now.

    Attributes:
        wal_bytes: the write-ahead log: what has been committed but not yet moved into the main file.
        queued: writes waiting for the writer.
        refused: writes and reads turned away because the queue was full.
        writes: works that were stored.
        commits: transactions they shared.
        failed: works that could not be stored because of the database, not because of themselves.
        last_commit_s: how long the last transaction took, from BEGIN to the end of COMMIT.
    """

    size_bytes: int
    wal_bytes: int
    queued: int
    refused: int
    writes: int
    commits: int
    failed: int
    last_commit_s: float
