"""A worker that tests/inbox/test_kill.py kills: claims, works for a while, finishes, until it is killed.

What it finishes it also writes down in a table of its own, in the same transaction, as a turn does with its answer.
"""

import asyncio
import random
import sys

from sqlalchemy import Connection

from mainstay.clock import SystemClock
from mainstay.errors import LeaseLost, StorageUnavailable
from mainstay.inbox.model import Claim, InboxSettings
from mainstay.inbox.owner import is_alive, owner_name
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import Outcome
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage

LEASE_S = 1.0


async def main(url: str, seed: int, recovers: bool) -> None:
    clock, chance = SystemClock(), random.Random(seed)
    storage = Storage(StorageSettings(url=url), clock=clock)
    await storage.open({"inbox": "inbox_0001"})
    settings = InboxSettings(lease=LEASE_S, backoff=0.1, max_backoff=0.5)
    inbox = Inbox(storage, settings, clock=clock, worker=owner_name())

    async def work(claim: Claim) -> None:
        await asyncio.sleep(chance.uniform(0.05, 0.3))
        if chance.random() < 0.05:
            await asyncio.sleep(1.5 * LEASE_S)  # slower than its lease, which nobody renews meanwhile

        def finish(tx: Connection) -> None:
            tx.exec_driver_sql(
                "INSERT INTO answers (name, chat, attempt) VALUES (?, ?, ?)",
                (claim.message.external_id, claim.message.chat_id, claim.attempt),
            )
            inbox.finish(tx, claim, Outcome.ANSWERED, "")

        try:
            await storage.write(finish)
        except (LeaseLost, StorageUnavailable):
            return

    print("ready", flush=True)
    while True:
        if recovers:
            await inbox.recover(is_alive)
        claims = await inbox.claim(3)
        async with asyncio.TaskGroup() as tasks:
            for claim in claims:
                tasks.create_task(work(claim))
        if not claims:
            await asyncio.sleep(0.05)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3] == "recovers"))
