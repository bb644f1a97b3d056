"""How is the keeper run?

``python -I -S boot.py start HOME LOCK_FD``, with nothing of the package imported but what it needs. The start has
two steps, so that what the first one takes is not in the memory of the second, which is the keeper. One that runs
becomes one of other code by ``again HOME LOCK_FD TABLE_FD``; whether it could is found out by ``check TABLE_FD``.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOCK", "READY", "SOCKET"]

SOCKET = "keeper.sock"
LOCK = "keeper.lock"
"""Whose process has it is the keeper."""
READY = b"ready\n"
"""On the standard output of the start, once the socket is there."""

_BACKLOG = 8
_PR_SET_CHILD_SUBREAPER = 36


def _package(program: str) -> None:
    """The package without its ``__init__``, which imports more than the keeper is to have."""
    package = type(sys)("mainstay")
    package.__path__ = [os.path.dirname(os.path.dirname(program))]  # noqa: PTH120
    sys.modules["mainstay"] = package


def _start(program: str, home: str, lock: str) -> None:
    """Become nobody's child, the leader of a session, and the parent of orphans."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    import ctypes

    _package(program)
    import mainstay.supervisor.keeper  # noqa: F401  what is compiled now need not be compiled by the next step

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    # What the dynamic loader may need. The rest is not the keeper's, above all not the mark of an instance.
    env = {name: value for name, value in os.environ.items() if name.startswith("LD_")}  # noqa: TID251
    os.execve(sys.executable, [sys.executable, "-I", "-S", program, "serve", home, lock], env)  # noqa: S606


def _serve(program: str, home: str, lock: str) -> None:
    _package(program)
    from _socket import AF_UNIX, SOCK_STREAM, socket

    from mainstay.supervisor.keeper import Keeper

    _settle(lock)
    os.chdir(home)  # the address of a socket has to be short
    if os.path.lexists(SOCKET):
        os.unlink(SOCKET)  # noqa: PTH108  nobody listens there: we have the lock
    listening = socket(AF_UNIX, SOCK_STREAM)
    listening.setblocking(False)  # noqa: FBT003
    listening.bind(SOCKET)
    listening.listen(_BACKLOG)
    os.chdir("/")
    keeper = Keeper(listening, home, int(lock))
    os.write(1, READY)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)
    keeper.run()
    _leave(home, lock)


def _again(program: str, home: str, lock: str, handed: str) -> None:
    """Signals are blocked: none of them may find a process without handlers."""
    _package(program)
    from _socket import socket

    from mainstay.supervisor import table
    from mainstay.supervisor.keeper import Keeper

    _settle(lock)
    (_, listening), *rest = table.read(int(handed))
    os.close(int(handed))
    os.set_inheritable(int(listening), False)  # noqa: FBT003
    Keeper(socket(fileno=int(listening)), home, int(lock), rest).run()
    _leave(home, lock)


def _check(program: str, handed: str) -> None:
    _package(program)
    from mainstay.supervisor import fingerprint, keeper, table  # noqa: F401

    table.read(int(handed))
    os.write(1, fingerprint.of_keeper())


def _leave(home: str, lock: str) -> None:
    """Where the home was deleted, what is there now is another one's."""
    try:
        if os.path.samestat(os.stat(os.path.join(home, LOCK)), os.fstat(int(lock))):  # noqa: PTH116, PTH118
            os.unlink(os.path.join(home, SOCKET))  # noqa: PTH108, PTH118
    except FileNotFoundError:
        pass


def _settle(lock: str) -> None:
    with open("/proc/self/comm", "w") as comm:  # noqa: PTH123  pathlib is large
        comm.write("mainstay-keeper")
    os.set_inheritable(int(lock), False)  # noqa: FBT003
    os.umask(0o077)


if __name__ == "__main__":
    steps: "dict[str, Callable[..., None]]" = {
        "start": _start,
        "serve": _serve,
        "again": _again,
        "check": _check,
    }
    steps[sys.argv[1]](sys.argv[0], *sys.argv[2:])
