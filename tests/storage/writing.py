"""A process that writes two tables in one transaction, without end; prints how many it has stored."""

import asyncio
import sys

from sqlalchemy import Connection

from mainstay.clock import SystemClock
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage


async def main(path: str) -> None:
    storage = Storage(StorageSettings(url=f"sqlite:///{path}", synchronous="normal"), clock=SystemClock())
    await storage.open({})

    def make(tx: Connection) -> None:
        for table in ("a", "b"):
            tx.exec_driver_sql(f"CREATE TABLE {table} (n INTEGER UNIQUE, filler TEXT)")

    await storage.write(make)
    number = 0
    while True:

        def add(tx: Connection, number: int = number) -> None:
            for table in ("a", "b"):
                tx.exec_driver_sql(f"INSERT INTO {table} VALUES (?, ?)", (number, "x" * 500))

        await storage.write(add)
        number += 1
        if number % 20 == 0 and number >= 100:
            print(number, flush=True)


asyncio.run(main(sys.argv[1]))
