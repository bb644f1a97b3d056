"""How is a signal sent to the process that I mean, and how are processes ended for certain?

Nothing is ever sent to a pid that may have been used again.
"""

import asyncio
import errno
import os
import signal
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Final

from mainstay.supervisor.model import Child
from mainstay.supervisor.pidfds import pidfd_of
from mainstay.supervisor.procfs import pids, stat

__all__ = ["end", "send", "send_group", "strays"]

_PIDFD_SIGNAL_PROCESS_GROUP: Final = 1 << 2


def send(child: Child, number: int) -> bool:
    """Send a signal to this process alone; False if it has ended.

    Raises:
        OSError: it is another user's, or too many files are open.
    """
    return _send(child, number, 0)


def send_group(child: Child, number: int) -> bool:
    """Send a signal to the process group that it leads; False if it has ended itself.

    Raises:
        OSError: all of it is another user's, or too many files are open.
    """
    try:
        return _send(child, number, _PIDFD_SIGNAL_PROCESS_GROUP)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # Before Linux 6.9. The number of a group is not used again as long as there is anybody in it.
    if not _send(child, 0, 0):
        return False
    os.killpg(child.pid, number)
    return True


def _send(child: Child, number: int, flags: int) -> bool:
    pidfd = pidfd_of(child)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number, None, flags)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def strays(parent: int, known: Collection[int]) -> tuple[Child, ...]:
    """The children of a process but those with ``known`` pids; of a keeper: the orphans that it has taken in."""
    found = ((pid, stat(pid)) for pid in pids() if pid not in known)
    return tuple(Child(pid=pid, mark=each.mark) for pid, each in found if each and each.parent == parent)


async def end(find: Callable[[], Iterable[Child]], within_s: float) -> tuple[Child, ...]:
    """Kill what is found, and look again, until nothing is found; what is left after that time."""
    try:
        async with asyncio.timeout(within_s):
            while found := tuple(find()):
                await _kill(found)
    except TimeoutError:
        return tuple(find())
    return ()


async def _kill(found: Iterable[Child]) -> None:
    """Kill these processes, and wait until they have ended."""
    loop = asyncio.get_running_loop()
    pidfds: list[int] = []
    try:
        for each in found:
            pidfd = pidfd_of(each)
            if pidfd is not None:
                pidfds.append(pidfd)
                with suppress(ProcessLookupError, PermissionError):  # one that may not be killed is left over
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        for pidfd in pidfds:
            has_ended = asyncio.Event()
            loop.add_reader(pidfd, has_ended.set)
            await has_ended.wait()
            loop.remove_reader(pidfd)
        await asyncio.sleep(0)  # also where there was nobody to wait for: the deadline has to be seen
    finally:
        for pidfd in pidfds:
            loop.remove_reader(pidfd)
            os.close(pidfd)
