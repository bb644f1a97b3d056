"""What the monitor counts, shows and survives."""

import math
import os
import signal
import sys
import threading
import tracemalloc
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.checks import Condition
from mainstay.clock import iso
from mainstay.errors import Category
from mainstay.health import monitor as monitor_module
from mainstay.health.model import HealthSettings
from mainstay.health.monitor import HealthMonitor, health_monitor
from mainstay.testing.clock import ManualClock

SECRET = "sk-or-v1-0123456789abcdef0123456789abcdef"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor(clock: ManualClock) -> HealthMonitor:
    return HealthMonitor(clock=clock)


def test_the_report_has_the_types_that_were_promised(monitor: HealthMonitor, clock: ManualClock) -> None:
    clock.advance(123.45)
    monitor.track_agent_call("Manager", 1234.4, True)
    monitor.track_error("TIMEOUT", "read timed out")
    report = monitor.get_metrics()
    assert report["uptime"] == 123.45
    assert report["timestamp"] == iso(clock.now())
    assert report["agents"]["manager"]["avgLatency"] == 1234
    assert report["agents"]["manager"]["lastCall"] == iso(clock.now())
    assert report["lastError"] == {"type": "timeout", "timestamp": iso(clock.now()), "message": "read timed out"}
    assert report["process"]["pid"] == os.getpid()
    assert report["process"]["started_at"] == "2026-01-01T00:00:00.000Z"
    if sys.platform == "linux":
        assert (report["process"]["rss_bytes"] or 0) > 1_000_000


def test_the_report_belongs_to_the_caller(monitor: HealthMonitor) -> None:
    monitor.track_agent_call("manager", 10, True)
    monitor.track_error("other", "x")
    before = monitor.get_metrics()
    spoilt = monitor.get_metrics()
    spoilt["agents"]["manager"]["callCount"] = 99
    spoilt["agents"]["intruder"] = spoilt["agents"]["manager"]
    spoilt["errors"]["byCategory"]["other"] = 99
    spoilt["reasons"].append("mine")
    spoilt["window"]["calls"] = 99
    after = monitor.get_metrics()
    after["process"] = before["process"]  # whose memory may grow meanwhile
    assert after == before


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Manager", "manager"),
        ("OkrReviewer", "okr_reviewer"),
        ("okr-reviewer", "okr_reviewer"),
        ("  OKR Reviewer ", "okr_reviewer"),
        ("DPAMom", "dpa_mom"),
        ("dpa_pm2", "dpa_pm2"),
        ("对齐助手", "对齐助手"),
        ("", "unknown"),
        ("///", "unknown"),
        ("\ud800x", "x"),
        ("a" * 500, "a" * 64),
    ],
)
def test_an_agent_has_one_name_however_it_is_spelt(monitor: HealthMonitor, spelling: str, name: str) -> None:
    monitor.track_agent_call(spelling, 10, True)
    monitor.track_agent_call(spelling, 10, True)
    assert monitor.get_metrics()["agents"][name]["callCount"] == 2


def test_agents_beyond_the_limit_are_counted_together(clock: ManualClock) -> None:
    monitor = HealthMonitor(HealthSettings(max_agents=3), clock=clock)
    for number in range(1000):
        monitor.track_agent_call(f"agent-{number}", 10, True)
    agents = monitor.get_metrics()["agents"]
    assert sorted(agents) == ["agent_0", "agent_1", "manager", "overflow"]
    assert agents["overflow"]["callCount"] == 998
    assert monitor.get_metrics()["window"]["calls"] == 1000


@pytest.mark.parametrize("category", [*Category, "RATE_LIMIT", "TIMEOUT", "AUTH_ERROR", "OTHER", "no such thing"])
def test_each_error_is_counted_in_one_of_three_and_by_its_category(monitor: HealthMonitor, category: str) -> None:
    monitor.track_error(category, "x")
    errors = monitor.get_metrics()["errors"]
    if category == Category.CANCELLED:
        assert errors["total"] == 0
        return
    name = {"AUTH_ERROR": "auth", "no such thing": "other"}.get(category, category.lower())
    assert errors["byCategory"] == {name: 1}
    assert errors["total"] == errors["rateLimits"] + errors["timeouts"] + errors["other"] == 1
    assert errors["rateLimits"] == (name in {"rate_limit", "quota_exhausted"})
    assert errors["timeouts"] == (name == "timeout")


def test_the_last_error_shows_no_secret_and_is_short(monitor: HealthMonitor) -> None:
    monitor.track_error("auth", f"401 for key {SECRET}, " + "x" * 10_000)
    shown = monitor.get_metrics()["lastError"]["message"]
    assert len(shown) == 200
    assert SECRET not in shown
    assert shown.startswith("401 for key ")


def test_a_secret_is_recognised_before_the_message_is_cut(monitor: HealthMonitor) -> None:
    monitor.track_error("auth", "x" * 170 + " key " + SECRET)
    assert "sk-or-v1-012345" not in monitor.get_metrics()["lastError"]["message"]


def test_setting_the_wall_clock_moves_no_decision_and_no_age(monitor: HealthMonitor, clock: ManualClock) -> None:
    monitor.track_agent_call("manager", 10, False)
    clock.advance(60)
    clock.jump(-86_400)
    report = monitor.get_metrics()
    assert report["uptime"] == 60
    assert report["window"]["calls"] == 1
    age = datetime.fromisoformat(report["timestamp"]) - datetime.fromisoformat(
        report["agents"]["manager"]["lastCall"] or ""
    )
    assert age.total_seconds() == 60


def test_the_same_moment_is_always_written_the_same(monitor: HealthMonitor, clock: ManualClock) -> None:
    monitor.track_agent_call("manager", 10, True)
    stamps = set()
    for jitter_s in (0.0, 0.004, -0.009, 0.02, -0.015):
        clock.jump(jitter_s)
        clock.advance(1)
        stamps.add(monitor.get_metrics()["agents"]["manager"]["lastCall"])
    assert stamps == {"2026-01-01T00:00:00.000Z"}


class Evil:
    """An object whose every method fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __format__ = __bool__ = __float__ = __hash__ = __eq__ = __len__ = __str__  # type: ignore[assignment]


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(alphabet=st.characters(), max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.just(10**400),
    st.just([]),
    st.builds(Evil),
    st.builds(object),
    st.just(RuntimeError(Evil())),
)


@given(st.lists(st.tuples(odd, odd, odd, odd), max_size=20), st.lists(st.tuples(odd, odd), max_size=20))
def test_whatever_it_is_given_it_never_raises_and_still_counts(
    odd_calls: list[tuple[object, ...]], odd_errors: list[tuple[object, object]]
) -> None:
    monitor = HealthMonitor(clock=ManualClock())
    for agent, latency, success, root in odd_calls:
        monitor.track_agent_call(agent, latency, success, root=root)  # type: ignore[arg-type]
    for category, message in odd_errors:
        monitor.track_error(category, message)  # type: ignore[arg-type]
    report = monitor.get_metrics()
    assert sum(agent["callCount"] for agent in report["agents"].values()) == len(odd_calls)
    assert report["errors"]["total"] == len(odd_errors)
    for agent in report["agents"].values():
        assert agent["successCount"] + agent["errorCount"] == agent["callCount"]
        assert agent["avgLatency"] >= 0
    str(report).encode()


@pytest.mark.parametrize("latency", [math.nan, -1.0, -math.inf, None, "12", object()])
def test_what_is_no_latency_enters_no_average(monitor: HealthMonitor, latency: object) -> None:
    monitor.track_agent_call("manager", 100.0, True)
    monitor.track_agent_call("manager", latency, True)  # type: ignore[arg-type]
    manager = monitor.get_metrics()["agents"]["manager"]
    assert manager["callCount"] == 2
    assert manager["avgLatency"] == 100


@pytest.mark.parametrize("latency", [math.inf, 10**400, 1e300])
def test_an_absurd_latency_counts_as_the_longest_there_is(monitor: HealthMonitor, latency: float) -> None:
    monitor.track_agent_call("manager", latency, True)
    assert monitor.get_metrics()["agents"]["manager"]["avgLatency"] == 2**33


def test_latencies_may_be_any_kind_of_number(monitor: HealthMonitor) -> None:
    for latency in (100, 100.0, Decimal(100), True):
        monitor.track_agent_call("manager", latency, True)  # type: ignore[arg-type]
    assert monitor.get_metrics()["agents"]["manager"]["avgLatency"] == round(301 / 4)


latencies = st.one_of(
    st.floats(), st.floats(0, 60_000), st.integers(), st.booleans(), st.none(), st.sampled_from([2.0**-15, 2.0**33])
)


@given(st.lists(st.tuples(latencies, st.booleans()), max_size=40))
def test_it_does_not_matter_how_often_somebody_looks(calls: list[tuple[float, bool]]) -> None:
    often, once = HealthMonitor(clock=ManualClock()), HealthMonitor(clock=ManualClock())
    for latency, look in calls:
        for monitor in (often, once):
            monitor.track_agent_call("manager", latency, True)
        if look:
            often.get_metrics()
    one, other = (monitor.get_metrics()["agents"]["manager"] for monitor in (often, once))
    assert abs(one.pop("avgLatency") - other.pop("avgLatency")) <= 1  # added up in another order
    assert one == other


def test_no_call_is_lost_between_threads() -> None:
    monitor = HealthMonitor()
    threads, calls = 8, 5000
    done = threading.Event()
    totals: list[int] = []

    def read() -> None:
        while not done.is_set():
            totals.append(monitor.get_metrics()["agents"]["manager"]["callCount"])

    def write(number: int) -> None:
        for call in range(calls):
            monitor.track_agent_call("manager", 10.0, call % 2 == 0)
            monitor.track_agent_call(f"agent {number}", 10.0, True, root=False)
            monitor.track_error("timeout", "x")

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(threads)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in [reader, *writers]:
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        reader.join()
    finally:
        sys.setswitchinterval(interval)
    report = monitor.get_metrics()
    assert report["agents"]["manager"]["callCount"] == threads * calls
    assert report["agents"]["manager"]["errorCount"] == threads * calls // 2
    assert report["window"]["calls"] == threads * calls
    assert all(report["agents"][f"agent_{number}"]["callCount"] == calls for number in range(threads))
    assert report["errors"]["timeouts"] == threads * calls
    assert totals == sorted(totals)


def test_a_signal_handler_may_count_and_report_at_any_moment() -> None:
    monitor = HealthMonitor()
    handled = 0

    def handler(*_: object) -> None:
        nonlocal handled
        handled += 1
        monitor.track_agent_call(f"handler {handled % 50}", 1.0, True)
        monitor.track_error("other", "from a handler")
        monitor.get_metrics()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
    calls = 0
    try:
        while handled < 300:
            monitor.track_agent_call("manager", float(calls % 100), True)
            calls += 1
            if calls % 50 == 0:
                monitor.get_metrics()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    report = monitor.get_metrics()
    assert report["agents"]["manager"]["callCount"] == calls
    assert report["errors"]["other"] == handled
    assert report["window"]["calls"] == calls + handled


def interrupted_at(line: int) -> bool:
    """Count some calls and report, and do both once more in between: before the given line of the room is run."""
    monitor = HealthMonitor()
    room = str(Path(monitor_module.__file__).parent)
    passed = 0

    def trace(frame: FrameType, event: str, _: object) -> object:
        nonlocal passed
        if not frame.f_code.co_filename.startswith(room):
            return None
        if event == "line":
            passed += 1
            if passed == line:
                for _ in range(300):  # more than wait to be counted
                    monitor.track_agent_call("manager", 2.0, True)
                    monitor.track_error("other", "interrupted")
                monitor.get_metrics()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        for number in range(5):
            monitor.track_agent_call("manager", 1.0, number % 2 == 0)
        monitor.get_metrics()
    finally:
        sys.settrace(before)
    report = monitor.get_metrics()
    interrupted = passed >= line
    assert report["agents"]["manager"]["callCount"] == report["window"]["calls"] == 5 + 300 * interrupted, line
    assert report["agents"]["manager"]["errorCount"] == 2
    assert report["errors"]["total"] == 300 * interrupted
    return interrupted


def test_what_interrupts_it_at_any_line_may_count_and_report() -> None:
    line = 1
    while interrupted_at(line):
        line += 1
    assert line > 100


@pytest.mark.parametrize("pause_s", [0.3, 0.0])
def test_memory_does_not_grow_with_the_events(clock: ManualClock, pause_s: float) -> None:
    def record(monitor: HealthMonitor, events: int) -> None:
        for number in range(events):
            if number % 100 == 0:
                clock.advance(pause_s)
            monitor.track_agent_call(f"agent {number % 50}", (number * 7919 % 60_000) + 0.5, number % 9 > 0)
            if number % 9 == 0:
                monitor.track_error("timeout", f"call {number} timed out")

    tracemalloc.start()
    try:
        monitor = HealthMonitor(clock=clock)
        record(monitor, 100_000)
        first = tracemalloc.get_traced_memory()[0]
        record(monitor, 100_000)
        second = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert first < 3_000_000
    assert second < first * 1.05


def test_memory_does_not_grow_with_the_names(clock: ManualClock) -> None:
    tracemalloc.start()
    try:
        monitor = HealthMonitor(clock=clock)
        for number in range(20_000):
            monitor.track_agent_call(f"agent {number}", 10.0, True)
            monitor.track_error(f"category {number}", "x")
        size = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert size < 1_000_000


def test_dependencies_show_what_the_checks_say(monitor: HealthMonitor) -> None:
    def broken() -> Condition:
        raise RuntimeError(SECRET)

    monitor.add_check(lambda: Condition(name="database", detail={"bytes": 1}))
    monitor.add_check(lambda: Condition(name="feishu", status="down", reason="no connection"))
    monitor.add_check(broken)
    dependencies = monitor.get_metrics()["dependencies"]
    assert dependencies["database"] == {"status": "ok", "required": True, "reason": "", "detail": {"bytes": 1}}
    assert dependencies["feishu"]["reason"] == "no connection"
    (failed,) = (found for name, found in dependencies.items() if "broken" in name)
    assert failed["status"] == "down"
    assert failed["reason"] == "the check itself failed: RuntimeError"


def test_the_process_has_a_monitor_of_its_own() -> None:
    before = health_monitor.get_metrics()["agents"]["manager"]["callCount"]
    health_monitor.track_agent_call("manager", 1, True)
    assert health_monitor.get_metrics()["agents"]["manager"]["callCount"] == before + 1
