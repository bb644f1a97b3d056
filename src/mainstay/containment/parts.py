"""How do the parts of the service stay up that run as long as it does?

What such a part raises is reported. It is then started again, after a wait that grows; or, where that would be
blind, the service ends. A part that just ends has failed as well, and so has one that a stranger cancelled.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

from mainstay.clock import Clock
from mainstay.containment.ending import Ending
from mainstay.containment.machine import restart
from mainstay.containment.model import ContainmentSettings, Origin
from mainstay.containment.reporter import Report
from mainstay.errors import MainstayError

__all__ = ["Parts"]

_log = logging.getLogger(__name__)
_TOO_SOON: Final = "it came to its end, although it runs as long as the service"
Part = Callable[[], Awaitable[None]]


class Parts:
    """The parts of one service: a task group that they leave when its block does, and not before.

    Args:
        settings: of the containment.
        report: told of what a part raises.
        ending: of the service; told when a part fails that can not be started again.
    """

    def __init__(self, settings: ContainmentSettings, *, report: Report, ending: Ending, clock: Clock) -> None:
        self._settings = settings
        self._report = report
        self._ending = ending
        self._clock = clock
        self._group = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []
        self._over = False

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        for task in self._running:
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    def keep_going(self, name: str, part: Part) -> None:
        """Run this part, again and again if need be."""
        self._running.append(self._group.create_task(self._again_and_again(name, part), name=name))

    def run_once(self, name: str, part: Part) -> None:
        """Run this part, and let the service end with it; it may come to its end once the service is to drain."""
        self._running.append(self._group.create_task(self._once(name, part), name=name))

    async def _again_and_again(self, name: str, part: Part) -> None:
        failures, wait_s = 0, 0.0
        while True:
            began_s = self._clock.monotonic() + wait_s
            self._report(Origin.PART, name, await self._failure_of(part, after_s=wait_s), _TOO_SOON)
            failures, wait_s = restart(failures, self._clock.monotonic() - began_s, self._settings)
            _log.info("%s is started again in %.3g s", name, wait_s)

    async def _once(self, name: str, part: Part) -> None:
        error = await self._failure_of(part)
        if isinstance(error, MainstayError):  # it says itself what is wrong and what to do
            self._ending.fail(error)
        elif error is not None or not self._ending.near:
            self._report(Origin.VITAL, name, error, _TOO_SOON)

    async def _failure_of(self, part: Part, *, after_s: float = 0.0) -> Exception | None:
        """What ended the part, begun after that many seconds; None if it came to its end by itself."""
        try:
            await asyncio.sleep(after_s)
            await part()
        except asyncio.CancelledError:
            if self._over:
                raise
            _stay()
            return RuntimeError("it was cancelled, and not by the service")
        except Exception as error:  # noqa: BLE001  the border of every room that has such a part
            return error
        return None


def _stay() -> None:
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
