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

from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Final

from mainstay.clock import SystemClock

__all__ = ["left_s", "until", "within"]

_DEADLINE: Final[ContextVar[float | None]] = ContextVar("mainstay.recovery.deadline", default=None)


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
    if deadline != deadline:
        raise ValueError("a deadline must be a number of seconds, not NaN")
    return _Until(deadline)


class _Until:
    # not made by contextlib, which costs as much as all the rest of a guarded call's bookkeeping
    __slots__ = ("_deadline", "_token")

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline

    def __enter__(self) -> None:
        earlier = _DEADLINE.get()
        self._token = _DEADLINE.set(self._deadline if earlier is None or self._deadline < earlier else earlier)

    def __exit__(self, *_: object) -> None:
        _DEADLINE.reset(self._token)


def left_s() -> float | None:
    """Seconds until the deadline that holds here, negative when it has passed; None if there is none."""
    deadline = _DEADLINE.get()
    return None if deadline is None else deadline - SystemClock.monotonic()
