"""Which calls still count, and what status do they make?

**The window.** Time is cut into slots, each a sixtieth of the configured window long (5 s of 5 minutes), and a
window is the running slot with as many full slots before it as fit. So an event counts for at most the window's
length, and for at least that length less one slot (less two where the length is no multiple of the slot): old
failures never hold a status longer than promised. Memory does not grow with the number of events.

**The status.** Shares are compared as integers, so that exactly 20 % is exactly 20 %.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from mainstay.checks import Condition
from mainstay.health.model import HealthSettings, ServiceStatus
from mainstay.units import format_duration

__all__ = ["Counts", "Judge", "Tally", "Verdict", "kind_of", "readiness", "with_conditions"]

SLOTS_PER_WINDOW = 60


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened: user-visible calls, those of them that failed, and rate limits of any attempt."""

    calls: int = 0
    errors: int = 0
    rate_limits: int = 0


class Tally:
    """Counts since the start, and since any slot that is not too long ago.

    At the first event of each slot the totals so far are noted down; what happened since then is a subtraction.
    """

    __slots__ = ("_keep", "_marks", "calls", "errors", "rate_limits")

    def __init__(self, keep: int) -> None:
        self.calls = 0
        self.errors = 0
        self.rate_limits = 0
        self._keep = keep
        self._marks: list[tuple[int, Counts]] = []

    def add(self, slot: int, *, calls: int = 0, errors: int = 0, rate_limits: int = 0) -> None:
        """Count in ``slot``, which is never older than the last one."""
        marks = self._marks
        if not marks or slot > marks[-1][0]:
            marks.append((slot, Counts(self.calls, self.errors, self.rate_limits)))
            while marks[0][0] <= slot - self._keep:
                del marks[0]
        self.calls += calls
        self.errors += errors
        self.rate_limits += rate_limits

    def within(self, slots: int, slot: int) -> Counts:
        """What was counted in the last ``slots`` slots, the last of which is ``slot``."""
        first = bisect_left(self._marks, slot - slots + 1, key=lambda mark: mark[0])
        if first == len(self._marks):
            return Counts()
        before = self._marks[first][1]
        return Counts(
            self.calls - before.calls,
            self.errors - before.errors,
            self.rate_limits - before.rate_limits,
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """A status with what it was decided on.

    Attributes:
        reasons: one line for each rule that made it worse than healthy.
        seconds: the width of the window that was used.
        counts: what it held; ``rate_limits`` is over the rate limits' own window.
    """

    status: ServiceStatus
    reasons: tuple[str, ...]
    seconds: float
    counts: Counts


class Judge:
    """The rules, for one set of settings."""

    def __init__(self, settings: HealthSettings) -> None:
        self.slot_s = settings.window / SLOTS_PER_WINDOW
        self.window_slots = self._slots(settings.window)
        widths = [settings.window]
        while widths[-1] < settings.widest_window:
            widths.append(min(2 * widths[-1], settings.widest_window))
        self._widths = [(width, self._slots(width)) for width in widths]
        self._settings = settings
        self._rate_limit_slots = self._slots(settings.rate_limit_window)
        self._degraded = Fraction(str(settings.degraded_error_rate))
        self._unhealthy = Fraction(str(settings.unhealthy_error_rate))
        self.keep = max(self._widths[-1][1], self._rate_limit_slots)

    def slot(self, now: float) -> int:
        """The number of the slot that ``now`` lies in."""
        return int(now // self.slot_s)

    def status(self, tally: Tally, slot: int) -> Verdict:
        """How the service is in ``slot``."""
        for width, slots in self._widths:  # noqa: B007  the last one tried is the one that is used
            counts = tally.within(slots, slot)
            if counts.calls >= self._settings.min_calls:
                break
        rate_limits = tally.within(self._rate_limit_slots, slot).rate_limits
        counts = Counts(counts.calls, counts.errors, rate_limits)
        too_many = rate_limits > self._settings.max_rate_limits
        reasons = []
        status: ServiceStatus = "degraded" if too_many else "healthy"
        if counts.calls:
            share = f"{counts.errors} of {counts.calls} calls failed in the last {format_duration(width)}"
            if counts.errors * self._unhealthy.denominator > counts.calls * self._unhealthy.numerator:
                status = "unhealthy"
                reasons.append(f"{share}: more than {float(self._unhealthy):.0%}")
            elif counts.errors * self._degraded.denominator >= counts.calls * self._degraded.numerator:
                status = "degraded"
                reasons.append(f"{share}: {float(self._degraded):.0%} or more")
        if too_many:
            span = format_duration(self._settings.rate_limit_window)
            limit = self._settings.max_rate_limits
            reasons.append(f"{rate_limits} rate limits in the last {span}: more than {limit}")
        return Verdict(status, tuple(reasons), width, counts)

    def _slots(self, seconds: float) -> int:
        return max(1, int(seconds / self.slot_s + 1e-9))


def with_conditions(verdict: Verdict, conditions: Sequence[Condition]) -> Verdict:
    """The verdict, made worse by what the service depends on, where that has a say in it."""
    status, reasons = verdict.status, list(verdict.reasons)
    for condition in conditions:
        if not condition.affects_status:
            continue
        if condition.reason:
            reasons.append(condition.reason)
        if condition.status == "down":
            status = "unhealthy"
        elif condition.status == "degraded" and status == "healthy":
            status = "degraded"
    return replace(verdict, status=status, reasons=tuple(reasons))


def kind_of(category: str) -> str:
    """Under which of ``rateLimits``, ``timeouts`` and ``other`` a category is counted."""
    match category:
        case "rate_limit" | "quota_exhausted":
            return "rateLimits"
        case "timeout":
            return "timeouts"
        case _:
            return "other"


def readiness(*, started: bool, draining: bool, conditions: Sequence[Condition]) -> Mapping[str, str]:
    """Why the process should not get traffic: name and reason of each cause, empty when it should.

    Only what is required and down counts. How often providers fail does not: another process would not do better,
    and taking this one out of service would silence the apology as well.
    """
    causes = {} if started else {"startup": "not finished"}
    if draining:
        causes["drain"] = "the service is stopping"
    return causes | {c.name: c.reason or "down" for c in conditions if c.required and c.status == "down"}
