"""Which listening socket was this process handed?

By the protocol of systemd (sd_listen_fds(3)), which Mainstay's supervisor speaks as well: the sockets are open from
file descriptor 3 on, ``LISTEN_FDS`` says how many, and ``LISTEN_PID`` for whom.
"""

import os
import socket
from typing import Final

from mainstay.errors import MainstayError

__all__ = ["handed"]

_FIRST_FD: Final = 3


def handed() -> socket.socket | None:
    """The first one that the service can be reached at by HTTP; None if nothing was handed to it.

    No process that is started from here gets any of them. To be asked for once.

    Raises:
        MainstayError: something was handed over, and none of it is of TCP.
    """
    environ = os.environ  # noqa: TID251  the protocol's own place for it
    count = environ.get("LISTEN_FDS", "")
    if environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal() or not int(count):
        return None
    given = [socket.socket(fileno=fd) for fd in range(_FIRST_FD, _FIRST_FD + int(count))]
    for each in given:
        each.set_inheritable(False)
    families = (socket.AF_INET, socket.AF_INET6)
    of_tcp = [each for each in given if each.family in families and each.type == socket.SOCK_STREAM]
    for each in given:
        if each not in of_tcp[:1]:
            each.close()
    if not of_tcp:
        raise MainstayError("the sockets that were handed over (LISTEN_FDS) are none of TCP: set another `listen`")
    of_tcp[0].settimeout(0)
    return of_tcp[0]
