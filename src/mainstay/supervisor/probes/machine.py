"""What do the answers of one running process mean?

Pure; for one run of an instance, and forgotten with it. The rules are those of Kubernetes: a verdict needs so many
equal answers in a row, and stays until there are as many others; the startup probe goes before all others; after
a failure of the startup or the liveness probe nothing more is asked of this run.

What is said is said again with each answer, so that nobody has to remember it: an event that changes nothing is
free. Of two troubles that of readiness is shown, and that of others is what the next delay has to know.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import Event, RestartAsked, SaidReady, Trouble, Well
from mainstay.supervisor.model import Instance, Reason, State
from mainstay.supervisor.probes.model import HealthSettings, Kind, ProbeSettings, Result

__all__ = ["Run", "Tally", "begin", "due", "is_awaited", "learn", "probes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What is known of one probe.

    Attributes:
        passes: the verdict; None while there is none.
        since_s: since when it is that.
        last: the last answer.
        last_s: when it came.
        in_a_row: how many answers there were like the last one that said something.
        saying: what that one has said.
        why: why it failed the last time it did.
    """

    passes: bool | None = None
    since_s: float = 0.0
    last: Result | None = None
    last_s: float = 0.0
    in_a_row: int = 0
    saying: bool | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of one run.

    Attributes:
        tallies: of its probes.
        over: whether it was found to be started again.
    """

    tallies: Mapping[Kind, Tally] = field(default_factory=dict)
    over: bool = False

    def passes(self, kind: Kind) -> bool | None:
        """The verdict of a probe."""
        return self.tallies.get(kind, Tally()).passes


def probes(app: AppSettings) -> dict[Kind, ProbeSettings | HealthSettings]:
    """Those that this app has."""
    found = {
        Kind.STARTUP: app.startup,
        Kind.LIVENESS: app.liveness,
        Kind.READINESS: app.readiness,
        Kind.HEALTH: app.health,
    }
    return {kind: settings for kind, settings in found.items() if settings is not None}


def begin(instance: Instance, app: AppSettings) -> Run:
    """What is known of an instance that runs: one that was found ready by its probes has started."""
    if app.startup is not None and app.ready == "probe" and instance.state in {State.READY, State.UNHEALTHY}:
        return Run(tallies={Kind.STARTUP: Tally(passes=True, since_s=instance.since_s)})
    return Run()


def due(run: Run, app: AppSettings) -> tuple[Kind, ...]:
    """What is to be asked now, again and again."""
    if run.over:
        return ()
    if app.startup is not None and not run.passes(Kind.STARTUP):
        return (Kind.STARTUP,)
    return tuple(kind for kind in probes(app) if kind is not Kind.STARTUP)


def is_awaited(run: Run, kind: Kind) -> bool:
    """Whether it is asked more often than its period says: it has not passed yet, and somebody waits for that.

    What comes of it in between counts if it passes; it fails only as often as it was said to be asked.
    """
    tally = run.tallies.get(kind, Tally())
    return kind in (Kind.STARTUP, Kind.READINESS) and tally.passes is None and tally.saying is not True


def learn(run: Run, kind: Kind, result: Result, app: AppSettings, now_s: float) -> tuple[Run, tuple[Event, ...]]:
    """The run after an answer, and what it says of the instance."""
    if kind not in due(run, app):
        return run, ()
    tally = _counted(run.tallies.get(kind, Tally()), result, probes(app)[kind], now_s)
    run = replace(run, tallies={**run.tallies, kind: tally})
    if tally.passes is False and kind in (Kind.STARTUP, Kind.LIVENESS):
        reason = Reason.HEALTH if kind is Kind.LIVENESS else Reason.START
        times = "once" if tally.in_a_row == 1 else f"{tally.in_a_row} times in a row"
        detail = f"{kind} probe failed {times}: {result.detail}"
        return replace(run, over=True), (RestartAsked(reason=reason, detail=detail),)
    return run, tuple(_says(run, app))


def _counted(tally: Tally, result: Result, settings: ProbeSettings | HealthSettings, now_s: float) -> Tally:
    tally = replace(tally, last=result, last_s=now_s)
    if result.passed is None:
        return tally
    in_a_row = tally.in_a_row + 1 if tally.saying is result.passed else 1
    needed = settings.success_threshold if result.passed else settings.failure_threshold
    why = tally.why if result.passed else result.detail
    tally = replace(tally, in_a_row=in_a_row, saying=result.passed, why=why)
    if in_a_row < needed or tally.passes is result.passed:
        return tally
    return replace(tally, passes=result.passed, since_s=now_s)


def _says(run: Run, app: AppSettings) -> Iterator[Event]:
    if Kind.STARTUP in due(run, app):
        return
    if app.readiness is None or run.passes(Kind.READINESS):
        yield SaidReady(by="probe")
    failing = [kind for kind in (Kind.READINESS, Kind.HEALTH) if run.passes(kind) is False]
    if failing:
        shown = failing[0]
        yield Trouble(detail=f"{shown}: {run.tallies[shown].why}", upstream=Kind.HEALTH in failing)
    elif all(_has_answered(run, kind) for kind in (Kind.READINESS, Kind.HEALTH) if kind in probes(app)):
        yield Well()


def _has_answered(run: Run, kind: Kind) -> bool:
    """Health that says nothing is no trouble; that readiness has not passed yet is."""
    return kind in run.tallies if kind is Kind.HEALTH else run.passes(kind) is True
