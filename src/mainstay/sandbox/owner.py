"""For whom does the sandbox run, and when is it time to go?

The service that started it owns it. When the service dies the sandbox stays for a while, so that the restarted
service finds the same platform with the same chats; when nobody comes for it, it ends itself. While the service is
reloaded two own it, and it stays for whichever is left.
"""

import asyncio

from mainstay.alive import is_alive, started_mark
from mainstay.clock import Clock

__all__ = ["Owner"]

_POLL_S = 0.25


class Owner:
    """The processes that the sandbox runs for; none: nobody in particular, it runs until it is told to stop."""

    def __init__(self, pid: int, grace_s: float, clock: Clock) -> None:
        self._grace_s = grace_s
        self._clock = clock
        self._marks = {pid: started_mark(pid)} if pid else {}
        self._gone_since: float | None = None

    def adopt(self, pid: int) -> bool:
        """It runs for another process too; false when there is no such process."""
        mark = started_mark(pid)
        if mark:
            self._marks = {each: self._marks[each] for each in self.living} | {pid: mark}
        return bool(mark)

    @property
    def pid(self) -> int:
        """The one that came last; 0 if it runs for nobody in particular."""
        return next(reversed(self._marks), 0)

    @property
    def living(self) -> tuple[int, ...]:
        """Those that are there now."""
        return tuple(pid for pid, mark in self._marks.items() if is_alive(pid, mark))

    def overdue(self) -> bool:
        """Whether the last owner was already gone when this was first asked, a whole grace ago."""
        now = self._clock.monotonic()
        if not self._marks or self.living:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = now
        return self._gone_since is not None and now - self._gone_since >= self._grace_s

    async def orphaned(self) -> None:
        """Return when the owner has been gone for the whole grace."""
        while not self.overdue():  # noqa: ASYNC110  no event comes from a process that is no child
            await asyncio.sleep(_POLL_S)
