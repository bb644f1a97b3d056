"""What is one running instance of an app, and what is known about it?

An *app* is a command that is to be kept running, so many times at once: those are its *instances*. What may be set
about it is in `mainstay.supervisor.app`; what becomes of an instance is decided in `mainstay.supervisor.machine`,
and done by the daemon.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = [
    "ACTIVE",
    "Child",
    "Ended",
    "Instance",
    "Reason",
    "Restart",
    "State",
    "is_wanted",
]

_NAMES: Final = {
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
    10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU",
    25: "SIGXFSZ", 28: "SIGWINCH", 31: "SIGSYS",
}  # fmt: skip
"""Linux's numbers, signal(7). The library's own list comes with what sends them, and models do no I/O."""


class State(StrEnum):
    """What an instance is doing."""

    STOPPED = "stopped"
    """Nobody wants it to run."""
    STARTING = "starting"
    """It runs, and has not said or shown yet that it is ready."""
    READY = "ready"
    UNHEALTHY = "unhealthy"
    """It runs, and says or shows that it is in trouble."""
    STOPPING = "stopping"
    """It was told to end."""
    BACKOFF = "backoff"
    """It has ended, and is started again after a delay."""
    ERRORED = "errored"
    """It has ended too often; somebody has to look."""
    EXITED = "exited"
    """It has ended, and that is how it was meant."""


_WANTED: Final = frozenset({State.STARTING, State.READY, State.UNHEALTHY, State.BACKOFF, State.ERRORED})
ACTIVE: Final = frozenset({State.STARTING, State.READY, State.UNHEALTHY, State.STOPPING})
"""The states in which there is a process."""


class Reason(StrEnum):
    """Why an instance was started again, or is stopped."""

    EXIT = "exit"
    SIGNAL = "signal"
    MEMORY = "memory"
    HANG = "hang"
    HEALTH = "health"
    CRON = "cron"
    USER = "user"
    START = "start"
    """It could not be started, or was not ready in time."""
    UNKNOWN = "unknown"
    """It has ended while nobody was looking: how, is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process of ours.

    Attributes:
        mark: when it started, see `mainstay.alive.started_mark`; a pid alone is used again.
    """

    pid: int
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended: by an exit code, by a signal, or unknown if it has neither."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.code is not None:
            return f"exit code {self.code}"
        if self.signal is None:
            return "it has ended while nobody was looking"
        return f"killed by {_NAMES.get(self.signal, f'signal {self.signal}')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """One restart that was made or is due.

    Attributes:
        at_s: when what ran before had ended; like all times in here, see `Instance.since_s`.
        uptime_s: how long it had run.
        detail: in words for people, e.g. ``"exit code 1"``.
        stacks: what it was doing when it hung, as far as it could say.
    """

    at_s: float
    reason: Reason
    detail: str
    uptime_s: float
    stacks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance of an app, as the daemon knows it and keeps it over its own death.

    Attributes:
        state: see `State`.
        child: of the active states, once it was started.
        since_s: when ``state`` began; all times are seconds of ``CLOCK_BOOTTIME``, which goes on while the machine
            sleeps and is the same for a daemon that comes after this one.
        begun_s: when it was decided to start the process; tells the runs of an instance apart.
        started_s: when the process was started.
        due_s: when the machine wants to be asked again at the latest; infinite for never.
        unstable: restarts in a row after less than ``min_uptime``.
        delays: how many failures there were in a row, each with less uptime than ``stable_after``.
        restarts: those within ``restart_period``, oldest first; of those that were asked for only the last few.
        restarted: how many there were altogether, since the last `reset`.
        over_limit: how many times in a row it had more memory than ``memory_limit``.
        upstream: whether the trouble of an unhealthy one is that of somebody it depends on.
        stop_for: why it is being stopped, `Reason.EXIT` if it does so by itself; None if it is not.
        again: whether it is started again once it has stopped.
        killed: whether it was already told to end by SIGKILL.
        ended: how the last process ended.
        detail: the reason for ``state`` in words for people; empty if there is nothing to say.
        status: what it says of itself (STATUS=…).
    """

    state: State = State.STOPPED
    child: Child | None = None
    since_s: float = 0.0
    begun_s: float = 0.0
    started_s: float = 0.0
    due_s: float = float("inf")
    unstable: int = 0
    delays: int = 0
    restarts: tuple[Restart, ...] = field(default=())
    restarted: int = 0
    over_limit: int = 0
    upstream: bool = False
    stop_for: Reason | None = None
    again: bool = False
    killed: bool = False
    ended: Ended | None = None
    detail: str = ""
    status: str = ""


def is_wanted(instance: Instance) -> bool:
    """Whether it is to run, as far as anybody has said: what a reboot starts again, and `mainstay save` keeps."""
    return instance.again if instance.state is State.STOPPING else instance.state in _WANTED
