"""For whom does the sandbox run, and when is it time to go?

The service that started it owns it. When the service dies the sandbox stays for a while, so that the restarted
service finds the same platform with the same chats; when nobody comes for it, it ends itself.
"""

import asyncio

from mainstay.alive import is_alive, started_mark
from mainstay.clock import Clock

__all__ = ["Owner"]

_POLL_S = 0.25


class Owner:
    """The process that the sandbox runs for; 0: nobody in particular, it runs until it is told to stop."""

    def __init__(self, pid: int, grace_s: float, clock: Clock) -> None:
        self._grace_s = grace_s
        self._clock = clock
        self.pid = pid
        self._mark = started_mark(pid)
        self._gone_since: float | None = None

    def adopt(self, pid: int) -> bool:
        """Another process takes over; false when there is no such process."""
        mark = started_mark(pid)
        if mark:
            self.pid, self._mark = pid, mark
        return bool(mark)

    def overdue(self) -> bool:
        """Whether the owner was already gone when this was first asked, a whole grace ago."""
        now = self._clock.monotonic()
        if self.pid == 0 or is_alive(self.pid, self._mark):
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        return self._gone_since is not None and now - self._gone_since >= self._grace_s

    async def orphaned(self) -> None:
        """Return when the owner has been gone for the whole grace."""
        while not self.overdue():  # noqa: ASYNC110  no event comes from a process that is no child
            await asyncio.sleep(_POLL_S)
