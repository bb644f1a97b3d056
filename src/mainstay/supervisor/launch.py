"""How does a process become the program that it was told to be?

The child gets a session of its own, the default signal dispositions, and no open file but those that are meant
for it. Its output is opened for reading too: so it never gets SIGPIPE, whoever is gone, and only waits while the
pipe is full. Run by the keeper, so no ``typing`` and no ``signal``.
"""

import os
from _signal import (  # type: ignore[import-not-found]
    SIG_BLOCK,
    SIG_DFL,
    SIG_IGN,
    SIG_SETMASK,
    SIGCHLD,
    SIGHUP,
    SIGINT,
    SIGTERM,
    getsignal,
    pthread_sigmask,
    signal,
    valid_signals,
)
from fcntl import F_DUPFD_CLOEXEC, fcntl
from stat import S_ISFIFO

__all__ = ["CAUGHT", "CHANNEL", "FIRST_FD", "Program", "launch", "unignore"]

CAUGHT = (SIGCHLD, SIGHUP, SIGINT, SIGTERM)
"""The signals for which the keeper has handlers. It ignores none: its children would ignore it too."""

CHANNEL = b"NODE_CHANNEL_FD"
"""With it in the environment the last of the sockets is a channel of messages, and none to listen on."""

FIRST_FD = 3
_PATH = b"/usr/local/bin:/usr/bin:/bin"


class Program:
    """What is to run, as it comes over the wire.

    Args:
        fields: name, cwd, stdout, stderr, umask (octal), number of sockets, number of words, words, environment.

    Raises:
        ValueError: it is not that.
    """

    __slots__ = (
        *("argv", "cwd", "env", "listens", "name", "stderr", "stdout", "umask"),
        *("gid", "groups", "uid"),
    )

    def __init__(self, fields: tuple[bytes, ...]) -> None:
        self.name, cwd, self.stdout, self.stderr, umask, listens, words, *rest = fields
        self.cwd = cwd or b"/"
        self.uid: int | None = None  # as whom; as we if None
        self.gid = 0
        self.groups: list[int] = []
        self.umask, self.listens = int(umask, 8), int(listens)
        self.argv = rest[: int(words)]
        self.env = dict(each.split(b"=", 1) for each in rest[int(words) :])
        if not self.argv:
            raise ValueError("no command")


def unignore() -> None:
    """Whoever has started the keeper may have ignored signals, and the interpreter ignores SIGPIPE."""
    for number in valid_signals():
        if getsignal(number) == SIG_IGN:
            signal(number, SIG_DFL)


def launch(program: Program, listen: list[int]) -> tuple[int, int]:
    """Start a process on its way to become that program.

    Returns:
        Its pid, and a pipe that is closed when it has. If it can not, the step and the error's number are in it.

    Raises:
        OSError: there can be no further process.
    """
    told, failed = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    # What it is sent before it has its own dispositions has to wait until then.
    before = pthread_sigmask(SIG_BLOCK, valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(program, listen, failed)
    except OSError:
        os.close(told)
        raise
    finally:
        os.close(failed)
        pthread_sigmask(SIG_SETMASK, before)
    return pid, told


def _become(program: Program, listen: list[int], failed: int) -> None:
    """Never returns."""
    step = b"start"
    try:
        os.setsid()
        step = b"stdout"
        _onto(b"/dev/null", os.O_RDONLY, 0)
        _onto(program.stdout, os.O_RDWR, 1)
        step = b"stderr"
        _onto(program.stderr, os.O_RDWR, 2)
        step = b"user"
        if program.uid is not None:
            _become_who(program)
        step = b"cwd"
        os.chdir(program.cwd)
        step = b"start"
        if listen:
            failed = _pass(listen, failed)
        if sockets := len(listen) - (CHANNEL in program.env):
            program.env |= {b"LISTEN_PID": b"%d" % os.getpid(), b"LISTEN_FDS": b"%d" % sockets}
        os.umask(program.umask)
        for number in CAUGHT:
            signal(number, SIG_DFL)
        pthread_sigmask(SIG_SETMASK, ())
        step = b"exec"
        _execute(program.argv, program.env)
    except OSError as error:
        os.write(failed, b"%s\0%d" % (step, error.errno or 0))
    finally:
        os._exit(127)


def _onto(path: bytes, flags: int, place: int) -> None:
    fd = os.open(path or b"/dev/null", flags)
    os.dup2(fd, place)
    if fd != place:
        os.close(fd)


def _become_who(program: Program) -> None:
    """Its output is opened already, and is its own: so it can open it again by ``/dev/stdout``."""
    assert program.uid is not None
    if os.geteuid() == 0:
        for place in (1, 2):
            if S_ISFIFO(os.fstat(place).st_mode):
                os.fchown(place, program.uid, program.gid)
        os.setgroups(program.groups)
    os.setresgid(program.gid, program.gid, program.gid)
    os.setresuid(program.uid, program.uid, program.uid)


def _pass(listen: list[int], failed: int) -> int:
    """Put them where sd_listen_fds(3) looks for them; where ``failed`` is afterwards."""
    above = FIRST_FD + len(listen)  # first out of the way, lest one is written over before it has moved
    failed = fcntl(failed, F_DUPFD_CLOEXEC, above)
    for place, fd in enumerate([fcntl(fd, F_DUPFD_CLOEXEC, above) for fd in listen], FIRST_FD):
        os.dup2(fd, place)
    return failed


def _execute(argv: list[bytes], env: dict[bytes, bytes]) -> None:
    """Like ``execvp``, with the PATH of ``env``; returns by an error only."""
    if b"/" in argv[0]:
        os.execve(argv[0], argv, env)  # noqa: S606  no shell is wanted
    refused: OSError = FileNotFoundError(2, "no such command")
    for directory in env.get(b"PATH", _PATH).split(b":"):
        try:
            os.execve(directory + b"/" + argv[0], argv, env)  # noqa: S606
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
    raise refused
