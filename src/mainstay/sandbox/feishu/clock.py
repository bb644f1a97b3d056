"""How fast does the platform's time go?

Retries after 6 hours and cards that close after 10 minutes are of use to a test only when they come sooner. The
platform's clock runs faster than the real one by a constant factor, and can be moved forward by hand.
"""

import asyncio

from mainstay.clock import Clock
from mainstay.sandbox.feishu.model import Moment
from mainstay.sandbox.model import MAX_TIME_SCALE

__all__ = ["PlatformClock"]


class PlatformClock:
    """Real time divided by ``scale``: 0.01 makes 15 s of the platform last 0.15 s."""

    def __init__(self, clock: Clock, scale: float = 1.0) -> None:
        if not 0 < scale <= MAX_TIME_SCALE:
            raise ValueError(f"time scale {scale!r}: it must be more than 0, and {MAX_TIME_SCALE:g} at most")
        self._clock = clock
        self._skipped_s = 0.0
        self._moved = asyncio.Event()
        self.scale = scale

    def moment(self) -> Moment:
        """Now, in all three times."""
        real_s = self._clock.monotonic()
        return Moment(real_s, real_s / self.scale + self._skipped_s, self._clock.now())

    def window(self, platform_s: float) -> float:
        """A span of platform time in real seconds, but never so short that a busy machine can not keep it."""
        return max(0.3, platform_s * self.scale)

    def advance(self, platform_s: float) -> None:
        """Move the platform's time forward; whoever sleeps on it is woken in time."""
        self._skipped_s += platform_s
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep_until(self, platform_s: float) -> None:
        """Return at that moment of the platform's time."""
        while (left_s := platform_s - self.moment().platform_s) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(left_s * self.scale):
                    await moved.wait()
            except TimeoutError:
                continue
