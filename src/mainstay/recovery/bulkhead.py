"""How many may be at it at once, and how many may wait?

A bulkhead keeps one slow target, or one busy chat, from taking every place in the ship. Whoever finds no place
waits in line; whoever finds the line full is told so at once, rather than after a long wait.
"""

import asyncio
from collections import deque

from mainstay.errors import MainstayError

__all__ = ["Bulkhead", "Bulkheads", "Busy"]


class Busy(MainstayError):
    """There is no place, and the line is full or too slow."""


class Bulkhead:
    """Places for one target, on one event loop.

    Args:
        name: for messages.
        places: how many may be at it at once.
        line: how many more may wait.

    Raises:
        ValueError: if there is no place at all, or ``line`` is negative.

    Attributes:
        running: how many are at it.
        refused: how many were turned away since the start.
    """

    __slots__ = ("_line", "_longest_line", "_places", "name", "refused", "running")

    def __init__(self, name: str, places: int, line: int) -> None:
        if places < 1 or line < 0:
            raise ValueError(f"{name}: give 1 place or more and a line of 0 or more, not {places} and {line}")
        self.name = name
        self.running = 0
        self.refused = 0
        self._places = places
        self._longest_line = line
        self._line: deque[asyncio.Future[None]] = deque()

    def enter_at_once(self) -> bool:
        """Take a place if one is free; False if there is none."""
        if self.running < self._places:
            self.running += 1
            return True
        return False

    @property
    def waiting(self) -> int:
        """How many are in line."""
        return len(self._line)

    async def enter(self, timeout_s: float) -> None:
        """Take a place, first come, first served; give it back with `leave`.

        Raises:
            Busy: if the line is full, or no place came free within ``timeout_s`` seconds; with none, at once.
        """
        if self.enter_at_once():
            return
        if timeout_s <= 0 or len(self._line) >= self._longest_line:
            self.refused += 1
            raise Busy(f"{self.name}: {self._places} calls are under way and {len(self._line)} are waiting")
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            async with asyncio.timeout(timeout_s):
                await place
        except TimeoutError:
            self._step_back(place)
            self.refused += 1
            raise Busy(f"{self.name}: no place came free within {timeout_s:.3g} s") from None
        except BaseException:
            self._step_back(place)
            raise

    def leave(self) -> None:
        """Give the place to the next in line, or back."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1

    def _step_back(self, place: "asyncio.Future[None]") -> None:
        """Leave the line; a place that was handed over at this very moment goes to the next."""
        if place.done() and not place.cancelled():
            self.leave()
        elif place in self._line:
            self._line.remove(place)


class Bulkheads:
    """One `Bulkhead` for each of many keys, such as chats; those that nobody uses are forgotten."""

    def __init__(self, places: int, line: int) -> None:
        self._places = places
        self._longest_line = line
        self._used: dict[str, Bulkhead] = {}

    async def enter(self, key: str, name: str, timeout_s: float) -> None:
        """See `Bulkhead.enter`."""
        bulkhead = self._used.get(key)
        if bulkhead is None:
            bulkhead = self._used[key] = Bulkhead(name, self._places, self._longest_line)
        try:
            await bulkhead.enter(timeout_s)
        except BaseException:
            self._forget_unused(key)  # it may have been handed a place at the moment of leaving the line
            raise

    def leave(self, key: str) -> None:
        """See `Bulkhead.leave`."""
        self._used[key].leave()
        self._forget_unused(key)

    def _forget_unused(self, key: str) -> None:
        if key in self._used and not self._used[key].running:
            del self._used[key]
