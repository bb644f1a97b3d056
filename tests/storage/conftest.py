"""A database with one table of notes."""

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection

from mainstay.clock import Clock, SystemClock
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage

Open = Callable[..., Awaitable[Storage]]


@pytest.fixture
def settings(tmp_path: Path) -> StorageSettings:
    return StorageSettings(url=f"sqlite:///{tmp_path / 'home' / 'test.db'}", busy_timeout=0.05, probe_interval=0.02)


@pytest.fixture
async def open_storage(settings: StorageSettings) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:

        async def open_(*, clock: Clock | None = None, **changed: object) -> Storage:
            storage = Storage(replace(settings, **changed), clock=clock or SystemClock())
            await storage.open({})
            stack.push_async_callback(storage.close)
            await storage.write(lambda tx: tx.exec_driver_sql("CREATE TABLE notes (note TEXT UNIQUE)").close())
            return storage

        yield open_


class Gate:
    """Keeps the writer busy until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def __call__(self, tx: Connection) -> None:
        self.entered.set()
        self._open.wait(20)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> "AsyncIterator[Gate]":
    gate = Gate()
    yield gate
    gate.open()
