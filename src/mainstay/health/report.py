"""How is what the monitor knows written down?"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from mainstay.checks import Check, Condition
from mainstay.clock import iso
from mainstay.health.machine import Verdict, kind_of
from mainstay.health.model import DependencyReport, ErrorReport, HealthReport, ShortReport, WindowReport
from mainstay.health.names import MANAGER

__all__ = ["condition_of", "dependency_report", "error_report", "short_report", "timestamp", "window_report"]


def timestamp(at: float) -> str:
    """`mainstay.clock.iso` of a Unix time, for less: it is written for each agent, in each report."""
    second, ms = divmod(round(at * 1_000_000) // 1000, 1000)
    return f"{_second(second)}.{ms:03}Z"


@lru_cache(maxsize=256)
def _second(at: int) -> str:
    return iso(datetime.fromtimestamp(at, UTC)).removesuffix(".000Z")


def error_report(by_category: Mapping[str, int]) -> ErrorReport:
    """The totals, by kind and by category."""
    kinds = {"rateLimits": 0, "timeouts": 0, "other": 0}
    for name, count in by_category.items():
        kinds[kind_of(name)] += count
    return {
        "total": sum(kinds.values()),
        "rateLimits": kinds["rateLimits"],
        "timeouts": kinds["timeouts"],
        "other": kinds["other"],
        "byCategory": dict(by_category),
    }


def window_report(verdict: Verdict) -> WindowReport:
    """What the verdict was based on."""
    counts = verdict.counts
    return {
        "seconds": verdict.seconds,
        "calls": counts.calls,
        "errors": counts.errors,
        "errorRate": round(counts.errors / counts.calls, 4) if counts.calls else 0.0,
        "rateLimits": counts.rate_limits,
    }


def condition_of(check: Check) -> Condition:
    """What the check says; if it raises, that its subject is down."""
    try:
        return check()
    except Exception as error:  # noqa: BLE001  the border between rooms: a report is due whatever a check does
        name = getattr(check, "__qualname__", type(check).__qualname__)
        return Condition(name=name, status="down", reason=f"the check itself failed: {type(error).__name__}")


def dependency_report(condition: Condition) -> DependencyReport:
    """The condition, as plain values."""
    return {
        "status": condition.status,
        "required": condition.required,
        "reason": condition.reason,
        "detail": dict(condition.detail),
    }


def short_report(report: HealthReport) -> ShortReport:
    """What everybody may see: these keys and no others."""
    errors, manager = report["errors"], report["agents"][MANAGER]
    return {
        "uptime": report["uptime"],
        "timestamp": report["timestamp"],
        "status": report["status"],
        "errors": {
            "total": errors["total"],
            "rateLimits": errors["rateLimits"],
            "timeouts": errors["timeouts"],
            "other": errors["other"],
        },
        "agents": {
            MANAGER: {
                "callCount": manager["callCount"],
                "successCount": manager["successCount"],
                "errorCount": manager["errorCount"],
                "avgLatency": manager["avgLatency"],
                "lastCall": manager["lastCall"],
            }
        },
    }
