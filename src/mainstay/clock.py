"""What time is it?

Two clocks that must not be mixed. Deadlines and durations are seconds of a *monotonic* clock (floats, names
ending in ``_s``): it never jumps. Rows and reports carry aware UTC datetimes (names ending in ``_at``): they
are for people and for other processes, and decide nothing inside one process.

Machines take ``now`` as an argument; only shells hold a `Clock`.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["Clock", "SystemClock", "iso"]


class Clock(Protocol):
    """A source of both times; `mainstay.testing.ManualClock` is the one that tests move by hand."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary point; never goes back."""
        ...

    def now(self) -> datetime:
        """The wall time, aware, in UTC."""
        ...


class SystemClock:
    """The clock of this machine."""

    monotonic = staticmethod(time.monotonic)  # no frame of its own: health reads it with every call that it counts

    def now(self) -> datetime:
        """See `Clock.now`."""
        return datetime.now(UTC)


def iso(at: datetime) -> str:
    """ISO 8601 with milliseconds and ``Z``, as every report and log line writes time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
