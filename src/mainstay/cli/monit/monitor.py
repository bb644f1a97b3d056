"""Who waits for the clock, the keys, the daemon, the log and the signals, and draws what has changed?"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mainstay.cli.monit.drawing import BARS, PLAIN_BARS, frame
from mainstay.cli.monit.machine import heard, missed, pressed, settled
from mainstay.cli.monit.model import Order, Quit, Seen, View
from mainstay.cli.monit.reading import LogTail, Talk
from mainstay.cli.monit.screen import Screen, keys
from mainstay.cli.terminal import shows_colours
from mainstay.errors import MainstayError
from mainstay.supervisor.client import NoDaemon

__all__ = ["Monitor"]

_ASK_EVERY_S: Final = 1.0
_READ_EVERY_S: Final = 0.25
_READ: Final = 4096
_ASKING: Final = "asking the supervisor"
_WAITING: Final = "supervisor not running, waiting"


class Monitor:
    """The view of one home; `run` shows it until somebody has seen enough."""

    def __init__(self, home: Path) -> None:
        self._talk = Talk(home)
        self._tail = LogTail()
        self._screen = Screen()
        self._view, self._seen = View(), Seen(missing=_ASKING)
        self._log: tuple[str, ...] = ()
        self._orders: asyncio.Queue[Order] = asyncio.Queue(maxsize=16)
        self._selected = asyncio.Event()
        self._over = asyncio.Event()
        self._code = 0
        self._crash: BaseException | None = None
        self._colours = shows_colours(sys.stdout)
        self._unicode = (sys.stdout.encoding or "").lower().replace("-", "").startswith("utf")

    async def run(self) -> int:
        """Show it; returns the exit code."""
        with self._screen.taken(), self._signals():
            await self._watch()
        return self._code

    def close(self) -> None:
        """Let go of the daemon and of the logs, once nothing runs any more."""
        self._talk.close()
        self._tail.close()

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(each) for each in (self._ask(), self._read_log(), self._obey())]
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(self._crashed)
            loop.add_reader(self._screen.source, self._hear_keys)
            try:
                await self._over.wait()
            finally:
                loop.remove_reader(self._screen.source)
            for each in watching:
                each.cancel()
        if self._crash is not None:
            raise self._crash

    def _crashed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """In what the loop has called, where it would go on."""
        self._crash = context.get("exception") or RuntimeError(context["message"])
        self._over.set()

    async def _ask(self) -> None:
        while True:
            try:
                answer = await asyncio.to_thread(self._talk.instances)
            except NoDaemon:
                self._seen = missed(self._seen, _WAITING)
            except (MainstayError, OSError) as error:
                self._seen = missed(self._seen, str(error))
            else:
                self._seen = heard(self._seen, answer)
            self._look(settled(self._view, self._seen))
            await asyncio.sleep(_ASK_EVERY_S)

    async def _read_log(self) -> None:
        while True:
            selected = self._view.selected
            instance = next((each for each in self._seen.instances if each["name"] == selected), None)
            try:
                log = tuple(await asyncio.to_thread(self._tail.lines, instance))
            except OSError as error:
                log = (f"the log can not be read: {error.strerror}",)
            if log != self._log and selected == self._view.selected:
                self._log = log
                self._draw()
            self._selected.clear()
            try:
                async with asyncio.timeout(_READ_EVERY_S):
                    await self._selected.wait()
            except TimeoutError:
                continue

    async def _obey(self) -> None:
        while True:
            order = await self._orders.get()
            try:
                await asyncio.to_thread(self._talk.order, order)
            except (MainstayError, OSError) as error:
                self._say(str(error))
            else:
                self._say(f"{order.name}: {order.do} was asked for")

    def _hear_keys(self) -> None:
        """Called when there is something to read; a terminal is not read at any other time, because that waits."""
        try:
            data = os.read(self._screen.source, _READ)
        except OSError:
            data = b""
        if not data:  # the terminal is gone
            self._over.set()
        for key in keys(data):
            self._press(key)

    def _press(self, key: str) -> None:
        view, order = pressed(self._view, key, self._seen)
        match order:
            case Quit():
                self._over.set()
                return
            case Order() if not self._orders.full():
                self._orders.put_nowait(order)
        self._look(view)

    def _say(self, text: str) -> None:
        self._look(replace(self._view, said=text))

    def _look(self, view: View) -> None:
        if view.selected != self._view.selected:
            self._log = ()
            self._selected.set()
        self._view = view
        self._draw()

    def _draw(self) -> None:
        try:
            columns, rows = self._screen.size()
            drawn = frame(
                self._view,
                self._seen,
                self._log,
                columns=columns,
                rows=rows,
                colours=self._colours,
                bars=BARS if self._unicode else PLAIN_BARS,
            )
            self._screen.draw(drawn)
        except OSError:  # the terminal is gone
            self._over.set()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """What the terminal and others tell this process by signals."""
        loop = asyncio.get_running_loop()
        told = {
            signal.SIGTERM: self._end,
            signal.SIGHUP: self._end,
            signal.SIGINT: self._end,
            signal.SIGWINCH: self._resized,
            signal.SIGTSTP: self._stop,
            signal.SIGCONT: self._continued,
        }
        for number, what in told.items():
            loop.add_signal_handler(number, what, number)
        try:
            yield
        finally:
            for number in told:
                loop.remove_signal_handler(number)

    def _end(self, number: int) -> None:
        self._code = 128 + number
        self._over.set()

    def _resized(self, _: int) -> None:
        self._screen.clear()
        self._draw()

    def _stop(self, number: int) -> None:
        """As any program does; the terminal is the shell's until we go on."""
        self._screen.give_back()
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(number)
        os.kill(os.getpid(), number)  # returns when somebody lets us go on
        loop.add_signal_handler(number, self._stop, number)

    def _continued(self, _: int) -> None:
        self._screen.take()
        self._draw()
