"""A home with a keeper in it, of which nothing is left when the test is over."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest

from mainstay.alive import started_mark
from mainstay.errors import MainstayError
from mainstay.notify import MARKER
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.processes import end, strays

WITHIN_S = 30


class Home:
    """Where one keeper is, and what a test does with it again and again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Keeper] = []

    async def connect(self) -> Keeper:
        keeper = await Keeper.connect(self.path)
        self.connections.append(keeper)
        return keeper

    def marker(self, name: str) -> str:
        return f"{name}@{self.path}"

    def output(self, name: str) -> Path:
        return self.path / f"{name}.out"

    async def spawn(self, keeper: Keeper, name: str, *argv: str, **env: str) -> Child:
        own = {"PATH": os.environ["PATH"], MARKER: self.marker(name), **env}
        output = self.output(name)
        return await keeper.spawn(name, argv, env=own, cwd=self.path, stdout=output, stderr=output)

    async def python(self, keeper: Keeper, name: str, program: str, *args: str, **env: str) -> Child:
        return await self.spawn(keeper, name, sys.executable, "-I", "-S", "-c", program, *args, **env)

    def read(self, name: str) -> bytes:
        """All that is in its output now."""
        return read(self.output(name))

    async def said(self, name: str, until: bytes) -> bytes:
        """What is in its output, once that is among it."""
        return await said(self.output(name), until)

    def everybody(self) -> tuple[Child, ...]:
        """All who were started in this home, and live."""
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdecimal() and f"@{self.path}".encode() in (entry / "environ").read_bytes():
                    found.append(Child(pid=int(entry.name), mark=started_mark(int(entry.name))))
        return tuple(each for each in found if each.mark)


def read(path: Path) -> bytes:
    got = b""
    fifo = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while part := os.read(fifo, 1 << 16):
            got += part
    os.close(fifo)
    return got


async def said(path: Path, until: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    fifo = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    readable = asyncio.Event()
    loop.add_reader(fifo, readable.set)
    try:
        async with asyncio.timeout(WITHIN_S):
            while until not in got:
                await readable.wait()
                readable.clear()
                with suppress(BlockingIOError):
                    got += os.read(fifo, 1 << 16)
    finally:
        loop.remove_reader(fifo)
        os.close(fifo)
    return got


async def next_end(keeper: Keeper) -> tuple[Child, Ended]:
    async with asyncio.timeout(WITHIN_S):
        return await anext(keeper.ends())


async def gone(pid: int) -> None:
    """Until this process has ended."""
    loop = asyncio.get_running_loop()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop.add_reader(pidfd, ended.set)
    try:
        async with asyncio.timeout(WITHIN_S):
            await ended.wait()
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)


@pytest.fixture
async def home(tmp_path: Path) -> AsyncGenerator[Home, None]:
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    home = Home(path)
    try:
        yield home
    finally:
        for connection in home.connections:
            connection.close()
        keeper = await Keeper.connect(path)
        left = await end(lambda: (*home.everybody(), *strays(keeper.pid, ())), WITHIN_S)
        with suppress(MainstayError):
            await keeper.stop(WITHIN_S)
        await gone(keeper.pid)
        keeper.close()
        assert not left
        assert (path / "keeper.log").read_text() == ""


@pytest.fixture
async def keeper(home: Home) -> Keeper:
    return await home.connect()
