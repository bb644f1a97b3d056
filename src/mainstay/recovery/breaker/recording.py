"""Who tells this breaker how the call went?

A call to a model passes two guards: the one around its stream of events, which knows what an answer is, and the one
around its HTTP transport, which knows bytes. Where both have the same breaker, exactly one may ask for a permit and
say how it went, or one call would count twice and a probe would be refused by itself. It is the outer one: it says
so around its waits, and the inner one looks::

    permit = breaker.permit()
    ...
    with recording(breaker):
        piece = await anext(stream)      # whatever this sends is recorded by me

Only around an ``await``, never over a ``yield``: an asynchronous generator runs in the context of whoever reads it,
and would speak for calls that are none of its own.
"""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from mainstay.recovery.breaker.permits import Breaker

__all__ = ["RECORDED", "is_recorded", "recording"]

RECORDED: Final[ContextVar[tuple[Breaker, ...]]] = ContextVar("mainstay.recovery.breaker.recording", default=())
"""The breakers whose permits are held; `recording` sets it, and `mainstay.recovery.call.attempt`, faster."""


@contextmanager
def recording(breaker: Breaker) -> Generator[None, None, None]:
    """In here the caller holds a permit of ``breaker``, and will say how the call went; may be nested."""
    token = RECORDED.set((*RECORDED.get(), breaker))
    try:
        yield
    finally:
        RECORDED.reset(token)


def is_recorded(breaker: Breaker) -> bool:
    """Whether somebody further out holds a permit of this very breaker for what is done here."""
    return any(each is breaker for each in RECORDED.get())
