"""How does a process tell whoever supervises it how it is?

By the protocol of systemd (sd_notify(3)), which Mainstay's supervisor speaks as well: lines like ``READY=1`` in a
datagram to the socket that ``NOTIFY_SOCKET`` names. Nobody who supervises: nothing is said.
"""

import asyncio
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

__all__ = ["MARKER", "STACKS", "Notifier"]

MARKER: Final = "MAINSTAY_INSTANCE"
"""The environment variable that says to which supervised instance a process belongs, and ends with.

Who is to outlive whoever has started it is given another value, and a session of its own.
"""

STACKS: Final = "MAINSTAY_STACKS"
"""The environment variable that names a file: whoever hangs, and still can, writes there what it was doing."""

_AT_MOST_S: Final = 10.0
_ROOM_S: Final = 1.0


class Notifier:
    """The way to the supervisor of this process.

    Attributes:
        watchdog_s: within so many seconds it wants to hear that this process is alive; None if it does not.
        alive_s: when it was told so the last time, by the monotonic clock.
        stacks: see `STACKS`; empty if there is no such file.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ  # noqa: TID251  the protocol's own place for it
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        meant = self._address and usec.isdecimal() and int(usec) > 0 and pid in ("", str(os.getpid()))
        self.alive_s = float("-inf")
        self.stacks = environ.get(STACKS, "")
        self.watchdog_s = int(usec) / 1e6 if meant else None

    def say(self, *lines: str) -> None:
        """Send, e.g. ``READY=1`` and ``STATUS=all is well``; a supervisor that does not take it is none of ours.

        The kernel keeps ten such lines (net.unix.max_dgram_qlen) for one who is busy: what is said only once waits
        for a moment until there is room.
        """
        if self._address:
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
                way.settimeout(0.0 if lines == ("WATCHDOG=1",) else _ROOM_S)
                way.sendto("\n".join(lines).encode(), self._address)

    async def keep_alive(self) -> None:
        """Say that the event loop is alive, twice as often as is asked for, until cancelled.

        From the loop itself, so that a loop that is blocked is silent. Returns at once if nobody wants to hear it.
        """
        loop = asyncio.get_running_loop()
        while self.watchdog_s is not None:
            self.say("WATCHDOG=1")
            self.alive_s = loop.time()
            await asyncio.sleep(min(self.watchdog_s / 2, _AT_MOST_S))
