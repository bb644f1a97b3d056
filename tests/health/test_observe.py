"""What of the bus reaches the monitor."""

import pytest

from mainstay.bus import Bus
from mainstay.errors import Category
from mainstay.events import AgentCalled, AttemptFailed, ErrorSeen, Event, TurnFinished
from mainstay.health.monitor import HealthMonitor
from mainstay.health.observe import watch
from mainstay.messages import Outcome
from mainstay.testing.clock import ManualClock


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def monitor(bus: Bus) -> HealthMonitor:
    monitor = HealthMonitor(clock=ManualClock())
    watch(bus, monitor)
    return monitor


def turn(outcome: Outcome) -> Event:
    return TurnFinished(
        turn_id="t",
        lane="l",
        agent="manager",
        answered_by="okr",
        model="primary",
        outcome=outcome,
        category=Category.RATE_LIMIT if outcome is Outcome.FAILED else None,
        attempt=1,
        latency_s=2.5,
    )


def failed_attempt() -> Event:
    return AttemptFailed(turn_id="t", agent="manager", model="primary", category=Category.RATE_LIMIT, message="429")


def test_a_call_that_a_fallback_saved_is_a_success_and_its_rate_limit_still_counts(
    bus: Bus, monitor: HealthMonitor
) -> None:
    bus.emit(failed_attempt())
    bus.emit(turn(Outcome.ANSWERED))
    report = monitor.get_metrics()
    assert report["status"] == "healthy"
    assert report["agents"]["manager"]["successCount"] == 1
    assert report["agents"]["manager"]["avgLatency"] == 2500
    assert report["errors"]["rateLimits"] == report["errors"]["total"] == 1


def test_a_failed_turn_adds_no_error_to_those_of_its_attempts(bus: Bus, monitor: HealthMonitor) -> None:
    bus.emit(failed_attempt())
    bus.emit(failed_attempt())
    bus.emit(turn(Outcome.FAILED))
    report = monitor.get_metrics()
    assert report["agents"]["manager"]["errorCount"] == 1
    assert report["errors"]["total"] == 2


def test_a_cancelled_turn_enters_no_counter(bus: Bus, monitor: HealthMonitor) -> None:
    bus.emit(turn(Outcome.CANCELLED))
    report = monitor.get_metrics()
    assert report["agents"]["manager"]["callCount"] == report["errors"]["total"] == report["window"]["calls"] == 0


def test_a_specialist_is_shown_and_moves_no_status(bus: Bus, monitor: HealthMonitor) -> None:
    bus.emit(AgentCalled(turn_id="t", agent="okr", latency_s=1.0, success=False))
    report = monitor.get_metrics()
    assert report["agents"]["okr"]["errorCount"] == 1
    assert report["window"]["calls"] == 0


def test_an_error_outside_of_a_call_is_counted_under_its_category(bus: Bus, monitor: HealthMonitor) -> None:
    bus.emit(ErrorSeen(category=Category.DATABASE, message="disk full", where="inbox"))
    report = monitor.get_metrics()
    assert report["errors"]["byCategory"] == {"database": 1}
    assert report["lastError"]["message"] == "disk full"
