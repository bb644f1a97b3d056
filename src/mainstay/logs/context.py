"""Which turn does this line belong to?

A context variable: it follows tasks and threads that a turn starts, and costs nothing where nobody logs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_turn", "turn"]

_turn: ContextVar[str] = ContextVar("mainstay_turn", default="")


def current_turn() -> str:
    """The turn that the running task works on; empty outside of one."""
    return _turn.get()


@contextmanager
def turn(turn_id: str) -> Iterator[None]:
    """Mark everything that is logged inside with this turn."""
    token = _turn.set(turn_id)
    try:
        yield
    finally:
        _turn.reset(token)
