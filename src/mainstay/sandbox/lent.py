"""For how long does a service have a sandbox?"""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from mainstay.sandbox.client import SandboxClient, SandboxError
from mainstay.sandbox.model import SandboxAddress, SandboxSettings
from mainstay.sandbox.process import find, start, stop

__all__ = ["lent"]


@asynccontextmanager
async def lent(home: Path, settings: SandboxSettings, models: Iterable[str]) -> AsyncIterator[SandboxAddress]:
    """A sandbox with these models (and perhaps more) for this process, while the block runs.

    One that was started by hand stays afterwards. One that a crashed service left is taken over, with all that was
    said in it, and ends with the block, like a new one; unless another process has come to run with it meanwhile.

    Raises:
        SandboxFailed: when there is none and a new one does not get ready.
    """
    by_hand = False
    if found := find(home):
        async with SandboxClient(found) as client:
            by_hand = (await client.state())["owner"] == 0
    address = await start(home, settings, owner=0 if by_hand else os.getpid(), models=models)
    try:
        yield address
    finally:
        if not by_hand and not await _others(address):
            await stop(address)


async def _others(address: SandboxAddress) -> bool:
    """Whether it runs for somebody else too, as while this service is reloaded."""
    try:
        async with SandboxClient(address) as client:
            return any(pid != os.getpid() for pid in (await client.state())["owners"])
    except SandboxError:
        return False  # it is in no state to be of use to anybody
