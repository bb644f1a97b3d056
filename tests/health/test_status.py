"""The status of a service, from the numbers that the requirements name."""

import pytest

from mainstay.health.model import HealthSettings
from mainstay.health.monitor import HealthMonitor
from mainstay.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor(clock: ManualClock) -> HealthMonitor:
    return HealthMonitor(clock=clock)


def calls(monitor: HealthMonitor, answered: int, failed: int, agent: str = "manager", *, root: bool = True) -> None:
    for success in [True] * answered + [False] * failed:
        monitor.track_agent_call(agent, 10.0, success, root=root)


@pytest.mark.parametrize(
    ("failed", "total", "status"),
    [
        (0, 10, "healthy"),
        (1, 10, "healthy"),
        (199, 1000, "healthy"),
        (2, 10, "degraded"),
        (20, 100, "degraded"),
        (5, 10, "degraded"),
        (500, 1000, "degraded"),
        (501, 1000, "unhealthy"),
        (6, 10, "unhealthy"),
        (1, 1, "unhealthy"),
        (10, 10, "unhealthy"),
    ],
)
def test_the_bands_hold_to_the_last_call(monitor: HealthMonitor, failed: int, total: int, status: str) -> None:
    calls(monitor, total - failed, failed)
    report = monitor.get_metrics()
    assert report["status"] == status
    assert report["window"]["calls"] == total
    assert report["window"]["errors"] == failed
    assert bool(report["reasons"]) == (status != "healthy")


def test_a_service_that_was_never_called_is_healthy(monitor: HealthMonitor) -> None:
    report = monitor.get_metrics()
    assert report["status"] == "healthy"
    assert report["agents"] == {
        "manager": {
            "callCount": 0,
            "successCount": 0,
            "errorCount": 0,
            "avgLatency": 0,
            "lastCall": None,
            "p50": None,
            "p95": None,
            "p99": None,
        }
    }
    assert report["errors"] == {"total": 0, "rateLimits": 0, "timeouts": 0, "other": 0, "byCategory": {}}
    assert "lastError" not in report


def test_five_rate_limits_are_healthy_and_six_are_degraded(monitor: HealthMonitor) -> None:
    calls(monitor, 100, 0)
    for _ in range(4):
        monitor.track_error("RATE_LIMIT", "primary rate limited")
    monitor.track_error("quota_exhausted", "no credit")
    assert monitor.get_metrics()["status"] == "healthy"
    monitor.track_error("rate_limit", "primary rate limited")
    report = monitor.get_metrics()
    assert report["status"] == "degraded"
    assert report["errors"]["rateLimits"] == report["window"]["rateLimits"] == 6
    assert report["reasons"] == ["6 rate limits in the last 1h: more than 5"]


def test_rate_limits_do_not_make_it_better_than_its_calls(monitor: HealthMonitor) -> None:
    calls(monitor, 4, 6)
    for _ in range(6):
        monitor.track_error("RATE_LIMIT")
    report = monitor.get_metrics()
    assert report["status"] == "unhealthy"
    assert len(report["reasons"]) == 2


def test_rate_limits_are_forgotten_after_an_hour(monitor: HealthMonitor, clock: ManualClock) -> None:
    for _ in range(6):
        monitor.track_error("RATE_LIMIT")
    clock.advance(3590)
    assert monitor.get_metrics()["status"] == "degraded"
    clock.advance(10)
    report = monitor.get_metrics()
    assert report["status"] == "healthy"
    assert report["errors"]["rateLimits"] == 6


def test_an_outage_after_ten_thousand_good_calls_is_seen_and_forgotten(
    monitor: HealthMonitor, clock: ManualClock
) -> None:
    calls(monitor, 10_000, 0)
    clock.advance(3601)
    calls(monitor, 0, 1)
    assert monitor.get_metrics()["status"] == "unhealthy"
    calls(monitor, 0, 9)
    assert monitor.get_metrics()["status"] == "unhealthy"

    clock.advance(300)  # the provider is back, and people go on asking
    calls(monitor, 5, 0)
    report = monitor.get_metrics()
    assert report["status"] == "healthy"
    assert report["window"]["seconds"] == 300
    assert report["agents"]["manager"]["callCount"] == 10_015
    assert report["agents"]["manager"]["errorCount"] == 10


def test_a_window_with_too_few_calls_widens_until_it_holds_five(monitor: HealthMonitor, clock: ManualClock) -> None:
    calls(monitor, 0, 3)
    clock.advance(900)
    calls(monitor, 2, 0)
    report = monitor.get_metrics()  # 2 calls in 5 and 10 minutes, 5 in 20
    assert report["window"] == {"seconds": 1200, "calls": 5, "errors": 3, "errorRate": 0.6, "rateLimits": 0}
    assert report["reasons"] == ["3 of 5 calls failed in the last 20m: more than 50%"]
    calls(monitor, 3, 0)
    assert monitor.get_metrics()["window"]["seconds"] == 300
    assert monitor.get_metrics()["status"] == "healthy"


def test_the_window_widens_to_an_hour_and_no_further(monitor: HealthMonitor, clock: ManualClock) -> None:
    calls(monitor, 0, 4)
    clock.advance(3590)
    assert monitor.get_metrics()["window"]["seconds"] == 3600
    assert monitor.get_metrics()["status"] == "unhealthy"
    clock.advance(10)
    assert monitor.get_metrics()["window"] == {
        "seconds": 3600,
        "calls": 0,
        "errors": 0,
        "errorRate": 0.0,
        "rateLimits": 0,
    }
    assert monitor.get_metrics()["status"] == "healthy"


@pytest.mark.parametrize("root", [True, False])
def test_only_what_a_user_waited_for_moves_the_status(monitor: HealthMonitor, *, root: bool) -> None:
    calls(monitor, 10, 0)
    calls(monitor, 4, 6, "okr_reviewer", root=root)
    report = monitor.get_metrics()
    okr, manager = report["agents"]["okr_reviewer"], report["agents"]["manager"]
    assert (okr["callCount"], okr["successCount"], okr["errorCount"]) == (10, 4, 6)
    assert (manager["callCount"], manager["errorCount"]) == (10, 0)
    assert report["window"]["calls"] == (20 if root else 10)
    assert report["status"] == ("degraded" if root else "healthy")


def test_every_rule_can_be_set(clock: ManualClock) -> None:
    settings = HealthSettings(
        window=10.0,
        widest_window=15.0,
        min_calls=2,
        rate_limit_window=10.0,
        degraded_error_rate=0.1,
        unhealthy_error_rate=0.9,
        max_rate_limits=0,
    )
    monitor = HealthMonitor(settings, clock=clock)
    calls(monitor, 9, 1)
    assert monitor.get_metrics()["status"] == "degraded"
    calls(monitor, 0, 80)
    assert monitor.get_metrics()["status"] == "degraded"
    calls(monitor, 0, 1)
    assert monitor.get_metrics()["status"] == "unhealthy"
    clock.advance(10)
    assert monitor.get_metrics()["window"]["seconds"] == 15
    clock.advance(5)
    assert monitor.get_metrics()["status"] == "healthy"
    monitor.track_error("RATE_LIMIT")
    assert monitor.get_metrics()["status"] == "degraded"
