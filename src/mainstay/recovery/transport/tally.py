"""How much has passed through this transport, and who hears of it?"""

import threading
from collections import Counter
from collections.abc import Callable

from mainstay.errors import Category
from mainstay.recovery.transport.model import CallCounts, CallSeen, LimitsSeen

__all__ = ["Tally"]


class Tally:
    """The counts of one transport, from any thread.

    Args:
        on_call: told of each request when it has ended, by the thread or task that ended it.
    """

    __slots__ = (
        "_begun",
        "_bytes",
        "_ended",
        "_failed",
        "_lock",
        "_observer_errors",
        "_on_call",
        "_refused",
        "limits",
    )

    def __init__(self, on_call: Callable[[CallSeen], object] | None) -> None:
        self._on_call = on_call
        self._lock = threading.Lock()
        self._begun = self._ended = self._refused = self._bytes = self._observer_errors = 0
        self._failed: Counter[Category] = Counter()
        self.limits: LimitsSeen | None = None
        """The rate limits that were spoken of last."""

    def told(self, limits: LimitsSeen | None) -> None:
        """A response spoke of its rate limits, or did not."""
        if limits is not None:
            self.limits = limits

    def begun(self) -> None:
        """A request is about to be sent."""
        with self._lock:
            self._begun += 1

    def ended(self, call: CallSeen) -> None:
        """A request that had begun is over, or one was refused."""
        with self._lock:
            self._begun += call.refused
            self._ended += 1
            self._refused += call.refused
            self._bytes += call.bytes
            if call.category is not None and not call.refused:
                self._failed[call.category] += 1
        if self._on_call is not None:
            try:
                self._on_call(call)
            except Exception:  # noqa: BLE001  the user's code: its faults must not become those of the call
                with self._lock:
                    self._observer_errors += 1

    def counts(self) -> CallCounts:
        """As of now."""
        with self._lock:
            failed = dict(self._failed)
            return CallCounts(
                calls=self._begun,
                open=self._begun - self._ended,
                refused=self._refused,
                cancelled=failed.pop(Category.CANCELLED, 0),
                bytes=self._bytes,
                failed=failed,
                observer_errors=self._observer_errors,
            )
