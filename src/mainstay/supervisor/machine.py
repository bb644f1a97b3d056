"""What becomes of one instance of an app, now that this has happened?

Pure. Three rules say when a loop of restarts ends or slows down: ``max_restarts`` in a row after less than
``min_uptime`` each (PM2's); ``restart_intensity`` within any ``restart_period``, whatever the uptime (OTP's); and
delays that grow until it has run for ``stable_after``. What a user or the clock asks for is no sign that something
is wrong: it counts for none of them, and is not delayed. Whoever starts what is at rest begins a new count.

``due_s`` is the only timer, and `Due` before it changes nothing; nor does an event that does not fit the state.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import (
    Abort,
    ChildEnded,
    Command,
    Due,
    Event,
    Heard,
    Kill,
    NotSpawned,
    Reset,
    RestartAsked,
    Resumed,
    SaidAlive,
    SaidMore,
    SaidReady,
    SaidStatus,
    SaidStopping,
    Signal,
    Spawn,
    Spawned,
    Trouble,
    Unwanted,
    UsesMemory,
    Wanted,
    Well,
)
from mainstay.supervisor.model import Child, Ended, Instance, Reason, Restart, State
from mainstay.units import format_duration

__all__ = ["ABORT_GRACE_S", "KILL_AGAIN_S", "step", "succeed"]

ABORT_GRACE_S: Final = 2.0
"""How long a hung one may take to dump its stacks."""
KILL_AGAIN_S: Final = 1.0
"""A SIGKILL that did not reach its process, as after a death of the daemon, is sent again."""

_NEVER: Final = float("inf")
_AT_REST: Final = frozenset({State.STOPPED, State.ERRORED, State.EXITED})
_UP: Final = frozenset({State.READY, State.UNHEALTHY})
_ASKED: Final = frozenset({Reason.USER, Reason.CRON})
_ASKED_KEPT: Final = 20
_SAMPLES_OVER_LIMIT: Final = 2
_JITTER: Final = 0.25  # less than what would let a delay be shorter than the one before
_UPSTREAM_STEPS: Final = 2
_LONGEST_STATUS: Final = 200

Step = tuple[Instance, tuple[Command, ...]]


def step(
    instance: Instance, event: Event, settings: AppSettings, now_s: float, chance: Callable[[], float]
) -> Step:
    """The instance after the event, and what is to be done, one after the other.

    Args:
        instance: before the event.
        event: what has happened.
        settings: of its app.
        now_s: seconds of ``CLOCK_BOOTTIME``.
        chance: gives numbers from 0 to 1, for the jitter of the delays.
    """
    match event:
        case Wanted():
            return _wanted(instance, now_s)
        case Unwanted():
            return _unwanted(instance, settings, now_s)
        case RestartAsked():
            return _restart_asked(instance, event, settings, now_s)
        case Reset():
            return _reset(instance, now_s), ()
        case Spawned(child=child):
            return _spawned(instance, child, settings, now_s)
        case NotSpawned(detail=detail):
            return _not_spawned(instance, detail, settings, now_s, chance)
        case ChildEnded():
            return _child_ended(instance, event, settings, now_s, chance)
        case Due():
            return _due(instance, settings, now_s)
        case UsesMemory(size_bytes=size_bytes):
            return _uses_memory(instance, size_bytes, settings, now_s)
        case _:
            return (instance if instance.child is None else _heard(instance, event, settings, now_s)), ()


# What people ask for.


def _wanted(instance: Instance, now_s: float) -> Step:
    if instance.state in _AT_REST:
        return _start(replace(instance, unstable=0, delays=0, restarts=()), now_s)
    if instance.state is State.BACKOFF:
        return _start_again(instance, now_s)
    if instance.state is State.STOPPING and not instance.again:
        return replace(instance, again=True, detail="started again while it was stopping"), ()
    return instance, ()


def _unwanted(instance: Instance, settings: AppSettings, now_s: float) -> Step:
    if instance.state is State.STOPPED:
        return instance, ()
    if instance.state in _AT_REST or instance.state is State.BACKOFF:
        return _enter(instance, State.STOPPED, now_s), ()
    stopping, commands = _stop(instance, Reason.USER, "", settings, now_s)
    return replace(stopping, again=False), commands


def _restart_asked(instance: Instance, asked: RestartAsked, settings: AppSettings, now_s: float) -> Step:
    reason, detail = asked.reason, asked.detail
    if reason is Reason.USER:
        if instance.state in _AT_REST or instance.state is State.BACKOFF:
            return _wanted(instance, now_s)
        return _stop(instance, reason, detail, settings, now_s)
    if reason is Reason.CRON and instance.state is State.EXITED:
        return _restart(instance, Restart(at_s=now_s, reason=reason, detail=detail, uptime_s=0.0), settings, now_s)
    if instance.state in {State.STARTING, State.READY, State.UNHEALTHY}:
        return _stop(instance, reason, detail, settings, now_s)
    return instance, ()


def _reset(instance: Instance, now_s: float) -> Instance:
    forgotten = replace(instance, unstable=0, delays=0, restarts=(), restarted=0)
    return _enter(forgotten, State.STOPPED, now_s) if instance.state is State.ERRORED else forgotten


# What runs.


def _enter(instance: Instance, state: State, now_s: float, detail: str = "", due_s: float = _NEVER) -> Instance:
    """A state with nothing of the state before, but for whose trouble it was: the delay has still to know."""
    return replace(
        instance,
        state=state,
        since_s=now_s,
        due_s=due_s,
        detail=detail,
        stop_for=None,
        again=False,
        killed=False,
        over_limit=0,
    )


def _start(instance: Instance, now_s: float) -> Step:
    starting = _enter(instance, State.STARTING, now_s)
    return replace(starting, begun_s=now_s, started_s=now_s, upstream=False), (Spawn(),)


def _start_again(instance: Instance, now_s: float) -> Step:
    return _start(replace(instance, restarted=instance.restarted + 1), now_s)


def _spawned(instance: Instance, child: Child, settings: AppSettings, now_s: float) -> Step:
    if instance.child == child:
        return instance, ()
    if instance.state is State.BACKOFF:
        # It was due, and whoever has started it died before writing that down.
        instance, _ = _start_again(instance, now_s)
    if instance.child is not None or instance.state not in {State.STARTING, State.STOPPING}:
        return instance, (Kill(child=child),)  # nobody wants two, or one that nobody knows
    running = replace(instance, child=child, started_s=now_s)
    if instance.state is State.STOPPING:
        return _tell_to_end(running, settings, now_s)
    if settings.ready == "started":
        return _ready(running, settings, now_s), ()
    return replace(running, due_s=now_s + settings.ready_timeout), ()


def _ready(instance: Instance, settings: AppSettings, now_s: float) -> Instance:
    return _enter(instance, State.READY, now_s, due_s=_watchdog_s(settings, now_s))


def _watchdog_s(settings: AppSettings, now_s: float) -> float:
    return _NEVER if settings.watchdog is None else now_s + settings.watchdog


def _heard(instance: Instance, heard: Heard, settings: AppSettings, now_s: float) -> Instance:
    """What the child says, or shows, of itself."""
    match heard:
        case SaidReady(by=by) if instance.state is State.STARTING and settings.ready == by:
            return _ready(instance, settings, now_s)
        case SaidAlive() if instance.state in _UP:
            return replace(instance, due_s=_watchdog_s(settings, now_s))
        case SaidStopping() if instance.state is not State.STOPPING:
            stopping = _enter(instance, State.STOPPING, now_s, "by itself", now_s + settings.stop_timeout)
            return replace(stopping, stop_for=Reason.EXIT, again=True)
        case SaidMore(seconds=seconds) if not instance.killed and instance.stop_for is not Reason.HANG:
            return replace(instance, due_s=max(instance.due_s, now_s + seconds))
        case SaidStatus(text=text):
            return replace(instance, status=text[:_LONGEST_STATUS])
        case Trouble() | Well() if instance.state in _UP:
            return _feels(instance, heard, now_s)
        case Resumed():
            return _resumed(instance, settings, now_s)
        case _:
            return instance


def _feels(instance: Instance, how: Trouble | Well, now_s: float) -> Instance:
    """The watchdog goes on as it was."""
    state, detail, upstream = State.READY, "", False
    if isinstance(how, Trouble):
        state, detail, upstream = State.UNHEALTHY, how.detail, how.upstream
    since_s = instance.since_s if instance.state is state else now_s
    return replace(instance, state=state, since_s=since_s, detail=detail, upstream=upstream)


def _uses_memory(instance: Instance, size_bytes: int, settings: AppSettings, now_s: float) -> Step:
    limit_bytes = settings.memory_limit
    if instance.child is None or instance.state is State.STOPPING:
        return instance, ()
    if limit_bytes is None or size_bytes <= limit_bytes:
        return replace(instance, over_limit=0), ()
    if instance.over_limit + 1 < _SAMPLES_OVER_LIMIT:
        return replace(instance, over_limit=instance.over_limit + 1), ()
    detail = f"uses {size_bytes / 2**20:.1f} MiB of memory, more than {limit_bytes / 2**20:.1f} MiB"
    return _stop(instance, Reason.MEMORY, detail, settings, now_s)


def _resumed(instance: Instance, settings: AppSettings, now_s: float) -> Instance:
    """Nobody may be ended for not having been heard, nor for a "ready" that was lost; probes are asked again."""
    if instance.state is State.STARTING:
        seen = instance if settings.ready == "probe" else _ready(instance, settings, now_s)
        return replace(seen, due_s=max(seen.due_s, now_s + settings.ready_timeout))
    return replace(instance, due_s=_watchdog_s(settings, now_s)) if instance.state in _UP else instance


# What is to end.


def _stop(instance: Instance, reason: Reason, detail: str, settings: AppSettings, now_s: float) -> Step:
    """Begin to end what runs; if it is ending already, only the reason changes, and it gets no more time."""
    if instance.state is State.STOPPING:
        return replace(instance, stop_for=reason, again=True, detail=detail), ()
    stopping = replace(_enter(instance, State.STOPPING, now_s, detail), stop_for=reason, again=True)
    return (stopping, ()) if stopping.child is None else _tell_to_end(stopping, settings, now_s)


def _tell_to_end(instance: Instance, settings: AppSettings, now_s: float) -> Step:
    assert instance.child is not None, "there is nobody to tell"
    if instance.stop_for is Reason.HANG:
        return replace(instance, due_s=now_s + ABORT_GRACE_S), (Abort(child=instance.child),)
    told = replace(instance, due_s=now_s + settings.stop_timeout)
    return told, (Signal(child=instance.child, name=settings.stop_signal),)


def _due(instance: Instance, settings: AppSettings, now_s: float) -> Step:
    if now_s < instance.due_s:
        return instance, ()
    if instance.state is State.BACKOFF:
        return _start_again(instance, now_s)
    if instance.state is State.STARTING:
        detail = f"not ready within {format_duration(settings.ready_timeout)}"
        return _stop(instance, Reason.START, detail, settings, now_s)
    if instance.state in _UP and settings.watchdog is not None:
        detail = f"hung: nothing heard for {format_duration(settings.watchdog)}"
        return _stop(instance, Reason.HANG, detail, settings, now_s)
    if instance.state is State.STOPPING and instance.child is not None:
        return replace(instance, killed=True, due_s=now_s + KILL_AGAIN_S), (Kill(child=instance.child),)
    return replace(instance, due_s=_NEVER), ()


# What has ended.


def _child_ended(
    instance: Instance, event: ChildEnded, settings: AppSettings, now_s: float, chance: Callable[[], float]
) -> Step:
    if event.child != instance.child:
        return instance, ()
    uptime_s = now_s - instance.started_s
    ended = replace(
        instance,
        child=None,
        ended=event.ended,
        status="",
        unstable=instance.unstable if uptime_s < settings.min_uptime else 0,
        delays=instance.delays if uptime_s < settings.stable_after else 0,
    )
    if instance.state is not State.STOPPING or instance.stop_for is Reason.EXIT:
        after, commands = _ended_by_itself(ended, event.ended, uptime_s, settings, now_s, chance)
    else:
        after, commands = _ended_as_told(ended, uptime_s, settings, now_s, chance, event.stacks)
    return after, (Kill(child=event.child), *commands)  # what it left behind must not meet the next one


def _not_spawned(
    instance: Instance, detail: str, settings: AppSettings, now_s: float, chance: Callable[[], float]
) -> Step:
    if instance.child is not None or instance.state not in {State.STARTING, State.STOPPING}:
        return instance, ()
    if instance.state is State.STOPPING:
        return _ended_as_told(instance, 0.0, settings, now_s, chance)
    detail = f"could not be started: {detail}"
    if not settings.autorestart:
        return _enter(instance, State.ERRORED, now_s, detail), ()
    failed = Restart(at_s=now_s, reason=Reason.START, detail=detail, uptime_s=0.0)
    return _restart_later(instance, failed, settings, now_s, chance)


def _ended_by_itself(
    instance: Instance,
    ended: Ended,
    uptime_s: float,
    settings: AppSettings,
    now_s: float,
    chance: Callable[[], float],
) -> Step:
    if ended.code in settings.stop_exit_codes or not settings.autorestart:
        return _enter(instance, State.EXITED, now_s, str(ended)), ()
    reason = Reason.UNKNOWN
    if ended.code is not None:
        reason = Reason.EXIT
    elif ended.signal is not None:
        reason = Reason.SIGNAL
    failed = Restart(at_s=now_s, reason=reason, detail=str(ended), uptime_s=uptime_s)
    return _restart_later(instance, failed, settings, now_s, chance)


def _ended_as_told(
    instance: Instance,
    uptime_s: float,
    settings: AppSettings,
    now_s: float,
    chance: Callable[[], float],
    stacks: str = "",
) -> Step:
    if not instance.again or instance.stop_for is None:
        return _enter(instance, State.STOPPED, now_s), ()
    reason, detail = instance.stop_for, instance.detail
    restart = Restart(at_s=now_s, reason=reason, detail=detail, uptime_s=uptime_s, stacks=stacks)
    if restart.reason in _ASKED:
        return _restart(instance, restart, settings, now_s)
    return _restart_later(instance, restart, settings, now_s, chance)


# What is started again.


def _restart(instance: Instance, restart: Restart, settings: AppSettings, now_s: float) -> Step:
    restarts = _remembered((*instance.restarts, restart), settings, now_s)
    return _start_again(replace(instance, restarts=restarts), now_s)


def _restart_later(
    instance: Instance, restart: Restart, settings: AppSettings, now_s: float, chance: Callable[[], float]
) -> Step:
    """After a delay, or never: it has failed."""
    restarts = _remembered(instance.restarts, settings, now_s)
    unstable = restart.uptime_s < settings.min_uptime
    if given_up := _given_up(instance, restarts, settings, unstable=unstable):
        return _enter(instance, State.ERRORED, now_s, f"{given_up}; the last time: {restart.detail}"), ()
    failed = replace(
        instance,
        unstable=instance.unstable + unstable,
        delays=instance.delays + 1,
        restarts=(*restarts, restart),
    )
    due_s = now_s + _delay_s(instance, settings, chance)
    return _enter(failed, State.BACKOFF, now_s, restart.detail, due_s), ()


def _given_up(instance: Instance, restarts: tuple[Restart, ...], settings: AppSettings, *, unstable: bool) -> str:
    """Why it is, if it is."""
    if unstable and instance.unstable >= settings.max_restarts:
        uptime = format_duration(settings.min_uptime)
        return f"given up after {instance.unstable} restarts in a row with less than {uptime} of uptime"
    counted = sum(each.reason not in _ASKED for each in restarts)
    if counted >= settings.restart_intensity:
        return f"given up after {counted} restarts within {format_duration(settings.restart_period)}"
    return ""


def _delay_s(instance: Instance, settings: AppSettings, chance: Callable[[], float]) -> float:
    """The least delay at first, then twice as long each time.

    While somebody it depends on is in trouble, being quick helps nobody: as if it had failed more often. At the
    longest delay there is no jitter, which was in the delays before it.
    """
    least_s = settings.restart_delay
    steps = min(instance.delays + _UPSTREAM_STEPS * instance.upstream, 60)
    if not steps:
        return least_s
    grown_s = max(least_s * 2.0**steps, settings.backoff_base * 2.0 ** (steps - 1))
    return max(least_s, min(settings.backoff_cap, grown_s * (1 - _JITTER * chance())))


def succeed(successor: Instance, before: Instance, settings: AppSettings, now_s: float) -> Instance:
    """The successor in the place of what ran before: as if that had been restarted, because somebody asked."""
    uptime_s = now_s - before.started_s if before.child is not None else 0.0
    reloaded = Restart(at_s=now_s, reason=Reason.USER, detail="reloaded", uptime_s=uptime_s)
    return replace(
        successor,
        unstable=before.unstable if uptime_s < settings.min_uptime else 0,
        delays=before.delays if uptime_s < settings.stable_after else 0,
        restarts=_remembered((*before.restarts, reloaded), settings, now_s),
        restarted=before.restarted + 1,
    )


def _remembered(restarts: tuple[Restart, ...], settings: AppSettings, now_s: float) -> tuple[Restart, ...]:
    """Those that are young enough; of those that were asked for, which count for nothing, the last few."""
    young = [each for each in restarts if now_s - each.at_s <= settings.restart_period]
    asked = [each for each in young if each.reason in _ASKED]
    dropped = {id(each) for each in asked[:-_ASKED_KEPT]}
    return tuple(each for each in young if id(each) not in dropped)
