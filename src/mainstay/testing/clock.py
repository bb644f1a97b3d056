"""Time that a test moves by hand."""

from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]


class ManualClock:
    """A `mainstay.clock.Clock` that stands still until `advance`; `jump` moves only the wall time."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = start
        self._monotonic = 1000.0

    def monotonic(self) -> float:
        """See `mainstay.clock.Clock.monotonic`."""
        return self._monotonic

    def now(self) -> datetime:
        """See `mainstay.clock.Clock.now`."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks."""
        self._monotonic += seconds
        self._now += timedelta(seconds=seconds)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP does."""
        self._now += timedelta(seconds=seconds)
