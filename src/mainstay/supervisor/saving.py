"""When is what was decided on the disk?"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mainstay.supervisor.model import Child
from mainstay.supervisor.state import LeftBehind, Lifecycle, save

__all__ = ["Saving"]

_AGAIN_S: Final = 1.0


class Saving:
    """Writes down what was decided, again and again, each time all of it.

    Args:
        home: where.
        lifecycle: is told when it can not be written.
        left_behind: what there is to write.
        forget: is called with a child that has ended, once that is written down.
    """

    def __init__(
        self,
        home: Path,
        lifecycle: Lifecycle,
        *,
        left_behind: Callable[[], LeftBehind],
        forget: Callable[[Child], object],
    ) -> None:
        self._home = home
        self._lifecycle = lifecycle
        self._left_behind = left_behind
        self._forget = forget
        self._ended: list[Child] = []
        self._decided = self._tried = 0
        self._thread = ThreadPoolExecutor(1, "saving")  # of its own: who resolves names may keep others waiting
        self._asked, self._has_tried = asyncio.Event(), asyncio.Event()

    def changed(self) -> None:
        """There is something to write."""
        self._decided += 1
        self._asked.set()

    def has_ended(self, child: Child) -> None:
        """What came of that is decided, and may be forgotten once it is written down."""
        self._ended.append(child)
        self.changed()

    def now(self) -> None:
        """Write it before this returns, and for the last time. Raises OSError."""
        self._thread.shutdown()
        save(self._home, self._left_behind())

    async def saved(self) -> None:
        """Return when all that was decided until now is on the disk, or could not be written there."""
        decided = self._decided
        while self._tried < decided:
            await self._has_tried.wait()

    async def keep(self) -> None:
        """Write whenever there is something to write, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._asked.wait()
            self._asked.clear()
            decided = self._decided
            ended, self._ended = self._ended, []
            try:
                await loop.run_in_executor(self._thread, save, self._home, self._left_behind())
            except OSError as error:
                self._lifecycle.write("not saved", error=str(error))
                self._ended = ended + self._ended
                self._asked.set()
                self._has_been_tried(decided)
                await asyncio.sleep(_AGAIN_S)
                continue
            self._has_been_tried(decided)
            for child in ended:
                self._forget(child)

    def _has_been_tried(self, decided: int) -> None:
        self._tried = decided
        tried, self._has_tried = self._has_tried, asyncio.Event()
        tried.set()
