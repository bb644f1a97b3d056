"""By when must whatever runs here be done?

One budget of time, handed down from the turn to the agents, their tools and the libraries that those call, without
being an argument of anything::

    with within(20):            # seconds; the earlier deadline wins, whoever set it
        await plan()            # in here, and in every task and thread with a copy of this context, ...
        left_s()                # ... this says how much is left

Nothing is interrupted by it: each wait has to be bounded by what is left. `mainstay.recovery.transport` does that
for every request that passes through it, whichever library sends it.

A context manager of this module must not stay open over a ``yield`` of an asynchronous generator: what such a
generator sets holds for whoever reads it.
"""

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from math import inf, isnan
from typing import Final

from mainstay.clock import SystemClock

__all__ = ["DEADLINE", "left_s", "until", "within"]

DEADLINE: Final[ContextVar[float | None]] = ContextVar("mainstay.recovery.deadline", default=None)
"""Monotonic seconds; `until` sets it, and `mainstay.recovery.call.attempt`, faster."""


def within(seconds: float) -> AbstractContextManager[None]:
    """Be done ``seconds`` after this call, or by an earlier deadline that holds already.

    Raises:
        ValueError: if it is no number (NaN).
    """
    return until(SystemClock.monotonic() + seconds)


def until(deadline: float) -> AbstractContextManager[None]:
    """Be done by this moment, or by an earlier deadline that holds already.

    Args:
        deadline: seconds of the monotonic clock (`mainstay.clock.SystemClock`, which is `time.monotonic`).

    Raises:
        ValueError: if it is no number (NaN).
    """
    if isnan(deadline):
        raise ValueError("a deadline must be a number of seconds, not NaN")
    return _until(deadline)


@contextmanager
def _until(deadline: float) -> Generator[None, None, None]:
    earlier = DEADLINE.get()
    token = DEADLINE.set(deadline if earlier is None else min(deadline, earlier))
    try:
        yield
    finally:
        DEADLINE.reset(token)


def left_s() -> float | None:
    """Seconds until the deadline that holds here, negative when it has passed; None if there is none."""
    deadline = DEADLINE.get()
    return None if deadline is None or deadline == inf else deadline - SystemClock.monotonic()
