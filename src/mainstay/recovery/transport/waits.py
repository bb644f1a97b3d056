"""How long may be waited now, and what is said when nothing came?"""

from dataclasses import dataclass

from mainstay.recovery.deadline import left_s

__all__ = ["Wait", "wait_for"]


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait, and which limit has run out when nothing came: its name, and what it allows."""

    seconds: float
    limit: str
    allowed_s: float

    def over(self, what: str) -> str:
        """The message when it is over."""
        return f"{what} within the {self.limit} ({self.allowed_s:.3g} s)"


def wait_for(limit: str, allowed_s: float) -> Wait:
    """A wait under this limit, or until the deadline if that comes first."""
    left = left_s()
    if left is not None and left < allowed_s:
        return Wait(max(0.0, left), "time left before the deadline", max(0.0, left))
    return Wait(allowed_s, f"{limit} limit", allowed_s)
