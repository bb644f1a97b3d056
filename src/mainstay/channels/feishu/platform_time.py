"""What time is it for the platform?

When something was said is told by the platform's clock. Compared with the clock of a machine that is wrong,
everything would be too old, or nothing. Each answer of the platform says when it was given.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from mainstay.clock import Clock

__all__ = ["PlatformTime"]

_SAME: Final = timedelta(minutes=1)
"""A smaller difference is the way of an answer, and the seconds that it is told in."""
_BELIEVED: Final = timedelta(days=1)


class PlatformTime:
    """A `Clock` whose wall time is the platform's, as far as its latest answer tells; before that it is ours."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead = timedelta()

    def monotonic(self) -> float:
        """See `mainstay.clock.Clock.monotonic`."""
        return self._clock.monotonic()

    def now(self) -> datetime:
        """See `mainstay.clock.Clock.now`."""
        return self.of(self._clock.now())

    def of(self, at: datetime) -> datetime:
        """What the platform's clock says when ours says this."""
        return at - self._ahead

    @property
    def ahead_s(self) -> float:
        """How far our clock is ahead of the platform's; 0.0 where there is no more than a minute between them."""
        return self._ahead.total_seconds()

    def heard(self, date: str) -> None:
        """An answer that was just given has this Date; what is none, or is off by more than a day, says nothing."""
        try:
            at = parsedate_to_datetime(date)
        except ValueError:
            return
        ahead = self._clock.now() - (at if at.tzinfo else at.replace(tzinfo=UTC))
        if abs(ahead) <= _BELIEVED:
            self._ahead = ahead if abs(ahead) > _SAME else timedelta()
