"""What is answered on ``/health`` and to the probes of an orchestrator?

``/health`` is for people and alerts: 503 when unhealthy. ``/livez`` is 200 as long as the loop turns, so that no
provider's fault ever restarts a process; ``/readyz`` and ``/startupz`` are 503 while no traffic should come. To
callers who may know (``detailed``), ``?verbose`` tells why.
"""

import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

import orjson

from mainstay.asgi import ASGIApp, Receive, Scope, Send, is_direct_local, respond
from mainstay.health.machine import readiness
from mainstay.health.model import HealthReport, ShortReport
from mainstay.health.monitor import MANAGER, HealthMonitor

__all__ = ["Probes", "health_app", "short_report"]


class Probes:
    """What the process says of itself beyond its dependencies.

    Attributes:
        started: whether startup has finished; true for a monitor inside of somebody else's application.
        draining: whether the process is stopping.
    """

    def __init__(self, *, started: bool = True) -> None:
        self.started = started
        self.draining = False


def health_app(
    monitor: HealthMonitor,
    app: ASGIApp | None = None,
    *,
    detailed: Callable[[Scope], bool] | None = None,
    probes: Probes | None = None,
) -> ASGIApp:
    """The ASGI application of ``/health``, ``/livez``, ``/readyz`` and ``/startupz``.

    Args:
        monitor: what is reported.
        app: gets all other paths, and all that is not HTTP; without it they are 404.
        detailed: whether this caller gets the whole report; by default direct callers from this machine do.
        probes: what `service` sets while it starts and stops.
    """
    may_know = detailed or is_direct_local
    state = probes or Probes()
    pages: Mapping[str, Callable[[Scope], tuple[int, object]]] = {
        "/health": lambda scope: _health(monitor, may_know(scope)),
        "/livez": lambda scope: _probe({}, {"loop": "ok"}, scope, may_know),
        "/readyz": lambda scope: _ready(monitor, state, scope, may_know),
        "/startupz": lambda scope: _probe(
            {} if state.started else {"startup": "not finished"}, {}, scope, may_know
        ),
    }

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        page = pages.get(_path(scope)) if scope["type"] == "http" else None
        if page is None:
            await (app or _nothing_here)(scope, receive, send)
        elif scope["method"] not in {"GET", "HEAD"}:
            headers = [(b"allow", b"GET, HEAD")]
            await respond(scope, send, 405, b'{"error":"method not allowed"}', headers=headers)
        else:
            status, content = page(scope)
            await respond(scope, send, status, _json(content))

    return answer


def short_report(report: HealthReport) -> ShortReport:
    """What everybody may see: these keys and no others."""
    manager = report["agents"][MANAGER]
    return {
        "uptime": report["uptime"],
        "timestamp": report["timestamp"],
        "status": report["status"],
        "errors": {
            "total": report["errors"]["total"],
            "rateLimits": report["errors"]["rateLimits"],
            "timeouts": report["errors"]["timeouts"],
            "other": report["errors"]["other"],
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


def _health(monitor: HealthMonitor, detailed: bool) -> tuple[int, object]:  # noqa: FBT001
    report = monitor.get_metrics()
    return 503 if report["status"] == "unhealthy" else 200, report if detailed else short_report(report)


def _ready(
    monitor: HealthMonitor, state: Probes, scope: Scope, may_know: Callable[[Scope], bool]
) -> tuple[int, object]:
    conditions = monitor.conditions()
    causes = readiness(started=state.started, draining=state.draining, conditions=conditions)
    return _probe(causes, {c.name: c.status for c in conditions}, scope, may_know)


def _probe(
    causes: Mapping[str, str], checks: Mapping[str, str], scope: Scope, may_know: Callable[[Scope], bool]
) -> tuple[int, object]:
    content: dict[str, object] = {"status": "failed" if causes else "ok"}
    if "verbose" in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True) and may_know(scope):
        content["checks"] = {**checks, **causes}
    return 503 if causes else 200, content


def _path(scope: Scope) -> str:
    # an application mounted below a prefix finds the prefix in both
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _json(content: object) -> bytes:
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:  # a check's own detail or half of a surrogate pair: still no reason for a 500
        return json.dumps(content, default=str).encode()


async def _nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    match scope["type"]:
        case "http":
            await respond(scope, send, 404, b'{"error":"not found"}')
        case "websocket":
            await send({"type": "websocket.close"})
        case "lifespan":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": f"{message['type']}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
