"""Is anything lost when workers are killed at any moment?"""

import asyncio
import itertools
import random
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from mainstay.clock import SystemClock
from mainstay.inbox.model import InboxSettings
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import Message
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage

pytestmark = pytest.mark.anyio

MESSAGES, LANES, WORKERS, KILLS = 60, 10, 3, 6


class Workers:
    def __init__(self, url: str, how: str) -> None:
        self._url = url
        self._how = how
        self._seeds = itertools.count(1)
        self.alive: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        script = str(Path(__file__).with_name("worker.py"))
        child = await asyncio.create_subprocess_exec(
            sys.executable, script, self._url, str(next(self._seeds)), self._how, stdout=asyncio.subprocess.PIPE
        )
        self.alive.append(child)
        assert child.stdout is not None
        assert await child.stdout.readline() == b"ready\n"

    async def kill(self, index: int) -> None:
        child = self.alive.pop(index)
        child.send_signal(signal.SIGKILL)
        assert await child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("how", ["waits for the lease", "recovers"])
async def test_killing_workers_loses_nothing_and_finishes_nothing_twice(tmp_path: Path, how: str) -> None:
    url = f"sqlite:///{tmp_path / 'inbox.db'}"
    upgrade(url, ["mainstay.inbox"])
    clock, chance = SystemClock(), random.Random(2026)
    storage = Storage(StorageSettings(url=url), clock=clock)
    await storage.open({"inbox": "inbox_0001"})
    await storage.write(
        lambda tx: tx.exec_driver_sql(
            "CREATE TABLE answers (seq INTEGER PRIMARY KEY, name TEXT, chat TEXT, attempt INTEGER)"
        ).close()
    )
    inbox = Inbox(storage, InboxSettings(merge_after=0), clock=clock, worker="the test")
    messages = [
        Message(
            channel="feishu",
            bot_id="bot",
            external_id=f"{number:02}",
            chat_id=f"chat {number % LANES}",
            sender_id="somebody",
            text="hello",
            sent_at=clock.now(),
        )
        for number in range(MESSAGES)
    ]
    workers = Workers(url, how)
    try:
        for _ in range(WORKERS):
            await workers.start()
        for message in messages:
            assert await inbox.put(message)
            assert not await inbox.put(message)
        for _ in range(KILLS):
            await asyncio.sleep(chance.uniform(0.1, 0.4))
            await workers.kill(chance.randrange(WORKERS))
            await workers.start()
        async with asyncio.timeout(30):
            while (depth := await inbox.depth()).queued + depth.running:  # noqa: ASYNC110  other processes
                await asyncio.sleep(0.05)
    finally:
        while workers.alive:
            await workers.kill(0)
        await storage.close()

    answers = sqlite3.connect(tmp_path / "inbox.db").execute("SELECT name, chat, attempt FROM answers ORDER BY seq")
    told = list(answers)
    answers.connection.close()
    assert sorted(name for name, _, _ in told) == [message.external_id for message in messages]
    for lane in {chat for _, chat, _ in told}:
        names = [name for name, chat, _ in told if chat == lane]
        assert names == sorted(names)
    assert depth.dead == 0
    assert max(attempt for _, _, attempt in told) > 1, "no kill hit a message: the test has shown nothing"
