"""Who moves the output of all children to their logs, each in its turn?

A thread of its own: a disk that hangs holds up logs at most, and never the event loop on which children are
started, watched and stopped. Each log has its turn, and a turn is bounded; what does not fit waits in its FIFO, and
a child that is faster than its log waits with it. It is safe to be killed at any moment.
"""

import os
import queue
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final

from mainstay.clock import Clock, SystemClock
from mainstay.supervisor.output.compress import Compressor
from mainstay.supervisor.output.model import Notice, Policy
from mainstay.supervisor.output.pump import Pump

__all__ = ["Collector"]

_RETRY_S: Final = 1.0
_DRAINED: Final = 4 * 1024 * 1024  # more than a FIFO holds: a child that goes on writing does not hold up `drain`


class Collector:
    """All logs of one daemon.

    What can be asked of a log is done by the thread, between two of its turns; the futures that are returned can be
    awaited by `asyncio.wrap_future`, and fail with a KeyError for a log that is not known. Only one process at a
    time may have a collector for the same FIFOs: a lock of the whole home, which the kernel frees when its holder
    has ended with all its threads, is enough.

    Args:
        notice: is told what goes wrong and that it is over; called in other threads, must not wait.
    """

    def __init__(self, *, notice: Callable[[Notice], None], clock: Clock | None = None) -> None:
        self._notice = notice
        self._clock = clock or SystemClock()
        self._pumps: dict[Path, Pump] = {}
        self._by_fd: dict[int, Pump] = {}
        self._asked: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]] = queue.SimpleQueue()
        self._poll = select.epoll()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._woken, select.EPOLLIN)
        self._stopping = False
        self._compressor = Compressor(notice)
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._compressor.start()
        self._thread.start()

    def close(self) -> None:
        """End; what is in the FIFOs stays there for the next one."""
        self._stopping = True
        self._ring()
        self._thread.join()
        self._compressor.close()
        while not self._asked.empty():
            self._asked.get()[1].cancel()
        for pump in self._pumps.values():
            pump.close()
        self._pumps.clear()
        self._poll.close()
        os.close(self._woken)
        os.close(self._wake)

    def add(self, fifo: Path, log: Path, policy: Policy) -> Future[None]:
        """Write what comes out of this FIFO to this log from now on; a log that is known already begins anew.

        Raises:
            OSError: if the FIFO can not be opened. That the log can not be written is no error but a notice.
        """
        pump = Pump(
            fifo,
            log,
            policy,
            clock=self._clock,
            notice=self._notice,
            put_aside=self._compressor.look_at,
        )
        return self._ask(lambda: self._added(pump, compress=policy.compress))

    def drain(self, log: Path) -> Future[None]:
        """Done when all that was in the FIFO by now is in the log."""
        return self._ask(lambda: _drain(self._pumps[log]))

    def remove(self, log: Path) -> Future[None]:
        """Drain it, and let go of it."""
        return self._ask(lambda: self._removed(log))

    def flush(self, log: Path) -> Future[None]:
        """Delete what was written to it so far."""
        return self._ask(lambda: Pump.flush(self._pumps[log]))

    def rotate(self, log: Path) -> Future[None]:
        """Put it aside now, if it ends with a whole line."""
        return self._ask(lambda: Pump.rotate(self._pumps[log]))

    def reopen(self, log: Path) -> Future[None]:
        """Go on in a file of this name, after somebody has renamed it."""
        return self._ask(lambda: Pump.reopen(self._pumps[log]))

    def _ask(self, do: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self._asked.put((do, future))
        self._ring()
        return future

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it is rung already
            os.write(self._wake, b"!")

    def _run(self) -> None:
        while not self._stopping:
            waiting = any(pump.dropping for pump in self._pumps.values())
            ready = self._poll.poll(_RETRY_S if waiting else None)
            for fd, _ in ready:
                if fd == self._woken:
                    os.read(self._woken, 4096)
                    self._answer()
                elif fd in self._by_fd:
                    self._by_fd[fd].step()
            if waiting:
                for pump in self._pumps.values():
                    if pump.dropping:
                        pump.step()

    def _answer(self) -> None:
        while not self._asked.empty():
            do, future = self._asked.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                do()
            except (OSError, KeyError) as error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def _added(self, pump: Pump, *, compress: bool) -> None:
        if pump.log in self._pumps:
            self._forget(pump.log)
        self._pumps[pump.log] = self._by_fd[pump.fifo] = pump
        self._poll.register(pump.fifo, select.EPOLLIN)
        if compress:
            self._compressor.look_at(pump.log)

    def _removed(self, log: Path) -> None:
        _drain(self._pumps[log])
        self._forget(log)

    def _forget(self, log: Path) -> None:
        pump = self._pumps.pop(log)
        del self._by_fd[pump.fifo]
        self._poll.unregister(pump.fifo)
        pump.close()


def _drain(pump: Pump) -> None:
    moved = 0
    while moved < _DRAINED and (step := pump.step()):
        moved += step
