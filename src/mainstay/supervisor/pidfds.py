"""Is this still the process that I mean, and how did it end, although it is not my child?

A pid is used again, a pidfd is not. What a process ended with is for its parent to know; from Linux 6.15 on the
kernel tells others too, once the parent knows.
"""

import asyncio
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from typing import Final

from mainstay.supervisor.model import Child, Ended
from mainstay.supervisor.procfs import stat

__all__ = ["Watch", "ended", "pidfd_of"]

_PIDFD_GET_INFO: Final = 0xC040FF0B
_PIDFD_INFO_EXIT: Final = 1 << 3
_INFO: Final = struct.Struct("=QQ11Ii")  # mask, control group, eleven ids, and the status last
_ASKED: Final = 10
_AGAIN_S: Final = 0.025


def pidfd_of(child: Child) -> int | None:
    """A pidfd of it, which is the caller's to close; None if it has ended.

    Raises:
        OSError: too many files are open.
    """
    try:
        pidfd = os.pidfd_open(child.pid)
    except OSError as error:
        if error.errno in {errno.ESRCH, errno.EINVAL}:
            return None
        raise
    # If it is alive only now, nobody else can have had its pid a moment ago.
    found = stat(child.pid)
    if found is None or found.mark != child.mark:
        os.close(pidfd)
        return None
    return pidfd


class Watch:
    """Tells once when a process has ended that is not our child.

    Args:
        child: what to watch; it may have ended.
        then: called with how it ended, from the event loop and never at once.
    """

    def __init__(self, child: Child, then: Callable[[Child, Ended], None]) -> None:
        self._child = child
        self._then = then
        self._loop = asyncio.get_running_loop()
        self._pidfd = pidfd_of(child)
        self._again: asyncio.Handle
        if self._pidfd is None:
            self._again = self._loop.call_soon(self._tell, Ended())
        else:
            self._again = self._loop.call_soon(self._loop.add_reader, self._pidfd, self._ended)

    def cancel(self) -> None:
        """Watch no longer."""
        self._again.cancel()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def _ended(self) -> None:
        assert self._pidfd is not None
        self._loop.remove_reader(self._pidfd)
        self._ask(_ASKED)

    def _ask(self, times: int) -> None:
        assert self._pidfd is not None
        status, maybe_later = _status(self._pidfd)
        if status is None and maybe_later and times:
            self._again = self._loop.call_later(_AGAIN_S, self._ask, times - 1)
        else:
            self._tell(Ended() if status is None else ended(os.waitstatus_to_exitcode(status)))

    def _tell(self, how: Ended) -> None:
        self.cancel()
        self._then(self._child, how)


def ended(exitcode: int) -> Ended:
    """From the way that Python writes it: a signal's number is negative."""
    return Ended(code=exitcode) if exitcode >= 0 else Ended(signal=-exitcode)


def _status(pidfd: int) -> tuple[int | None, bool]:
    """The wait status, if it is known; and whether it may be known later."""
    packed = bytearray(_INFO.pack(_PIDFD_INFO_EXIT, *(0,) * 13))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, packed)
    except OSError as error:
        return None, error.errno == errno.ESRCH
    mask, *_, status = _INFO.unpack(packed)
    return (status, False) if mask & _PIDFD_INFO_EXIT else (None, True)
