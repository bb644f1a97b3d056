"""Does the monitor agree, after each call, with a list of all that ever happened?

`Naive` keeps every event with its time and counts them anew for each report. Hypothesis chooses what happens and
how much time passes. The same comparison must fail for each of `MUTANTS`, or it would prove nothing.
"""

import sys
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from math import ceil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mainstay.health.model import HealthReport, HealthSettings
from mainstay.health.monitor import HealthMonitor
from mainstay.testing.clock import ManualClock

SLOT_S = 1.0
SETTINGS = HealthSettings(
    window=60.0, widest_window=200.0, rate_limit_window=150.0, max_rate_limits=2, max_agents=4
)
WIDTHS = (60.0, 120.0, 200.0)


@dataclass
class Naive:
    """The same answers, from a list of everything."""

    calls: list[tuple[float, str, float, bool, bool]] = field(default_factory=list)
    errors: list[tuple[float, str]] = field(default_factory=list)

    def within(self, now: float, width: float) -> list[tuple[float, str, float, bool, bool]]:
        """The calls in the running slot and the full slots before it that the width holds."""
        return [call for call in self.calls if now // SLOT_S - call[0] // SLOT_S < width / SLOT_S]

    def window(self, now: float) -> tuple[float, int, int]:
        candidates = [(width, [call for call in self.within(now, width) if call[4]]) for width in WIDTHS]
        width, roots = next((found for found in candidates if len(found[1]) >= 5), candidates[-1])
        return width, len(roots), sum(not success for _, _, _, success, _ in roots)

    def rate_limits(self, now: float) -> int:
        return sum(kind == "rate_limit" and now // SLOT_S - at // SLOT_S < 150 / SLOT_S for at, kind in self.errors)

    def status(self, now: float) -> str:
        _, calls, errors = self.window(now)
        if calls and errors / calls > 0.5:
            return "unhealthy"
        if (calls and errors / calls >= 0.2) or self.rate_limits(now) > 2:
            return "degraded"
        return "healthy"


def compare(report: HealthReport, naive: Naive, now: float) -> None:
    width, calls, errors = naive.window(now)
    window = report["window"]
    assert (window["seconds"], window["calls"], window["errors"]) == (width, calls, errors)
    assert window["rateLimits"] == naive.rate_limits(now)
    assert report["status"] == naive.status(now)
    for agent, shown in report["agents"].items():
        mine = [call for call in naive.calls if call[1] == agent]
        assert shown["callCount"] == len(mine)
        assert shown["errorCount"] == sum(not call[3] for call in mine)
        if mine:
            assert abs(shown["avgLatency"] - sum(call[2] for call in mine) / len(mine)) <= 0.51
        recent = sorted(call[2] for call in naive.within(now, 60.0) if call[1] == agent)
        for estimate, share in ((shown["p50"], 0.50), (shown["p95"], 0.95), (shown["p99"], 0.99)):
            assert (estimate is None) == (not recent)
            if estimate is not None:
                exact = recent[max(0, ceil(share * len(recent) - 1e-9) - 1)]
                assert abs(estimate - exact) <= exact / 8 + 0.051
    kinds = Counter(kind for _, kind in naive.errors)
    assert report["errors"]["byCategory"] == kinds
    assert report["errors"]["rateLimits"] == kinds["rate_limit"]


waits = st.sampled_from([0.4, 1.0, 7.3, 29.5, 59.0, 60.0, 61.0, 119.0, 149.5, 199.0, 200.0, 500.0])
agents = st.sampled_from(["manager", "okr", "dpa"])
steps = st.one_of(
    st.tuples(st.just("wait"), waits),
    st.tuples(
        st.just("calls"),
        agents,
        st.floats(0.01, 200_000.0),
        st.booleans(),
        st.booleans(),
        st.sampled_from([1, 2, 5, 300]),
    ),
    st.tuples(st.just("a share failed"), agents, st.sampled_from([(5, 1), (6, 3)])),
    st.tuples(st.just("error"), st.sampled_from(["rate_limit", "timeout", "auth"])),
    st.tuples(st.just("look")),
)
scripts = st.lists(steps, max_size=25)


def play(monitor_class: type[HealthMonitor], script: list[Any]) -> None:
    clock = ManualClock()
    monitor, naive = monitor_class(SETTINGS, clock=clock), Naive()

    def call(agent: str, latency: float, success: bool, root: bool) -> None:
        monitor.track_agent_call(agent, latency, success, root=root)
        naive.calls.append((clock.monotonic(), agent, latency, success, root))

    for step in [*script, ("look",)]:
        match step:
            case ("wait", seconds):
                clock.advance(seconds)
            case ("calls", agent, latency, success, root, times):
                for number in range(times):
                    call(agent, latency + number, success, root)
            case ("a share failed", agent, (calls, failed)):
                for number in range(calls):
                    call(agent, 10.0, number >= failed, True)
            case ("error", kind):
                monitor.track_error(kind)
                naive.errors.append((clock.monotonic(), kind))
            case _:
                compare(monitor.get_metrics(), naive, clock.monotonic())


@given(scripts)
@settings(deadline=None, max_examples=400)
def test_the_report_agrees_with_a_list_of_everything(script: list[Any]) -> None:
    play(HealthMonitor, script)


@given(st.floats(0, 400), st.floats(0, 1))
@settings(deadline=None)
def test_an_event_counts_for_at_most_the_window_and_at_least_a_slot_less(age: float, offset: float) -> None:
    clock = ManualClock()
    clock.advance(offset)
    monitor = HealthMonitor(SETTINGS, clock=clock)
    for _ in range(5):
        monitor.track_agent_call("manager", 10, False)
    clock.advance(age)
    report = monitor.get_metrics()
    if age >= 200:
        assert report["window"]["calls"] == 0
    if age <= 199 - 1e-6:
        assert report["window"]["calls"] == 5
    if age >= 60:
        assert report["agents"]["manager"]["p50"] is None
    if age <= 59 - 1e-6:
        assert report["agents"]["manager"]["p50"] is not None


MUTANTS = {
    "a slot too many": ("machine", "slot - slots + 1,", "slot - slots,"),
    "a slot too few": ("machine", "slot - slots + 1,", "slot - slots + 2,"),
    "marks thrown away early": ("machine", "<= slot - self._keep:", "<= slot - self._keep // 2:"),
    "totals noted after the event": ("machine", "Counts(self.calls, ", "Counts(self.calls + calls, "),
    "never widens": ("machine", "counts.calls >= self._settings.min_calls", "counts.calls >= 0"),
    "widens at five": ("machine", ">= self._settings.min_calls", "> self._settings.min_calls"),
    "half is unhealthy": ("machine", "_unhealthy.denominator > ", "_unhealthy.denominator >= "),
    "a fifth is healthy": ("machine", "_degraded.denominator >= ", "_degraded.denominator > "),
    "rate limits in the calls' window": ("machine", "tally.within(self._rate_limit_slots, slot)", "counts"),
    "the limit is over the limit": ("machine", "> self._settings.max_rate", ">= self._settings.max_rate"),
    "inner calls move the status": (
        "monitor",
        "if root:\n                    calls",
        "if 1:\n                    calls",
    ),
    "the end of a slot is not seen": ("monitor", "if now >= self._slot_end or len(waiting)", "if len(waiting)"),
    "a new slot takes what came before": (
        "monitor",
        "    def _settle(self, now: float) -> None:\n",
        "    def _settle(self, now: float) -> None:\n        self._slot = self._judge.slot(now)\n",
    ),
    "a list is counted in part": ("monitor", "count = len(waiting)\n", "count = min(len(waiting), 20)\n"),
    "latencies stay a slot longer": ("latency", "[0] <= slot - self._slots", "[0] < slot - self._slots"),
    "latencies stay for ever": ("latency", "while self._closed and", "while False and"),
    "percentiles are not made anew": ("latency", "_close(slot)\n        self._percentiles = None", "_close(slot)"),
    "buckets out of order": ("latency", "place = bisect_left(self._buckets, bucket)", "place = len(self._buckets)"),
    "the last of a few is not seen": ("latency", "in latencies:", "in latencies[:-1] or latencies:"),
    "many values are not counted": ("latency", "self._count(half, count)", "self._count(half, 1)"),
    "another share": ("latency", "(0.50, 0.95, 0.99)", "(0.40, 0.95, 0.99)"),
    "half a bucket": ("latency", "half & ~1", "half"),
}
"""What is changed: in which file, which text, into what."""


def mutated(file: str, old: str, new: str) -> type[HealthMonitor]:
    """The monitor as it would be with one text replaced; the modules that everybody else uses stay as they are."""
    names = [f"mainstay.health.{name}" for name in ("machine", "latency", "report", "monitor")]
    before = {name: import_module(name) for name in names}
    try:
        for name, original in before.items():
            path = Path(original.__file__ or "")
            source = path.read_text()
            if name.endswith(file):
                assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {path.name}"
                source = source.replace(old, new)
            module = ModuleType(name)
            sys.modules[name] = module
            exec(compile(source, path, "exec"), module.__dict__)
        found: type[HealthMonitor] = sys.modules["mainstay.health.monitor"].HealthMonitor
        return found
    finally:
        sys.modules.update(before)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_comparison_catches(mutant: str) -> None:
    monitor_class = mutated(*MUTANTS[mutant])

    @given(scripts)
    @settings(deadline=None, database=None, derandomize=True, max_examples=400, phases=[Phase.generate])
    def attempt(script: list[Any]) -> None:
        play(monitor_class, script)

    with pytest.raises((AssertionError, LookupError, ExceptionGroup)):
        attempt()


def test_the_mutants_are_made_from_a_monitor_that_passes() -> None:
    monitor_class = mutated("machine", "class Tally:", "class Tally:  # unchanged")
    assert monitor_class is not HealthMonitor
    play(monitor_class, [("calls", "manager", 10.0, False, True, 400), ("wait", 60.0), ("error", "rate_limit")])
