"""How do the children end, also those that no keeper has?

The keeper tells it of its own. While there is none, and of those whom a keeper that was killed has left, it is seen
from here; how they ended may then stay unknown.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Self

from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.pidfds import Watch, ended
from mainstay.supervisor.processes import send_group

__all__ = ["Endings", "Kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A child that runs, or whose end was not acknowledged yet.

    Attributes:
        name: what it was started as; an instance's name.
        ended: None while it runs.
    """

    name: str
    child: Child
    ended: Ended | None = None

    @classmethod
    def parse(cls, fields: Sequence[bytes]) -> Self:
        """From the way that the keeper writes it."""
        name, pid, mark, status = (field.decode() for field in fields)
        child = Child(pid=int(pid), mark=mark)
        return cls(name=name, child=child, ended=ended(int(status)) if status else None)


class Endings:
    """Those of all children of one daemon.

    Args:
        acknowledge: is called with a child whose end nobody wants to know.

    Attributes:
        kept: all that run, and those whose ends were not acknowledged.
        has_keeper: whether there is one now.
    """

    def __init__(self, acknowledge: Callable[[Child], object]) -> None:
        self.kept: dict[Child, Kept] = {}
        self.has_keeper = False
        self._acknowledge = acknowledge
        self._unwanted: set[Child] = set()
        self._watched: dict[Child, Watch] = {}
        self._told: asyncio.Queue[tuple[Child, Ended]] = asyncio.Queue()  # never more than there were children
        self._untold: list[tuple[Child, Ended]] = []

    async def told(self) -> AsyncIterator[tuple[Child, Ended]]:
        """One after the other and without end."""
        while True:
            yield await self._told.get()

    def has_started(self, kept: Kept, *, is_wanted: bool) -> None:
        """Also where nobody waits for it any longer: then another one was started in its place by now."""
        self.kept[kept.child] = kept
        if not is_wanted:
            self._unwanted.add(kept.child)
            with suppress(OSError):
                send_group(kept.child, signal.SIGKILL)

    def has_ended(self, kept: Kept) -> None:
        """The keeper says so."""
        assert kept.ended is not None
        self.kept.setdefault(kept.child, replace(kept, ended=None))
        self._tell(kept.child, kept.ended)

    def compare(self, listed: Iterable[Kept]) -> None:
        """Bring together what the keeper has and what is known here; they differ when the last one was killed."""
        has = {kept.child: kept for kept in listed}
        for child in has.keys() & self._watched.keys():
            self._watched.pop(child).cancel()
        for child, kept in has.items():
            self.kept.setdefault(child, kept)
        untold, self._untold = self._untold, []
        for child, how in untold:
            if child not in has:
                self._tell(child, how)

    def watch(self, kept: Kept) -> None:
        """One that no keeper has."""
        self.kept[kept.child] = kept
        self._watched[kept.child] = Watch(kept.child, self._seen)

    def watch_all(self) -> None:
        """The keeper is gone."""
        for child, kept in self.kept.items():
            if kept.ended is None and child not in self._watched:
                self._watched[child] = Watch(child, self._seen)

    def close(self) -> None:
        """Watch nobody any longer."""
        for watch in self._watched.values():
            watch.cancel()
        self._watched.clear()

    def _seen(self, child: Child, how: Ended) -> None:
        del self._watched[child]
        if self.has_keeper:
            self._tell(child, how)
        else:
            self._untold.append((child, how))  # the next keeper may be the last one, and know better

    def _tell(self, child: Child, how: Ended) -> None:
        kept = self.kept.get(child)
        if child in self._unwanted:
            self._unwanted.discard(child)
            self._acknowledge(child)
        elif kept is not None and kept.ended is None:
            self.kept[child] = replace(kept, ended=how)
            self._told.put_nowait((child, how))
