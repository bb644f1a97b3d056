"""Who buries the orphans, where the supervisor is the first process of a container?

Whoever loses its parent becomes a child of the keeper; where there is none just now, of process 1. What ends there
stays in the table of processes until it is waited for. Those whom somebody in this process waits for do not stay
for long: who is found twice is an orphan.
"""

import asyncio
import os
from contextlib import suppress
from typing import Final

from mainstay.supervisor.procfs import zombies

__all__ = ["bury_orphans"]

_LOOK_EVERY_S: Final = 1.0


async def bury_orphans() -> None:
    """Until cancelled; does nothing where this is not process 1."""
    seen: frozenset[int] = frozenset()
    while os.getpid() == 1:
        found = zombies(1)
        for pid in found & seen:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222  it does not wait
        seen = found
        await asyncio.sleep(_LOOK_EVERY_S)
