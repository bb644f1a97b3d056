"""What is the next thing to do in a reload?

Pure. One instance after the other gets a *successor*, which is started beside it. Once that is ready it takes the
slot, and only then what had it is told to end. If it fails, what has the slot goes on, and the reload is over.

Nothing is remembered but the slots that are left: what is to be done next follows from how the runs are. So a
daemon that comes after a kill goes on where the last one was.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.model import ACTIVE, Instance, State
from mainstay.supervisor.naming import Role, beside

__all__ = ["Action", "Begin", "Drop", "Forget", "Restart", "Roll", "Swap", "decide", "resumed"]

_AT_REST: Final = frozenset({State.STOPPED, State.ERRORED, State.EXITED})
_NEVER: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll:
    """A reload that goes on.

    Attributes:
        left: the slots that are not done yet; it is the first one's turn.
        begun: whether that one has had its `Begin` or `Restart`.
        failed: why there will be no more of it, once that is certain; empty until then.
    """

    left: tuple[str, ...]
    begun: bool = False
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Begin:
    """Start a successor beside what runs in the slot."""

    slot: str


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it in its slot: nothing runs there that could be kept up."""

    slot: str


@dataclass(frozen=True, slots=True)
class Swap:
    """The successor takes the slot, and what had it is told to end."""

    slot: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Tell the successor to end."""

    slot: str


@dataclass(frozen=True, slots=True)
class Forget:
    """This run has ended, and nobody needs to know of it any more."""

    name: str


Action = Begin | Restart | Swap | Drop | Forget
Decision = tuple[Roll | None, Action | None, float]


def decide(
    roll: Roll, instances: Mapping[str, Instance], apps: Mapping[str, AppSettings], now_s: float
) -> Decision:
    """The reload after this; what is to be done now; when to ask again at the latest.

    Ask again at once after something was to be done, and whenever a run has changed. None in place of the reload:
    it is over.

    Args:
        roll: as it was.
        instances: all runs, by name.
        apps: the settings of each slot's app, by slot.
        now_s: seconds of ``CLOCK_BOOTTIME``.
    """
    if not roll.left:
        return None, None, _NEVER
    slot = roll.left[0]
    successor, old = (instances.get(beside(slot, role)) for role in (Role.NEXT, Role.OLD))
    if old is not None:
        return roll, Forget(beside(slot, Role.OLD)) if old.state in _AT_REST else None, _NEVER
    if roll.failed or (successor is not None and not roll.begun):
        return _unwanted(roll, slot, successor)
    if successor is not None:
        return _succeeds(roll, slot, instances.get(slot), successor, apps[slot], now_s)
    holder = instances.get(slot)
    if holder is None:  # its app has fewer instances by now
        return replace(roll, left=roll.left[1:], begun=False), None, now_s
    if not roll.begun:
        runs = holder.state in ACTIVE and holder.state is not State.STOPPING
        return replace(roll, begun=True), Begin(slot) if runs else Restart(slot), _NEVER
    return _stands(roll, slot, holder, apps[slot], now_s)


def resumed(roll: Roll, instances: Mapping[str, Instance], apps: Mapping[str, AppSettings]) -> Roll:
    """The reload after a while in which nobody was looking; before the runs are told so.

    Whether a successor has said meanwhile that it is ready, nobody knows: another one is started in its place.
    """
    successor = instances.get(beside(roll.left[0], Role.NEXT)) if roll.left else None
    unknown = successor is not None and successor.state is State.STARTING and successor.child is not None
    return replace(roll, begun=False) if unknown and apps[roll.left[0]].ready != "started" else roll


def _unwanted(roll: Roll, slot: str, successor: Instance | None) -> Decision:
    if successor is None:
        return None, None, _NEVER
    if successor.state in _AT_REST:
        return roll, Forget(beside(slot, Role.NEXT)), _NEVER
    return roll, None if successor.state is State.STOPPING and not successor.again else Drop(slot), _NEVER


def _succeeds(
    roll: Roll, slot: str, holder: Instance | None, successor: Instance, settings: AppSettings, now_s: float
) -> Decision:
    if why := _why_not(successor):
        return replace(roll, failed=f"{slot}: {why}"), Drop(slot), _NEVER
    if holder is None:
        return replace(roll, failed=f"{slot} is not wanted any more"), Drop(slot), _NEVER
    due_s = _is_up_s(successor, settings)
    # What is just being started or has not been heard of could not be told from its successor.
    settled = holder.child is not None or holder.state not in {State.STARTING, State.STOPPING}
    return roll, Swap(slot) if settled and due_s <= now_s else None, due_s if settled else _NEVER


def _stands(roll: Roll, slot: str, holder: Instance, settings: AppSettings, now_s: float) -> Decision:
    """What has the slot now has to hold it before the next one's turn."""
    if holder.state in {State.BACKOFF, State.ERRORED, State.STOPPED}:
        return replace(roll, failed=f"{slot}: {holder.detail or 'it was stopped'}"), None, now_s
    due_s = now_s if holder.state is State.EXITED else _is_up_s(holder, settings)
    if due_s > now_s:
        return roll, None, due_s
    return replace(roll, left=roll.left[1:], begun=False), None, now_s


def _why_not(successor: Instance) -> str:
    """Why it can not take the slot; empty if it may yet."""
    if successor.restarts:  # it has failed, and may be on its way again already
        return successor.restarts[0].detail
    if successor.state is State.UNHEALTHY and not successor.upstream:
        return successor.detail or "it is not well"
    if successor.state in {State.STARTING, State.READY, State.UNHEALTHY}:
        return ""
    return successor.detail or "it has ended"


def _is_up_s(instance: Instance, settings: AppSettings) -> float:
    """When it counts as ready, if nothing happens until then: who says nothing has to run for ``min_uptime``."""
    if instance.state not in {State.READY, State.UNHEALTHY} or instance.child is None:
        return _NEVER
    return instance.started_s + (settings.min_uptime if settings.ready == "started" else 0.0)
