"""Who moves the output of all children to their logs, each in its turn?

A thread of its own: a disk that hangs holds up logs at most, and never the event loop on which children are
started, watched and stopped. Each log has its turn, and a turn is bounded; what does not fit waits in its FIFO, and
a child that is faster than its log waits with it. It is safe to be killed at any moment.

An error that nobody has thought of ends neither the thread nor another log: what comes for the log that it concerns
is thrown away and counted, and after a delay that grows up to half a minute its turn comes again.
"""

import os
import queue
import select
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from mainstay.clock import Clock, SystemClock
from mainstay.supervisor.output.compress import Compressor
from mainstay.supervisor.output.file import flush
from mainstay.supervisor.output.losses import Losses
from mainstay.supervisor.output.model import CollectorFailed, Flushed, Notice, Policy
from mainstay.supervisor.output.pump import Pump

__all__ = ["Collector"]

T = TypeVar("T")

_RETRY_S: Final = 1.0
_ENDS_S: Final = 10.0
_LONGEST_DELAY_S: Final = 30.0
_DRAINED: Final = 4 * 1024 * 1024  # more than a FIFO holds: a child that goes on writing does not hold up `drain`


@dataclass(slots=True)
class _Delay:
    """How long after an error the next turn comes; a FIFO that can not even be read is ``deaf``, and not polled."""

    seconds: float = 0.0
    until_s: float = 0.0
    deaf: bool = False

    def grow(self, now_s: float) -> None:
        self.seconds = min(2 * self.seconds, _LONGEST_DELAY_S) or _RETRY_S
        self.until_s = now_s + self.seconds


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
        self._steady = SystemClock()  # delays pass as the poll's do, whatever the logs take for the time
        self._pumps: dict[Path, Pump] = {}
        self._by_fd: dict[int, Pump] = {}
        self._losses: dict[Path, Losses] = {}
        self._failed: dict[Path, _Delay] = {}
        self._delay = _Delay()
        self._asked: queue.SimpleQueue[tuple[Callable[[], None], Callable[[], object]]] = queue.SimpleQueue()
        self._poll = select.epoll()
        self._woken, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._woken, select.EPOLLIN)
        self._stopping = threading.Event()
        self._compressor = Compressor(notice)
        self._thread = threading.Thread(target=self._run, name="output", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._compressor.start()
        self._thread.start()

    def close(self) -> None:
        """End; what is in the FIFOs stays there for the next one."""
        self._stopping.set()
        self._ring()
        self._thread.join(_ENDS_S)
        if self._thread.is_alive():
            return  # a disk that does not answer has it, and is not to have whoever ends or updates us
        self._compressor.close()
        while not self._asked.empty():
            _, cancel = self._asked.get()
            cancel()
        for pump in self._pumps.values():
            pump.close()
        self._pumps.clear()
        self._poll.close()
        os.close(self._woken)
        os.close(self._wake)

    def add(self, fifo: Path, log: Path, policy: Policy) -> Future[None]:
        """Write what comes out of this FIFO to this log from now on; what was in the one before it comes first.

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
            losses=self._losses.setdefault(log, Losses()),
        )
        return self._ask(lambda: self._added(pump))

    def losses(self, log: Path) -> Losses:
        """Whether it is written now, and what was lost of it. From any thread."""
        return self._losses.get(log, Losses())

    def drain(self, log: Path) -> Future[None]:
        """Done when all that was in the FIFO by now is in the log."""
        return self._ask(lambda: _drain(self._pumps[log]))

    def remove(self, log: Path) -> Future[None]:
        """Drain it, and let go of it."""
        return self._ask(lambda: self._removed(log))

    def flush(self, log: Path) -> Future[Flushed]:
        """Delete what was written to it so far, be it known or not."""
        return self._ask(lambda: self._flushed(log))

    def rotate(self, log: Path) -> Future[None]:
        """Put it aside now, if it ends with a whole line."""
        return self._ask(lambda: Pump.rotate(self._pumps[log]))

    def reopen(self, log: Path) -> Future[None]:
        """Go on in a file of this name, after somebody has renamed it."""
        return self._ask(lambda: Pump.reopen(self._pumps[log]))

    def _ask(self, do: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()

        def carry_out() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(do())
            except (OSError, KeyError) as error:
                future.set_exception(error)
            except Exception as error:  # noqa: BLE001  the room's border: who has asked gets it, the thread goes on
                future.set_exception(OSError(f"the log collector failed: {error!r}"))

        self._asked.put((carry_out, future.cancel))
        self._ring()
        return future

    def _ring(self) -> None:
        with suppress(BlockingIOError):  # it is rung already
            os.write(self._wake, b"!")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception as error:  # noqa: BLE001  the room's border: it becomes a notice, and is tried again
                self._has_failed(error)
            else:
                self._is_over()

    def _turn(self) -> None:
        waiting = bool(self._failed) or any(pump.dropping for pump in self._pumps.values())
        ready = self._poll.poll(_RETRY_S if waiting else None)
        for fd, _ in ready:
            if fd == self._woken:
                os.read(self._woken, 4096)
                self._answer()
            elif fd in self._by_fd:
                self._step(self._by_fd[fd])
        if waiting:
            for pump in list(self._pumps.values()):
                if pump.dropping or pump.log in self._failed:
                    self._step(pump)

    def _step(self, pump: Pump) -> None:
        delay = self._failed.get(pump.log)
        if delay is not None and self._steady.monotonic() < delay.until_s:
            self._discard(pump, delay)
            return
        try:
            pump.step()
        except Exception as error:  # noqa: BLE001  the room's border: it costs this log its lines, and no other one
            self._step_has_failed(pump, error)
        else:
            if delay is not None:
                del self._failed[pump.log]
                pump.losses.trouble = ""
                if delay.deaf:
                    self._poll.register(pump.fifo, select.EPOLLIN)

    def _discard(self, pump: Pump, delay: _Delay) -> None:
        try:
            pump.discard()
        except OSError:
            if not delay.deaf:
                self._poll.unregister(pump.fifo)
            delay.deaf = True

    def _step_has_failed(self, pump: Pump, error: Exception) -> None:
        delay = self._failed.setdefault(pump.log, _Delay())
        delay.grow(self._steady.monotonic())
        pump.losses.trouble = f"the log collector failed: {error!r}"
        self._notice(CollectorFailed(path=pump.log, reason=repr(error), again_in_s=delay.seconds))

    def _has_failed(self, error: Exception) -> None:
        self._delay.grow(0.0)
        for losses in list(self._losses.values()):  # others add to it
            losses.trouble = f"the log collector failed: {error!r}"
        with suppress(Exception):  # it may be the telling that fails
            self._notice(CollectorFailed(path=None, reason=repr(error), again_in_s=self._delay.seconds))
        self._stopping.wait(self._delay.seconds)

    def _is_over(self) -> None:
        if self._delay.seconds:
            self._delay = _Delay()
            for pump in self._pumps.values():
                if not pump.dropping and pump.log not in self._failed:
                    pump.losses.trouble = ""

    def _answer(self) -> None:
        while not self._asked.empty():
            carry_out, _ = self._asked.get()
            carry_out()

    def _added(self, pump: Pump) -> None:
        known = self._pumps.get(pump.log)
        if known is not None and known.reads_like(pump):
            pump.close()  # what it is about to do goes on
            return
        if known is not None:
            try:
                _drain(known)
            except Exception as error:  # noqa: BLE001  the room's border: what comes next is more than what was
                self._step_has_failed(known, error)
            self._forget(known.log)
        self._pumps[pump.log] = self._by_fd[pump.fifo] = pump
        self._poll.register(pump.fifo, select.EPOLLIN)
        if pump.policy.compress:
            self._compressor.look_at(pump.log)

    def _flushed(self, log: Path) -> Flushed:
        pump = self._pumps.get(log)
        if pump is None:
            return flush(log)
        _drain(pump)
        return pump.flush()

    def _removed(self, log: Path) -> None:
        _drain(self._pumps[log])
        self._forget(log)
        self._losses.pop(log, None)

    def _forget(self, log: Path) -> None:
        pump = self._pumps.pop(log)
        del self._by_fd[pump.fifo]
        delay = self._failed.pop(log, None)
        if delay is None or not delay.deaf:
            self._poll.unregister(pump.fifo)
        pump.close()


def _drain(pump: Pump) -> None:
    moved = 0
    while moved < _DRAINED and (step := pump.step()):
        moved += step
