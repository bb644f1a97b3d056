"""A bot on the channel of this project; see `bots.py` for what it reads and writes."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import httpx2

from mainstay.bus import Bus
from mainstay.channels.feishu.channel import FeishuChannel
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.tables import HEAD
from mainstay.clock import SystemClock
from mainstay.messages import Finished, Message, Outcome
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.breaker.permits import Breaker
from mainstay.settings import Secret
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage


def tell(**what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


async def nothing(_: str) -> bool:
    return False


async def main(domain: str, app_id: str, app_secret: str, directory: str) -> None:
    settings = FeishuSettings(
        app_id=app_id, app_secret=Secret(app_secret), domain=domain, mode="subscription", reconnect_base=0.1
    )
    url = f"sqlite:///{Path(directory) / 'bot.db'}"
    upgrade(url, ["mainstay.channels.feishu"])
    storage = Storage(StorageSettings(url=url, synchronous="normal"), clock=SystemClock())
    await storage.open({"feishu": HEAD})
    known: set[str] = set()

    async def accept(message: Message) -> bool:
        new = message.turn_id not in known
        known.add(message.turn_id)
        if new:
            tasks.create_task(answer(message))
        return new

    async def answer(message: Message) -> None:
        tell(got=message.external_id, text=message.text)
        if message.text.startswith("long"):
            await asyncio.sleep(4)
        replier = channel.replier(message, message.turn_id, 1)
        final = Finished(outcome=Outcome.ANSWERED, text=message.text)
        await storage.write(lambda tx: replier.post(tx, final))
        await replier.deliver()

    async with httpx2.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as tasks:
        channel = FeishuChannel(
            "feishu",
            settings,
            storage=storage,
            bus=Bus(),
            clock=SystemClock(),
            accept=accept,
            recalled=nothing,
            answered_before=nothing,
            retry_window_s=3600.0,
            http=http,
            guard=Breaker("channel:feishu", BreakerSettings()),
        )
        running = tasks.create_task(channel.run())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
        tell(pid=os.getpid())
        await asyncio.wait({running})
    await storage.close()


with tempfile.TemporaryDirectory() as here:
    asyncio.run(main(*sys.argv[1:], here))
