"""A process whose disk is full for a while; tests/storage/test_disk.py reads what it prints.

The limit on the size of files (RLIMIT_FSIZE) makes the kernel refuse to let the write-ahead log grow, so that it is
the COMMIT which fails, as on a full disk.
"""

import asyncio
import json
import resource
import sys
from pathlib import Path

from mainstay.clock import SystemClock
from mainstay.errors import StorageUnavailable
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def size_of(path: str) -> int:
    return Path(path).stat().st_size


async def main(path: str) -> None:
    storage = Storage(StorageSettings(url=f"sqlite:///{path}", probe_interval=0.05), clock=SystemClock())
    await storage.open({})
    await storage.write(lambda tx: tx.exec_driver_sql("CREATE TABLE notes (note TEXT)").close())

    async def note(text: str) -> str:
        try:
            await storage.write(lambda tx: tx.exec_driver_sql("INSERT INTO notes VALUES (?)", (text,)).close())
        except StorageUnavailable as error:
            return str(error)
        return "stored"

    seen: dict[str, object] = {"before": await note("before")}
    limit(size_of(f"{path}-wal") + 40_000)  # room for something small, but not for what is to be stored
    seen["full"] = await note("x" * 100_000)
    seen["check"] = storage.check().status
    await asyncio.sleep(0.3)  # several probes: a disk that stays full must not look well in between
    seen["still"] = storage.check().status
    limit(resource.RLIM_INFINITY)
    async with asyncio.timeout(20):
        while storage.check().status == "down":  # noqa: ASYNC110  the writer is another thread
            await asyncio.sleep(0.01)
    seen["after"] = await note("after")
    seen["notes"] = await storage.read(
        lambda tx: [row[0][:10] for row in tx.exec_driver_sql("SELECT note FROM notes ORDER BY rowid")]
    )
    seen["tables"] = await storage.read(
        lambda tx: [row[0] for row in tx.exec_driver_sql("SELECT name FROM sqlite_master")]
    )
    await storage.close()
    print(json.dumps(seen))


asyncio.run(main(sys.argv[1]))
