"""Which message is this line about?

A context variable, so that every line written while a turn is worked on carries its id, whoever writes it: tasks
and threads that are started inside inherit it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_turn", "turn"]

_turn: ContextVar[str] = ContextVar("mainstay_turn", default="")


@contextmanager
def turn(turn_id: str) -> Iterator[None]:
    """Lines written inside belong to this turn."""
    token = _turn.set(turn_id)
    try:
        yield
    finally:
        _turn.reset(token)


def current_turn() -> str:
    """The id of the turn that is being worked on here; empty outside of any."""
    return _turn.get()
