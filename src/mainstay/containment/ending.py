"""What ends the service, and how does the process end then?

A signal asks it to drain; a second one ends its patience. A fatal error makes it drain as well, and the process end
with its failure. Then nobody from outside may be watching: the process is given a time by which it has ended.
"""

import asyncio
import signal
import threading
from collections.abc import Callable
from contextlib import suppress

from mainstay.bus import Bus
from mainstay.errors import MainstayError
from mainstay.events import ServiceFailing

__all__ = ["Ending"]


class Ending:
    """One per service, made on its event loop.

    Args:
        bus: told of a failure.
        within_s: how long the process may take to end after a failure.
        end_by: ends the process without further ado after that many seconds, whatever it is doing then.

    Attributes:
        asked: set when the service is to drain.
        cut_off: called by the second signal.
        failure: why the process has to end with an error; None where it was asked to end.
    """

    def __init__(self, bus: Bus, *, within_s: float, end_by: Callable[[float], None]) -> None:
        self.asked = asyncio.Event()
        self.cut_off: Callable[[], None] = self.asked.set
        self.failure: MainstayError | None = None
        self._bus = bus
        self._within_s = within_s
        self._end_by = end_by
        self._signalled = False
        self._lock = threading.RLock()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._received)

    @property
    def near(self) -> bool:
        """Whether the service is to end, for whatever reason; known at once in every thread."""
        return self.failure is not None or self.asked.is_set()

    def fail(self, failure: MainstayError) -> None:
        """End the service with this error; from any thread. Only the first failure counts."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = failure
        with suppress(RuntimeError):  # the loop is closed: this is the end
            self._loop.call_soon_threadsafe(self._failing, failure)
        with suppress(Exception):  # there may be no thread left to watch the end: it is tried all the same
            self._end_by(self._within_s)

    def _failing(self, failure: MainstayError) -> None:
        self._bus.emit(ServiceFailing(reason=str(failure)))
        self.asked.set()

    def _received(self) -> None:
        if self._signalled:
            self.cut_off()
        self._signalled = True
        self.asked.set()
