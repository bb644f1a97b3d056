"""What can happen to one instance of an app, and what may be done about it?

The vocabulary of `mainstay.supervisor.machine`: the daemon tells it events and carries out its commands.
"""

from dataclasses import dataclass
from typing import Literal

from mainstay.supervisor.model import Child, Ended, Reason

__all__ = [
    "Abort",
    "ChildEnded",
    "Command",
    "Due",
    "Event",
    "Heard",
    "Kill",
    "NotSpawned",
    "Reset",
    "RestartAsked",
    "Resumed",
    "SaidAlive",
    "SaidMore",
    "SaidReady",
    "SaidStatus",
    "SaidStopping",
    "Signal",
    "Spawn",
    "Spawned",
    "Trouble",
    "Unwanted",
    "UsesMemory",
    "Wanted",
    "Well",
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Somebody starts it."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Somebody stops it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartAsked:
    """It is to end and to be started again.

    Attributes:
        reason: `Reason.USER` is obeyed whatever it does; the others concern what runs, and `Reason.CRON` also what
            had ended as it was meant.
        detail: in words for people.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Somebody has looked: what was counted is forgotten, and nothing is errored any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spawned:
    """The process that `Spawn` asked for runs."""

    child: Child


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSpawned:
    """There will be no process for the last `Spawn`."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildEnded:
    """A process has ended, and was reaped if that was ours to do.

    Attributes:
        stacks: of one that hung: what it was doing.
    """

    child: Child
    ended: Ended
    stacks: str = ""


@dataclass(frozen=True, slots=True)
class Resumed:
    """For a while nobody was looking, or the machine slept: what the child may have said was not heard.

    Told between what was spawned meanwhile and what has ended meanwhile.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidReady:
    """It has said, or shown, that it is ready.

    Attributes:
        by: how; it counts if that is what the app's ``ready`` is.
    """

    by: Literal["notify", "message", "probe"] = "notify"


@dataclass(frozen=True, slots=True)
class SaidAlive:
    """WATCHDOG=1."""


@dataclass(frozen=True, slots=True)
class SaidStopping:
    """STOPPING=1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidMore:
    """EXTEND_TIMEOUT_USEC: it needs more time for what it does, and says so again before that is over."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidStatus:
    """STATUS: in its own words."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """It runs, and is not well; whether that is worth a restart, others decide.

    Attributes:
        upstream: whether the trouble is that of somebody it depends on, so that no restart would help.
    """

    detail: str
    upstream: bool = False


@dataclass(frozen=True, slots=True)
class Well:
    """Its trouble is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsesMemory:
    """So many bytes, all its processes together; told each second."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class Due:
    """It is ``due_s``, or later; tell first what was heard until then."""


Heard = Resumed | SaidReady | SaidAlive | SaidStopping | SaidMore | SaidStatus | Trouble | Well
"""What concerns a process that runs, and nothing else."""
Event = Wanted | Unwanted | RestartAsked | Reset | Spawned | NotSpawned | ChildEnded | Due | UsesMemory | Heard


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the process; `Spawned` or `NotSpawned` is the answer, also from a daemon that comes after this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Send a signal to the child's group."""

    child: Child
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """Let it dump its stacks, where it still can, and end: SIGABRT to the child."""

    child: Child


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """SIGKILL to the child, its group and all that left the group; the child itself may have ended already."""

    child: Child


Command = Spawn | Signal | Abort | Kill
