"""What is reported about a service's health, and what may be set about it?

`HealthReport` is the JSON of ``GET /health``; its keys are API. `HealthSettings` is the section ``[health]``.
"""

from dataclasses import dataclass
from typing import Literal, NotRequired, TypedDict

from mainstay.settings import duration, setting, share

__all__ = [
    "AgentReport",
    "DependencyReport",
    "ErrorReport",
    "HealthReport",
    "HealthSettings",
    "LastError",
    "ProcessReport",
    "ServiceStatus",
    "ShortAgent",
    "ShortErrors",
    "ShortReport",
    "WindowReport",
]

ServiceStatus = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSettings:
    """The section ``[health]``: from which numbers on a service is called degraded or unhealthy."""

    window: float = duration("5m", help="The error rate is that of the calls within this time.")
    widest_window: float = duration(
        "1h", help="With too few calls in the window it is doubled, up to this, until it holds min_calls."
    )
    min_calls: int = setting(5, help="The window widens until it holds this many calls.")
    rate_limit_window: float = duration("1h", help="Rate limits are counted over this time.")
    degraded_error_rate: float = share(0.20, help="From this share of failed calls on the service is degraded.")
    unhealthy_error_rate: float = share(0.50, help="Above this share of failed calls the service is unhealthy.")
    max_rate_limits: int = setting(5, help="With more rate limits than this the service is degraded.")
    max_agents: int = setting(100, help='Agents beyond this many are counted together, as "overflow".')


class ShortAgent(TypedDict):
    """One agent, for everybody. ``avgLatency`` is in whole milliseconds; ``lastCall`` is null before the first."""

    callCount: int
    successCount: int
    errorCount: int
    avgLatency: int
    lastCall: str | None


class AgentReport(ShortAgent):
    """One agent; the percentiles are milliseconds of the calls within the window, null if there were none."""

    p50: float | None
    p95: float | None
    p99: float | None


class ShortErrors(TypedDict):
    """Errors since the start; ``total`` is always the sum of the other three."""

    total: int
    rateLimits: int
    timeouts: int
    other: int


class ErrorReport(ShortErrors):
    """Errors since the start, also by the names of `mainstay.errors.Category`; ``other`` is what nobody named."""

    byCategory: dict[str, int]


class LastError(TypedDict):
    """The last error; secrets in its message are replaced, and it is cut to 200 characters."""

    type: str
    timestamp: str
    message: str


class WindowReport(TypedDict):
    """What the status was decided on. ``rateLimits`` is over its own, longer window."""

    seconds: float
    calls: int
    errors: int
    errorRate: float
    rateLimits: int


class DependencyReport(TypedDict):
    """How something is that the service needs; see `mainstay.checks.Condition`."""

    status: str
    required: bool
    reason: str
    detail: dict[str, str | int | float | bool | None]


class ProcessReport(TypedDict):
    """The process that answers. ``rss_bytes`` is null where the system does not tell."""

    pid: int
    rss_bytes: int | None
    started_at: str
    python: str


class ShortReport(TypedDict):
    """What everybody may see; ``agents`` holds only ``manager``."""

    uptime: float
    timestamp: str
    status: ServiceStatus
    errors: ShortErrors
    agents: dict[str, ShortAgent]


class HealthReport(TypedDict):
    """All there is to know. Counters are totals since the start; ``status`` and ``window`` look at recent calls."""

    uptime: float
    timestamp: str
    status: ServiceStatus
    reasons: list[str]
    errors: ErrorReport
    lastError: NotRequired[LastError]
    window: WindowReport
    agents: dict[str, AgentReport]
    dependencies: dict[str, DependencyReport]
    process: ProcessReport
