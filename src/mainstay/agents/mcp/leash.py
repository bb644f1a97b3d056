"""Who ends an MCP server's process when the service can not do it any more?

``python leash.py FD COMMAND ARGUMENT…`` runs the command with its own standard streams, and ends as it ends. The
descriptor FD is the reading end of a pipe whose other end only the service holds. When the service lets go of it,
because it wants so or because it is dead, the command and its process group are ended: first by themselves
(their input has ended, which is how the protocol says goodbye), then by SIGTERM, then by SIGKILL.

A script for a bare interpreter (``-I -S``): it imports nothing of Mainstay, and little of anything else.
"""

import os
import select
import signal
import sys
import time

__all__ = ["GRACE_S", "run"]

GRACE_S = 2.0
"""From the end of the input to SIGTERM, from there to SIGKILL, and the longest wait after that."""

_POLL_S = 0.02
_NOT_FOUND = 127  # what a shell says


def run(lifeline: int, command: list[str]) -> int:
    """Run the command to its end or that of the service; returns its exit status as a shell gives it."""
    signals = _Signals()
    os.set_inheritable(lifeline, False)  # noqa: FBT003
    try:
        # A session of its own: its process group is then what it has started, and nothing else.
        pid = os.posix_spawnp(command[0], command, os.environ, setsid=True, setsigdef=[signal.SIGPIPE])  # noqa: TID251
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        return _NOT_FOUND
    for inherited in (0, 1, 2):
        os.close(inherited)  # the end of the command has to be the end of its output
    group = _Group(pid)
    while not group.leader_ended():
        if signals.wait(lifeline):
            group.wait()
            break
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if not group.is_empty():
            group.send(sign)
            group.wait()
    return group.status


class _Signals:
    """Wakes a wait when a child has ended, or when somebody asks this process to end."""

    def __init__(self) -> None:
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._heard)
        self._asked_to_end = False

    def _heard(self, number: int, _frame: object) -> None:
        self._asked_to_end = self._asked_to_end or number != signal.SIGCHLD

    def wait(self, lifeline: int) -> bool:
        """Wait for something to happen; True when it is time to end."""
        ready, _, _ = select.select([self._woken, lifeline], [], [])
        if self._woken in ready:
            os.read(self._woken, 512)
        return lifeline in ready or self._asked_to_end


class _Group:
    """The command and its descendants. ``status``: the exit status of the command, once it is known."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = False
        self.status = 128 + signal.SIGKILL

    def leader_ended(self) -> bool:
        if not self._ended:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._ended = True
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code
        return self._ended

    def is_empty(self) -> bool:
        return self.leader_ended() and not self._answers(0)

    def send(self, number: int) -> None:
        self._answers(number)

    def _answers(self, number: int) -> bool:
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # some of them are somebody else's by now, or zombies on macOS
        return True

    def wait(self) -> None:
        """Give them time to end."""
        deadline = time.monotonic() + GRACE_S  # noqa: TID251  a process of its own: there is no Clock here
        while not self.is_empty() and time.monotonic() < deadline:  # noqa: TID251
            time.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(run(int(sys.argv[1]), sys.argv[2:]))
