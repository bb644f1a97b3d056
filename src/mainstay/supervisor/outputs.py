"""Through which pipes does what the apps say come to their logs?"""

import asyncio
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.model import Child
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.fifo import written_by
from mainstay.supervisor.output.losses import Losses
from mainstay.supervisor.output.model import Flushed, Policy, Source

__all__ = ["Outputs"]

_DRAIN_S: Final = 5.0
_FLUSH_S: Final = 30.0


class Outputs:
    """Those of one home.

    Args:
        home: of the daemon, where the pipes are.
        keeper: holds the pipes.
        collector: reads them, and writes the logs.
    """

    def __init__(self, home: Path, *, keeper: Keeper, collector: Collector) -> None:
        self._pipes = home / "pipes"
        self._keeper = keeper
        self._collector = collector
        self._logs: set[Path] = set()

    def fifo(self, source: Source) -> Path:
        """The pipe of this output."""
        return self._pipes / f"{source.app}-{source.number}.{source.stream}"

    def collect(self, sources: Sequence[Source], policy: Policy, child: Child | None) -> tuple[Path, ...]:
        """The pipes of an instance, which are made if need be, and from now on are read into its logs.

        Args:
            sources: standard output, and standard error if that has a log of its own.
            policy: of these logs.
            child: who writes into them already.

        Raises:
            OSError: they can not be made.
        """
        found = []
        for fd, source in enumerate(sources, start=1):
            fifo = self.fifo(source)
            fifo.parent.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileExistsError):
                os.mkfifo(fifo, 0o600)
            self._collector.add(written_by(child.pid, fd, fifo) if child else fifo, source.path, policy)
            self._logs.add(source.path)
            found.append(fifo)
        return tuple(found)

    async def drained(self, *logs: Path, within_s: float = _DRAIN_S) -> None:
        """What was said until now is in these logs, or in all if there is none, as far as they can be written."""
        for log in logs or tuple(self._logs):
            with suppress(KeyError, OSError, TimeoutError):
                async with asyncio.timeout(within_s):
                    await asyncio.wrap_future(self._collector.drain(log))

    async def let_go(self, sources: Iterable[Source]) -> None:
        """Close the pipes of what was deleted. Raises MainstayError."""
        for source in sources:
            with suppress(KeyError, OSError, TimeoutError):
                async with asyncio.timeout(_DRAIN_S):
                    await asyncio.wrap_future(self._collector.remove(source.path))
            self._logs.discard(source.path)
            await self._keeper.release(self.fifo(source))

    def losses(self, source: Source) -> Losses:
        """Whether this log is written now, and what was lost of it."""
        return self._collector.losses(source.path)

    async def flush(self, source: Source) -> Flushed:
        """Delete what was written to this log. Raises OSError, TimeoutError."""
        async with asyncio.timeout(_FLUSH_S):
            return await asyncio.wrap_future(self._collector.flush(source.path))
