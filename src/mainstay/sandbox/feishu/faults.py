"""Which of the platform's calls goes wrong next, and how?

Faults are taken in the order in which they were injected, by calls that match. They strike after authorization:
a call that is refused anyway uses none up.
"""

import asyncio
from dataclasses import dataclass, field

__all__ = ["PlatformFault", "PlatformFaults"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFault:
    """One way in which calls go wrong.

    Attributes:
        call: ``"METHOD path-fragment"``, e.g. ``"POST /reply"``; the method may be ``*``.
        times: how many calls.
        code: the platform's error code to answer with, in the place of doing it.
        status: the HTTP status to answer with; with code 0 the body is no JSON, as a gateway's is.
        delay_s: real seconds to wait before the call is looked at.
        hold: do it, but keep the answer back until it is released: the caller that gives up has lost it.
        drop: do it, and break the connection off within the answer.
    """

    call: str
    times: int = 1
    code: int = 0
    message: str = "sandbox fault"
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    hold: bool = False
    drop: bool = False

    def __post_init__(self) -> None:
        method, _, fragment = self.call.partition(" ")
        if not (method and fragment):
            raise ValueError(f'call {self.call!r}: write it like "POST /reply" or "* /messages"')
        if self.times < 1:
            raise ValueError("times must be at least 1")
        if not (self.code or self.status or self.delay_s or self.hold or self.drop):
            raise ValueError("a fault needs one of code, status, delay_s, hold, drop")

    def meets(self, method: str, path: str) -> bool:
        """Whether this call is meant."""
        wanted, _, fragment = self.call.partition(" ")
        return wanted in {"*", method} and fragment in path


class PlatformFaults:
    """The queue of faults, and the answers that are held back."""

    def __init__(self) -> None:
        self._queue: list[tuple[PlatformFault, int]] = []
        self.released = asyncio.Event()
        """Set, and replaced by a new one, by `release`."""
        self.held = 0

    def inject(self, fault: PlatformFault) -> None:
        """Queue it."""
        self._queue.append((fault, fault.times))

    def take(self, method: str, path: str) -> PlatformFault | None:
        """The fault that this call meets, if any."""
        for index, (fault, left) in enumerate(self._queue):
            if fault.meets(method, path):
                if left == 1:
                    del self._queue[index]
                else:
                    self._queue[index] = (fault, left - 1)
                return fault
        return None

    def active(self) -> list[tuple[PlatformFault, int]]:
        """What is still to come, with how many calls are left of each."""
        return list(self._queue)

    def release(self) -> int:
        """Let go of the answers held back; returns how many there were."""
        count = self.held
        self.released.set()
        self.released = asyncio.Event()
        return count

    def clear(self) -> None:
        """Forget what is queued, and release what is held."""
        self._queue.clear()
        self.release()
