"""How do the agents get ready while the service is answering already?

By importing and building them in a thread. What such an import costs the event loop is, for the most part, full
garbage collections of the many objects that pile up; the rest is the interpreter's lock, handed over every 5 ms by
default. Without collections, with a quicker hand-over, and frozen afterwards so that the new objects are never
walked again, an acknowledgement stays within its budget (figures: docs/explanation/performance.md).
"""

import asyncio
import gc
import sys
from collections.abc import Callable
from threading import Lock
from typing import TypeVar

__all__ = ["unpaused"]

T = TypeVar("T")

_SWITCH_INTERVAL_S = 0.0005
_ONE_AT_A_TIME = Lock()  # what is changed and put back here belongs to the whole process


async def unpaused(make: Callable[[], T]) -> T:
    """Run ``make``, which imports much, in a thread; raises what it raises."""
    return await asyncio.to_thread(_without_pauses, make)


def _without_pauses(make: Callable[[], T]) -> T:
    with _ONE_AT_A_TIME:
        interval = sys.getswitchinterval()
        gc.disable()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        try:
            return make()
        finally:
            gc.freeze()
            gc.enable()
            sys.setswitchinterval(interval)
