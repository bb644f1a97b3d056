"""Who hears that something happened?

Producers emit frozen events and know no observer; observers subscribe by type. Dispatch is synchronous and on the
event loop: it keeps the order, loses nothing, and costs less than any queue. An observer that raises is counted
and logged, and never reaches the producer; one that does I/O puts the event on a bounded queue of its own.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from mainstay.events import Event

__all__ = ["Bus"]

E = TypeVar("E", bound=Event)
_log = logging.getLogger(__name__)


class Bus:
    """One per service, made in `mainstay.service`."""

    def __init__(self) -> None:
        self._observers: dict[type[Event], list[Callable[[Event], None]]] = {}
        self._everything: list[Callable[[Event], None]] = []
        self.failures: Counter[str] = Counter()
        """How often each observer raised, by its qualified name."""

    def subscribe(self, kind: type[E], observer: Callable[[E], None]) -> None:
        """Call ``observer`` with each event of exactly this type."""
        self._observers.setdefault(kind, []).append(observer)  # type: ignore[arg-type]

    def subscribe_all(self, observer: Callable[[Event], None]) -> None:
        """Call ``observer`` with every event."""
        self._everything.append(observer)

    def emit(self, event: Event) -> None:
        """Tell everybody, in the order of subscription. Only from the loop's thread; see `emit_from_thread`."""
        for observer in self._observers.get(type(event), ()):
            self._call(observer, event)
        for observer in self._everything:
            self._call(observer, event)

    def emit_from_thread(self, loop: asyncio.AbstractEventLoop, event: Event) -> None:
        """The same from any other thread."""
        loop.call_soon_threadsafe(self.emit, event)

    def _call(self, observer: Callable[[Event], None], event: Event) -> None:
        try:
            observer(event)
        except Exception:  # noqa: BLE001  the border between rooms: an observer's fault stays with the observer
            name = getattr(observer, "__qualname__", repr(observer))
            self.failures[name] += 1
            _log.exception("observer %s failed on %s", name, event.name)
