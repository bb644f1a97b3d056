"""Which answers are being written to cards now?

One `CardWriter` for each turn, in a task of its own; that of a later attempt takes the place of an earlier one's.
"""

import asyncio
from collections.abc import Callable

from mainstay.channels.feishu.writer import CardWriter

__all__ = ["Writers"]


class Writers:
    """The writers of one channel.

    Args:
        broke: told of a bug, where it was, and of which turn.
    """

    def __init__(self, broke: Callable[[Exception, str, str], None]) -> None:
        self._broke = broke
        self._writers: dict[str, CardWriter] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def run_in(self, tasks: asyncio.TaskGroup | None) -> None:
        """From now on, and what was added before, they run there; None: none is begun."""
        self._tasks = tasks
        for turn_id, writer in self._writers.items():
            self._start(turn_id, writer)

    def add(self, turn_id: str, writer: CardWriter) -> None:
        """Have it write, and the one before it begin nothing more."""
        earlier = self._writers.get(turn_id)
        if earlier is not None:
            earlier.silence()
        self._writers[turn_id] = writer
        self._start(turn_id, writer)

    def get(self, turn_id: str) -> CardWriter | None:
        """What writes to the card of this turn, if this process does."""
        return self._writers.get(turn_id)

    async def quiet(self, turn_id: str, attempt: int) -> None:
        """End what writes for this attempt, or for an earlier one; returns when it has."""
        writer = self._writers.get(turn_id)
        if writer is not None and writer.attempt <= attempt:
            await writer.stop()

    def _start(self, turn_id: str, writer: CardWriter) -> None:
        if self._tasks is not None:
            self._tasks.create_task(self._follow(turn_id, writer), name=f"card {turn_id}")

    async def _follow(self, turn_id: str, writer: CardWriter) -> None:
        try:
            await writer.run()
        except Exception as error:  # noqa: BLE001  one card's bug must not end the others; the outcome still comes
            self._broke(error, "card", turn_id)
        finally:
            if self._writers.get(turn_id) is writer:
                del self._writers[turn_id]
