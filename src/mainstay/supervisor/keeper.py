"""Who holds the children, and the pipes of their output, while the daemon is gone?

The *keeper*: a small process of its own, and the parent of every child. It starts what it is told to start, keeps
the FIFOs of the output open so that nothing in them is lost, remembers how a child ended until it was told that
this is known, and reaps whatever else becomes its child. It decides nothing: the daemon does, may die at any time,
and comes back.

It has to be the last one to get into trouble. So it waits for events only, and imports as little as can be: no
``typing``, and of ``signal`` and ``socket`` the halves that are written in C, which makes it a third smaller.
`mainstay.supervisor.keeping` is the other side.
"""

import os
import sys
from _signal import (  # type: ignore[import-not-found]
    SIG_UNBLOCK,
    SIGKILL,
    SIGTERM,
    pthread_sigmask,
    set_wakeup_fd,
    signal,
)
from _socket import socket
from errno import EMFILE, ENOSYS, ESHUTDOWN
from select import POLLIN, POLLOUT, poll

from mainstay.supervisor import table
from mainstay.supervisor.fifos import Fifos
from mainstay.supervisor.fingerprint import of_keeper
from mainstay.supervisor.launch import CAUGHT, Program, launch, unignore
from mainstay.supervisor.wire import VERSION, Wire, peer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Keeper"]

_STRANGERS = 8
_DEAF_MS = 100


class _Child:
    """A child that runs, or whose end was not acknowledged yet.

    Attributes:
        mark: when it started, see `mainstay.alive.started_mark`.
        told: where it says why it could not become its program; -1 once that is known.
        wire, asked: who wants to know that, and under which number.
        status: None while it runs; else its exit code, or the signal's number, negative.
    """

    __slots__ = ("asked", "mark", "name", "pid", "status", "told", "wire")

    def __init__(
        self, name: bytes, pid: int, mark: bytes, told: int, wire: "Wire | None" = None, asked: bytes = b""
    ) -> None:
        self.name = name
        self.pid = pid
        self.mark = mark
        self.told = told
        self.wire = wire
        self.asked = asked
        self.status: int | None = None

    def fields(self) -> tuple[bytes, ...]:
        status = b"" if self.status is None else b"%d" % self.status
        return self.name, b"%d" % self.pid, self.mark, status


class Keeper:
    """One per process: it takes over the signals.

    Args:
        listening: where the daemon comes to.
        home: of the daemon, absolute.
        lock: the file descriptor whose lock says that there is a keeper.
        before: what the keeper that this process was until now has handed over, see `mainstay.supervisor.table`.
    """

    def __init__(
        self, listening: socket, home: str, lock: int, before: "Sequence[tuple[bytes, ...]] | None" = None
    ) -> None:
        with open("/proc/sys/kernel/random/boot_id", "rb") as boot:  # noqa: PTH123  pathlib is large
            self._boot = boot.read().strip()
        self._code = of_keeper()
        self._listening = listening
        self._home = home
        self._lock = lock
        self._daemon: Wire | None = None
        self._awaited = True
        self._strangers: list[Wire] = []
        self._children: list[_Child] = []
        self._running: dict[int, _Child] = {}
        self._fifos = Fifos()
        self._held: dict[bytes, list[int]] = {}
        self._ending = False
        self._poll = poll()
        self._on: dict[int, Callable[[], None]] = {}
        self._verbs: dict[bytes, Callable[..., None]] = {
            b"spawn": self._spawn,
            b"spawn as": self._spawn_as,
            b"list": self._list,
            b"acknowledge": self._acknowledge,
            b"open": self._open,
            b"release": self._release,
            b"hold": self._hold,
            b"give": self._give,
            b"held": self._names,
            b"stop": self._stop,
            b"table": self._table,
            b"renew": self._renew,
        }
        woken, waking = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        set_wakeup_fd(waking, warn_on_full_buffer=False)
        unignore()
        for number in CAUGHT:
            signal(number, self._terminated if number == SIGTERM else _nothing)
        self._watch(woken, lambda: self._reap(woken))
        self._watch(listening.fileno(), self._accept)
        for line in before or ():
            self._take(*line)
        if before is not None:
            os.write(waking, b"!")  # who has ended while there were no handlers is to be reaped
            pthread_sigmask(SIG_UNBLOCK, CAUGHT)

    def run(self) -> None:
        """Until it was told to end, or nobody needs it; and there is no child left, not even somebody's orphan."""
        while not ((self._ending or self._idle()) and _childless()):
            deaf = self._listening.fileno() not in self._on
            for fd, _ in self._poll.poll(_DEAF_MS if deaf else None):
                if fd in self._on:
                    self._on[fd]()
            if deaf:
                self._watch(self._listening.fileno(), self._accept)

    def _idle(self) -> bool:
        visited = self._awaited or self._daemon or self._strangers
        return not (visited or self._children or self._fifos or self._held)

    def _terminated(self, *_: object) -> None:
        self._ending = True

    def _watch(self, fd: int, then: "Callable[[], None]") -> None:
        self._on[fd] = then
        self._poll.register(fd, POLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._on.pop(fd, None):
            self._poll.unregister(fd)

    # Children.

    def _spawn(self, wire: Wire, asked: bytes, *fields: bytes) -> None:
        self._launch(wire, asked, Program(fields))

    def _spawn_as(self, wire: Wire, asked: bytes, ids: bytes, *fields: bytes) -> None:
        program = Program(fields)
        program.uid, program.gid, *program.groups = map(int, ids.split(b","))
        self._launch(wire, asked, program)

    def _launch(self, wire: Wire, asked: bytes, program: Program) -> None:
        listen = wire.take(program.listens)
        step = b"start"
        try:
            if self._ending:
                raise OSError(ESHUTDOWN, "ending")  # noqa: TRY301
            if len(listen) < program.listens:
                raise OSError(EMFILE, "too many open files")  # noqa: TRY301
            step = b"stdout"
            self._fifos.hold(program.stdout)
            step = b"stderr"
            self._fifos.hold(program.stderr)
            step = b"start"
            pid, told = launch(program, listen)
            mark = self._mark(pid)
        except OSError as error:
            self._tell(wire, b"no", asked, step, b"%d" % (error.errno or 0))
            return
        finally:
            for fd in listen:
                os.close(fd)
        child = _Child(program.name, pid, mark, told, wire, asked)
        self._running[pid] = child
        self._children.append(child)
        self._watch(told, lambda: self._started(child))

    def _mark(self, pid: int) -> bytes:
        """Also of one that has ended: it is there until it is reaped, which nobody else can do."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
                return self._boot + b":" + stat.read().rpartition(b")")[2].split()[19]
        except OSError:
            os.kill(pid, SIGKILL)  # without its mark nobody could ever be sure of it
            raise

    def _started(self, child: _Child) -> None:
        """Tell what has become of a start; once."""
        try:
            failure = os.read(child.told, 64) if child.told >= 0 else None
        except BlockingIOError:
            return
        if failure is None:
            return
        self._unwatch(child.told)
        os.close(child.told)
        child.told = -1
        if child.wire is None or child.wire is not self._daemon:
            return  # who asked is gone; a start that failed is told of as the end of a child
        if failure:
            del self._running[child.pid]
            self._children.remove(child)
            self._tell(child.wire, b"no", child.asked, *failure.split(b"\0"))
        else:
            self._tell(child.wire, b"ok", child.asked, *child.fields())

    def _reap(self, woken: int) -> None:
        """Reap all there is to reap, and tell of the children."""
        try:
            os.read(woken, 4096)
            while (reaped := os.waitpid(-1, os.WNOHANG))[0] != 0:
                self._ended(*reaped)
        except (BlockingIOError, ChildProcessError):
            return

    def _ended(self, pid: int, status: int) -> None:
        if pid in self._running:
            self._started(self._running[pid])
        child = self._running.pop(pid, None)
        if child is not None:
            child.status = os.waitstatus_to_exitcode(status)
            if self._daemon is not None:
                self._tell(self._daemon, b"ended", b"0", *child.fields())

    # Visitors, one of which is the daemon.

    def _accept(self) -> None:
        try:
            fd, _ = self._listening._accept()  # type: ignore[attr-defined]
        except OSError:
            self._unwatch(self._listening.fileno())  # no more files may be open: they wait outside, see `run`
            return
        wire = Wire(socket(fileno=fd))
        if peer(wire.sock)[1] != os.geteuid():
            wire.close()
            return
        if len(self._strangers) == _STRANGERS:
            self._drop(self._strangers[0])
        self._strangers.append(wire)
        self._watch(wire.sock.fileno(), lambda: self._visited(wire))

    def _visited(self, wire: Wire) -> None:
        try:
            wire.flush()
            for verb, asked, *fields in () if wire.clogged else wire.receive():
                if wire.sock.fileno() >= 0:
                    self._answer(wire, verb, asked, fields)
            self._retune(wire)
        except (EOFError, ValueError, TypeError):  # it is gone, or talks nonsense
            self._drop(wire)
        except Exception:  # noqa: BLE001  the children's lives are worth more than a visitor's
            sys.excepthook(*sys.exc_info())
            self._drop(wire)

    def _answer(self, wire: Wire, verb: bytes, asked: bytes, fields: list[bytes]) -> None:
        if verb == b"hello":
            self._welcome(wire, asked, *fields)
        elif wire is not self._daemon:
            self._drop(wire)
        elif verb in self._verbs:
            self._verbs[verb](wire, asked, *fields)
        else:
            self._tell(wire, b"no", asked, verb, b"%d" % ENOSYS)

    def _welcome(self, wire: Wire, asked: bytes, _version: bytes) -> None:
        """It is the daemon from now on; whoever was it before is told so."""
        if wire in self._strangers:
            self._strangers.remove(wire)
        before, self._daemon, self._awaited = self._daemon, wire, False
        if before is not None and before is not wire:
            self._tell(before, b"replaced", b"0")
            self._drop(before)
        self._tell(wire, b"ok", asked, b"%d" % VERSION, self._code)
        for child in self._children:
            if child.status is not None:
                self._tell(wire, b"ended", b"0", *child.fields())

    def _tell(self, wire: Wire, *message: bytes, fds: "Sequence[int]" = ()) -> None:
        try:
            wire.send(*message, fds=fds)
            self._retune(wire)
        except EOFError:
            self._drop(wire)

    def _retune(self, wire: Wire) -> None:
        if wire.sock.fileno() in self._on:
            self._poll.modify(wire.sock, POLLIN * (not wire.clogged) | POLLOUT * wire.behind)

    def _drop(self, wire: Wire) -> None:
        self._unwatch(wire.sock.fileno())
        wire.close()
        if wire in self._strangers:
            self._strangers.remove(wire)
        if wire is self._daemon:
            self._daemon = None

    # What else the daemon may ask for.

    def _list(self, wire: Wire, asked: bytes) -> None:
        self._tell(wire, b"ok", asked, *(field for child in self._children for field in child.fields()))

    def _acknowledge(self, _wire: Wire, _asked: bytes, pid: bytes, mark: bytes) -> None:
        known = (int(pid), mark)
        self._children = [each for each in self._children if each.status is None or (each.pid, each.mark) != known]

    def _open(self, wire: Wire, asked: bytes, *paths: bytes) -> None:
        failed = 0
        for path in paths:
            try:
                self._fifos.hold(path)
            except OSError as error:
                failed = error.errno or failed
        if failed:
            self._tell(wire, b"no", asked, b"open", b"%d" % failed)
        else:
            self._tell(wire, b"ok", asked)

    def _release(self, wire: Wire, asked: bytes, *paths: bytes) -> None:
        for path in paths:
            self._fifos.release(path)
        self._tell(wire, b"ok", asked)

    def _hold(self, wire: Wire, asked: bytes, name: bytes, count: bytes) -> None:
        wanted = int(count)
        fds = wire.take(wanted)
        if len(fds) < wanted:
            for fd in fds:
                os.close(fd)
            self._tell(wire, b"no", asked, b"hold", b"%d" % EMFILE)
            return
        for fd in self._held.pop(name, ()):
            os.close(fd)
        if fds:
            self._held[name] = fds
        self._tell(wire, b"ok", asked)

    def _give(self, wire: Wire, asked: bytes, name: bytes) -> None:
        fds = self._held.get(name, [])
        try:
            self._tell(wire, b"ok", asked, b"%d" % len(fds), fds=fds)
        except OSError as error:
            self._tell(wire, b"no", asked, b"give", b"%d" % (error.errno or 0))

    def _names(self, wire: Wire, asked: bytes) -> None:
        self._tell(wire, b"ok", asked, *self._held)

    def _stop(self, wire: Wire, asked: bytes) -> None:
        self._ending = True
        self._tell(wire, b"ok", asked)

    # Other code, and the same process.

    def _lines(self) -> "list[tuple[bytes, ...]]":
        children = [(b"child", *child.fields(), b"%d" % child.told) for child in self._children]
        fifos = [(b"fifo", path, b"%d" % fd) for path, fd in self._fifos.items()]
        held = [(b"held", name, *(b"%d" % fd for fd in fds)) for name, fds in self._held.items()]
        return [(b"listening", b"%d" % self._listening.fileno()), *children, *fifos, *held]

    def _take(self, kind: bytes, *fields: bytes) -> None:
        """One line of the table of the keeper that this process was."""
        if kind == b"child":
            name, pid, mark, status, told = fields
            child = _Child(name, int(pid), mark, int(told))
            child.status = int(status) if status else None
            self._children.append(child)
            if child.status is None:
                self._running[child.pid] = child
            if child.told >= 0:
                os.set_inheritable(child.told, False)  # noqa: FBT003
                self._watch(child.told, lambda: self._started(child))
        elif kind == b"fifo":
            self._fifos.take(fields[0], int(fields[1]))
        elif kind == b"held":
            self._held[fields[0]] = [int(fd) for fd in fields[1:]]
            for fd in self._held[fields[0]]:
                os.set_inheritable(fd, False)  # noqa: FBT003

    def _table(self, wire: Wire, asked: bytes) -> None:
        try:
            written = table.write(self._lines())
        except OSError as error:
            self._tell(wire, b"no", asked, b"table", b"%d" % (error.errno or 0))
            return
        try:
            self._tell(wire, b"ok", asked, b"1", fds=(written,))
        except OSError as error:
            self._tell(wire, b"no", asked, b"table", b"%d" % (error.errno or 0))
        finally:
            os.close(written)

    def _renew(self, wire: Wire, asked: bytes, executable: bytes, program: bytes) -> None:
        """Become the keeper of that program, with all that there is; only where that fails there is an answer."""
        try:
            table.become(executable, program, os.fsencode(self._home), self._lock, self._lines())
        except OSError as error:
            self._tell(wire, b"no", asked, b"renew", b"%d" % (error.errno or 0))


def _nothing(*_: object) -> None:
    """To be woken is enough."""


def _childless() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False
