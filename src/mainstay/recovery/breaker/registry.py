"""Which breakers are there in this process?

One for each thing that can fail by itself: ``model:NAME``, ``agent:NAME``, ``mcp:NAME``, ``channel:NAME``, and the
database.
Two names of the same thing (the same model behind the same address with the same key) share one.
"""

import asyncio
from collections.abc import Callable

from mainstay.bus import Bus
from mainstay.clock import Clock, SystemClock
from mainstay.events import BreakerChanged
from mainstay.recovery.breaker.model import BreakerSettings, Change
from mainstay.recovery.breaker.permits import Breaker

__all__ = ["Breakers", "Listener"]

Listener = Callable[[Breaker, Change], object]


class Breakers:
    """All of them, made when they are first asked for.

    Attributes:
        by_target: by the names under which they were asked for.
        by_identity: those that processes share, each once, by what it watches; an identity holds no secret.
    """

    def __init__(self, settings: BreakerSettings | None = None, *, clock: Clock | None = None) -> None:
        self._settings = settings or BreakerSettings()
        self._clock = clock or SystemClock()
        self._listeners: list[Listener] = []
        self.by_target: dict[str, Breaker] = {}
        self.by_identity: dict[str, Breaker] = {}

    def listen(self, listener: Listener) -> None:
        """Tell ``listener`` of every change of state, in the thread that caused it; it must not raise or wait."""
        self._listeners.append(listener)

    def announce(self, bus: Bus) -> None:
        """Emit a `BreakerChanged` for each change, on the loop that runs now."""
        loop = asyncio.get_running_loop()

        def changed(breaker: Breaker, change: Change) -> None:
            failure = change.failure
            event = BreakerChanged(
                target=breaker.name,
                state=change.state,
                cause=change.cause or "",
                open_s=change.open_s,
                category=failure.category if failure else None,
                message=failure.message if failure else "",
            )
            if not loop.is_closed():
                bus.emit_from_thread(loop, event)

        self.listen(changed)

    def of(
        self,
        target: str,
        *,
        identity: str = "",
        settings: BreakerSettings | None = None,
        slow_after_s: float | None = None,
        heeds_delays: bool = True,
        shared: bool = True,
    ) -> Breaker:
        """The breaker of this target; the arguments of the first who asks hold.

        Args:
            target: its name in reports, e.g. ``"model:primary"``.
            identity: what it is; targets of one identity share their breaker. The target itself if absent.
            settings: in place of the general ones.
            slow_after_s: see `Breaker`.
            heeds_delays: see `Breaker`.
            shared: whether other processes are to know of its pauses.
        """
        identity = identity or target
        breaker = self.by_target.get(target) or self.by_identity.get(identity)
        if breaker is None:
            breaker = Breaker(
                target,
                settings or self._settings,
                slow_after_s=slow_after_s,
                heeds_delays=heeds_delays,
                clock=self._clock,
                on_change=self._changed,
            )
            if shared:
                self.by_identity[identity] = breaker
        self.by_target[target] = breaker
        return breaker

    def _changed(self, breaker: Breaker, change: Change) -> None:
        for listener in self._listeners:
            listener(breaker, change)
