"""Which answers are being made here, and who is told when there is more?"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from mainstay.channels.console.machine import Answer

__all__ = ["Answers", "Live"]


class Live:
    """One turn that is being answered here, or waited for.

    Attributes:
        said: what the latest attempt here has said.
        working: whether that attempt is under way.
        readers: how many wait for it.
        changed: set when there is more, and then replaced: whoever waits takes it before looking.
    """

    def __init__(self) -> None:
        self.said = Answer()
        self.working = False
        self.readers = 0
        self.changed = asyncio.Event()

    def change(self) -> None:
        """Tell all who wait."""
        self.changed.set()
        self.changed = asyncio.Event()


class Answers:
    """Those of one channel, by turn_id."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self.closed = False
        """Whether the service stops: nobody is to wait any more."""

    def begin(self, turn_id: str, attempt: int) -> Answer:
        """An attempt at this turn begins."""
        live = self._live.setdefault(turn_id, Live())
        live.said = Answer(attempt)
        live.working = True
        live.change()
        return live.said

    def more(self, turn_id: str) -> None:
        """There is more to be told."""
        if (live := self._live.get(turn_id)) is not None:
            live.change()

    def end(self, turn_id: str, said: Answer) -> None:
        """The attempt that said this has ended, with an outcome or without one."""
        live = self._live.get(turn_id)
        if live is not None and live.said is said:
            live.working = False
            live.change()
            self._drop(turn_id, live)

    def close(self) -> None:
        """Send everybody away who waits."""
        self.closed = True
        for live in self._live.values():
            live.change()

    def so_far(self, turn_id: str) -> Answer | None:
        """What is being said now; None if this turn is not being answered here."""
        live = self._live.get(turn_id)
        return live.said if live is not None and live.working else None

    @contextmanager
    def reading(self, turn_id: str) -> Iterator[Live]:
        """Hold on to a turn while somebody waits for it."""
        live = self._live.setdefault(turn_id, Live())
        live.readers += 1
        try:
            yield live
        finally:
            live.readers -= 1
            self._drop(turn_id, live)

    def _drop(self, turn_id: str, live: Live) -> None:
        if not live.working and not live.readers:
            self._live.pop(turn_id, None)
