"""How does a daemon live? START READING HERE.

It takes the home for itself, finds or starts the keeper, takes over what runs, and keeps it as it was asked to
until it is told to end. SIGTERM and SIGINT end the apps first, each in its time; a kill leaves them running for the
daemon that comes next. So does an update, after which the same process goes on with other code.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import Final

from mainstay.clock import SystemClock
from mainstay.errors import MainstayError
from mainstay.notify import Notifier
from mainstay.supervisor.control import Served, serving
from mainstay.supervisor.daemon import Supervisor
from mainstay.supervisor.fingerprint import of_daemon
from mainstay.supervisor.handed import Handed
from mainstay.supervisor.keeping import Keeper
from mainstay.supervisor.locks import DAEMON
from mainstay.supervisor.notify import listening, listening_abroad
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Notice
from mainstay.supervisor.plan import Asked
from mainstay.supervisor.planning import Reading
from mainstay.supervisor.processes import end, strays
from mainstay.supervisor.reaping import bury_orphans
from mainstay.supervisor.state import Lifecycle, load
from mainstay.supervisor.updating import Update, prepare, report
from mainstay.supervisor.verbs import Verbs

__all__ = ["supervise"]

_KEEPER_ENDS_S: Final = 10.0
_LOOK_S: Final = 2.0
_COMPLAIN_EVERY_S: Final = 60.0
_TO_END: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _Over:
    """Why it does not go on, once ``event`` is set: it was told to end, or other code is to go on."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: bool = False
    update: Update | None = None

    def has_stopped(self) -> None:
        self.stopped = True
        self.event.set()

    async def give_way(self, asked: Asked) -> None:
        """To the code that is installed now. Raises MainstayError."""
        found = await prepare(asked)
        if self.event.is_set():
            raise MainstayError("not updated: the supervisor is about to end, or is being replaced already")
        self.update = found
        self.event.set()


async def supervise(
    asked: Asked, *, started: bool = False, boot: bool = False, handed: Handed | None = None, failed: str = ""
) -> Update | None:
    """Keep the apps of this plan, until told to end.

    Args:
        asked: what is asked for now, and how it is read anew.
        started: whether what is to be started by itself is started now.
        boot: whether the machine has started this: what ran when the last daemon was told to end goes on, and where
            there never was one, what is to be started by itself is started.
        handed: what is left of the code that this process has run until now.
        failed: why that was not replaced by other code, but goes on.

    Returns:
        The code that is to go on in this process, if any.

    Raises:
        MainstayError: if another daemon has this home, or the keeper can not be had.
    """
    home, code, over, notifier = asked.plan.home, of_daemon(), _Over(), Notifier()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with AsyncExitStack() as stack:
        signals = stack.enter_context(_told_to_end(over.event))
        lock = stack.enter_context(_alone(home, handed.lock if handed else None))
        lifecycle = Lifecycle(home, SystemClock())
        keeper = await Keeper.connect(home)
        stack.callback(keeper.close)
        _be_ready_for_many(lifecycle)
        collector = stack.enter_context(_collecting(lifecycle))
        kept = load(home)
        supervisor = Supervisor(
            asked.plan,
            keeper=keeper,
            collector=collector,
            lifecycle=lifecycle,
            kept=kept,
            clock=SystemClock(),
            boot=boot,
        )

        verbs = Verbs(
            supervisor,
            apps=Reading(asked, code).apps,
            end=over.has_stopped,
            update=partial(over.give_way, asked),
            clock=SystemClock(),
        )
        notify = stack.enter_context(
            listening(home, supervisor.children.heard, inherited=handed.notify if handed else None)
        )
        if os.geteuid() == 0:
            stack.enter_context(listening_abroad(home, supervisor.children.heard))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(supervisor.run())
            others = (bury_orphans(), notifier.keep_alive(), _until_deleted(home, lock, over.event))
            beside = [tasks.create_task(each) for each in others]
            control = serving(home, verbs.handle, inherited=handed.control if handed else None)
            served = await stack.enter_async_context(control)
            lifecycle.write("daemon", pid=os.getpid(), keeper=keeper.pid, code=code.decode())
            if started or (boot and kept is None):
                await verbs.handle({"do": "start", "wait": False})
            await supervisor.has_taken_over.wait()
            notifier.say("READY=1", f"MAINPID={os.getpid()}")
            if handed is not None:
                lifecycle.write("updated", **await report(handed, failed, keeper, code))
            await over.event.wait()
            if over.update is not None:
                signal.pthread_sigmask(signal.SIG_BLOCK, _TO_END)  # they wait for the code that is to go on
            signals.close()
            if over.update is not None:
                over.update = replace(over.update, handed=await _hand_over(supervisor, served, lock, notify))
            else:
                notifier.say("STOPPING=1")
                if not over.stopped:
                    await verbs.stop_all()
                await supervisor.drained()
            for each in (running, *beside):
                each.cancel()
        if over.update is not None:
            with suppress(OSError):  # what was saved before holds then, and what runs is found with the keeper
                supervisor.saving.now()
            return over.update
        await end(lambda: strays(keeper.pid, ()), _KEEPER_ENDS_S)
        await keeper.stop(_KEEPER_ENDS_S)
        lifecycle.write("daemon ended", pid=os.getpid())
    return None


async def _hand_over(supervisor: Supervisor, served: Served, lock: int, notify: int) -> Handed:
    """From now on nobody is answered; who calls waits for the code that is to go on."""
    await supervisor.children.quiet()
    control = served.hand_over()
    await served.end()
    return Handed(lock=os.dup(lock), control=control, notify=os.dup(notify), callers=tuple(served.callers))


@contextmanager
def _collecting(lifecycle: Lifecycle) -> Iterator[Collector]:
    def notice(notice: Notice) -> None:
        details = asdict(notice)
        path = details.pop("path")
        lifecycle.write(type(notice).__name__, log=str(path) if path else None, **details)

    collector = Collector(notice=notice)
    collector.start()
    try:
        yield collector
    finally:
        collector.close()


def _be_ready_for_many(lifecycle: Lifecycle) -> None:
    """Some files are open for each instance. The keeper has begun before this, so that its children get no more."""
    _, most = getrlimit(RLIMIT_NOFILE)
    setrlimit(RLIMIT_NOFILE, (most, most))
    loop, quiet_until_s = asyncio.get_running_loop(), 0.0

    def complain(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        """Where there can be no more files, the loop says so for each one who has called, again and again."""
        nonlocal quiet_until_s
        if not isinstance(context.get("exception"), OSError):
            loop.default_exception_handler(context)
        elif loop.time() >= quiet_until_s:
            quiet_until_s = loop.time() + _COMPLAIN_EVERY_S
            lifecycle.write("trouble", message=context.get("message"), error=str(context.get("exception")))

    loop.set_exception_handler(complain)


@contextmanager
def _alone(home: Path, inherited: int | None) -> Iterator[int]:
    fd = (
        inherited if inherited is not None else os.open(home / DAEMON, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    )
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise MainstayError(f"another supervisor has {home}: ask it with `mainstay list`") from None
    try:
        yield fd
    finally:
        os.close(fd)


async def _until_deleted(home: Path, lock: int, told: asyncio.Event) -> None:
    """Whoever deletes the home can not reach this daemon any more, and may start another one in the same place.

    So it ends, with its apps, as PostgreSQL does without its lock file. One that can not be looked at is there.
    """
    ours = os.fstat(lock)
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            is_ours = os.path.samestat((home / DAEMON).stat(), ours)
        except FileNotFoundError:
            is_ours = False
        except OSError:
            continue
        if not is_ours:
            told.set()
            return


@contextmanager
def _told_to_end(told: asyncio.Event) -> Iterator[ExitStack]:
    """SIGTERM and SIGINT set it, until what this gives is closed."""
    loop = asyncio.get_running_loop()
    with ExitStack() as handlers:
        for number in _TO_END:
            loop.add_signal_handler(number, told.set)
            handlers.callback(loop.remove_signal_handler, number)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TO_END)
        yield handlers
