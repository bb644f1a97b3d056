"""How does a daemon live? START READING HERE.

It takes the home for itself, finds or starts the keeper, takes over what runs, and keeps it as it was asked to
until it is told to end. SIGTERM and SIGINT end the apps first, each in its time; a kill leaves them running for the
daemon that comes next.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

from mainstay.clock import SystemClock
from mainstay.errors import MainstayError
from mainstay.notify import Notifier
from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.control import serving
from mainstay.supervisor.daemon import Plan, Supervisor
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.notify import listening
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Notice
from mainstay.supervisor.processes import end, strays
from mainstay.supervisor.state import Lifecycle, load
from mainstay.supervisor.verbs import Verbs

__all__ = ["supervise"]

_LOCK: Final = "supervisor.lock"
_KEEPER_ENDS_S: Final = 10.0


async def supervise(
    plan: Plan, *, apps: Callable[[], Mapping[str, AppSettings]], started: bool = False, boot: bool = False
) -> None:
    """Keep the apps of this plan, until told to end.

    Args:
        plan: what is asked for now.
        apps: reads the configuration anew.
        started: whether what is to be started by itself is started now.
        boot: whether the machine has started this: what ran when the last daemon was told to end goes on, and where
            there never was one, what is to be started by itself is started.

    Raises:
        MainstayError: if another daemon has this home, or the keeper can not be had.
    """
    clock, over, notifier = SystemClock(), asyncio.Event(), Notifier()
    plan.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        stack.enter_context(_alone(plan.home))
        lifecycle = Lifecycle(plan.home, clock)
        keeper = await Keeper.connect(plan.home)
        stack.callback(keeper.close)

        def notice(notice: Notice) -> None:
            lifecycle.write(type(notice).__name__, log=str(notice.path), reason=notice.reason)

        collector = Collector(notice=notice)
        collector.start()
        stack.callback(collector.close)
        kept = load(plan.home)
        supervisor = Supervisor(plan, keeper=keeper, collector=collector, lifecycle=lifecycle, kept=kept, boot=boot)
        verbs = Verbs(supervisor, apps=apps, end=over.set, clock=clock)
        stack.enter_context(listening(plan.home, supervisor.heard))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(supervisor.run())]
            if notifier.watchdog_s is not None:
                running.append(tasks.create_task(notifier.keep_alive()))
            await stack.enter_async_context(serving(plan.home, verbs.handle))
            with _told_to_end() as told:
                lifecycle.write("daemon", pid=os.getpid(), keeper=keeper.pid)
                notifier.say("READY=1", f"MAINPID={os.getpid()}")
                if started or (boot and kept is None):
                    await verbs.handle({"do": "start", "wait": False})
                await _first(over, told)
            notifier.say("STOPPING=1")
            if not over.is_set():
                await verbs.stop_all()
            await supervisor.drained()
            for each in running:
                each.cancel()
        await end(lambda: strays(keeper.pid, ()), _KEEPER_ENDS_S)
        await keeper.stop(_KEEPER_ENDS_S)
        lifecycle.write("daemon ended", pid=os.getpid())


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    fd = os.open(home / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise MainstayError(f"another supervisor has {home}: ask it with `mainstay list`") from None
    try:
        yield
    finally:
        os.close(fd)


@contextmanager
def _told_to_end() -> Iterator[asyncio.Event]:
    """Set by SIGTERM and SIGINT while the block runs."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    try:
        yield told
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _first(*awaited: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(each.wait()) for each in awaited]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for each in waiting:
            each.cancel()
