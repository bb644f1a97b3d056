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
from mainstay.health.monitor import HealthMonitor
from mainstay.health.report import short_report

__all__ = ["Lifecycle", "embedded", "health", "probes"]

Page = Callable[[Scope], tuple[int, object]]
"""What a GET of this page answers: the status and the content."""


class Lifecycle:
    """What the process says of itself, for the probes.

    Attributes:
        started: whether startup has finished; true for a monitor inside of somebody else's application.
        draining: whether the process is stopping.
    """

    def __init__(self, *, started: bool = True) -> None:
        self.started = started
        self.draining = False


def health(monitor: HealthMonitor, *, detailed: Callable[[Scope], bool] | None = None) -> ASGIApp:
    """The ASGI application of ``/health``.

    Args:
        monitor: what is reported.
        detailed: whether this caller gets the whole report; by default direct callers from this machine do.
    """
    return _pages({"/health": _health(monitor, detailed or is_direct_local)}, _nothing_here)


def probes(
    monitor: HealthMonitor,
    *,
    detailed: Callable[[Scope], bool] | None = None,
    lifecycle: Lifecycle | None = None,
) -> ASGIApp:
    """The ASGI application of ``/livez``, ``/readyz`` and ``/startupz``.

    Args:
        monitor: whose checks decide on readiness.
        detailed: who gets an answer to ``?verbose``; by default direct callers from this machine.
        lifecycle: what `service` sets while it starts and stops.
    """
    return _pages(_probes(monitor, detailed or is_direct_local, lifecycle or Lifecycle()), _nothing_here)


def embedded(
    monitor: HealthMonitor, app: ASGIApp | None, *, detailed: Callable[[Scope], bool] | None = None
) -> ASGIApp:
    """All of it in one application; see `HealthMonitor.asgi`."""
    may_know = detailed or is_direct_local
    pages = {"/health": _health(monitor, may_know), **_probes(monitor, may_know, Lifecycle())}
    return _pages(pages, app or _nothing_here)


def _pages(pages: Mapping[str, Page], otherwise: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        page = pages.get(_path(scope)) if scope["type"] == "http" else None
        if page is None:
            await otherwise(scope, receive, send)
        elif scope["method"] not in {"GET", "HEAD"}:
            headers = [(b"allow", b"GET, HEAD")]
            await respond(scope, send, 405, b'{"error":"method not allowed"}', headers=headers)
        else:
            status, content = page(scope)
            await respond(scope, send, status, _json(content))

    return answer


def _health(monitor: HealthMonitor, may_know: Callable[[Scope], bool]) -> Page:
    def page(scope: Scope) -> tuple[int, object]:
        report = monitor.get_metrics()
        status = 503 if report["status"] == "unhealthy" else 200
        return status, report if may_know(scope) else short_report(report)

    return page


def _probes(monitor: HealthMonitor, may_know: Callable[[Scope], bool], lifecycle: Lifecycle) -> dict[str, Page]:
    def verdict(scope: Scope, causes: Mapping[str, str], checks: Mapping[str, str]) -> tuple[int, object]:
        content: dict[str, object] = {"status": "failed" if causes else "ok"}
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if "verbose" in query and may_know(scope):
            content["checks"] = {**checks, **causes}
        return 503 if causes else 200, content

    def live(scope: Scope) -> tuple[int, object]:
        return verdict(scope, {}, {"loop": "ok"})

    def ready(scope: Scope) -> tuple[int, object]:
        conditions = monitor.conditions()
        causes = readiness(started=lifecycle.started, draining=lifecycle.draining, conditions=conditions)
        return verdict(scope, causes, {condition.name: condition.status for condition in conditions})

    def started(scope: Scope) -> tuple[int, object]:
        return verdict(scope, readiness(started=lifecycle.started, draining=False, conditions=()), {})

    return {"/livez": live, "/readyz": ready, "/startupz": started}


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
