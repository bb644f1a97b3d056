"""May this call be made, or is its target to be left alone?

The seam between a room that calls something and the circuit breaker that watches it: the room knows no breaker, and
the breaker no room. They are joined in `mainstay.wiring`.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["Guard", "Unguarded"]


class Guard(Protocol):
    """Watches one target."""

    @property
    def pause_s(self) -> float:
        """For how many seconds more it is left alone; 0.0 when a call may be made, or tried."""
        ...

    def permit(self) -> AbstractContextManager[object]:
        """Hold it while one call is made: how the block ends is how the call went.

        Raises:
            LeftAlone: if it must not be made now.
        """
        ...


class Unguarded:
    """Lets every call be made."""

    pause_s = 0.0

    def permit(self) -> AbstractContextManager[object]:
        """See `Guard.permit`."""
        return nullcontext()
