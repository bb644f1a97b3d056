"""Which run of an instance is this process, which a daemon before this one has started?"""

import os
from typing import Final

from mainstay.notify import MARKER
from mainstay.supervisor.model import Child, Instance, State
from mainstay.supervisor.procfs import environment

__all__ = ["begun_s", "marker_of", "may_be_of"]

_TICK_S: Final = 0.01


def may_be_of(instance: Instance, child: Child) -> bool:
    """Whether the instance may be waiting for it; else it is one that it had before."""
    if instance.child is not None:
        earliest_s = _started_s(instance.child)
    elif instance.state in {State.STARTING, State.STOPPING}:
        earliest_s = instance.begun_s
    else:
        earliest_s = instance.since_s
    return _started_s(child) >= earliest_s - _TICK_S


def begun_s(child: Child) -> float | None:
    """When it was decided to start it, as its mark says; None if that can not be seen any more."""
    _, _, number = marker_of(child).partition("@")[0].rpartition(".")
    return int(number) / 1000 if number.isdecimal() else None


def marker_of(child: Child) -> str:
    """What it was marked with when it was started; empty if that can not be seen any more."""
    entries = (entry.decode(errors="replace").partition("=") for entry in environment(child.pid))
    return next((value for name, _, value in entries if name == MARKER), "")


def _started_s(child: Child) -> float:
    return int(child.mark.rpartition(":")[2]) / os.sysconf("SC_CLK_TCK")
