"""``/health`` and the probes, over real HTTP."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from mainstay.asgi import ASGIApp, Receive, Scope, Send, respond
from mainstay.checks import Condition
from mainstay.health.http import Lifecycle, health, probes
from mainstay.health.monitor import HealthMonitor

pytestmark = pytest.mark.anyio

Visit = Callable[[ASGIApp], AbstractAsyncContextManager[httpx2.AsyncClient]]

SHORT = {
    "uptime": float,
    "timestamp": str,
    "status": str,
    "errors": {"total": int, "rateLimits": int, "timeouts": int, "other": int},
    "agents": {
        "manager": {"callCount": int, "successCount": int, "errorCount": int, "avgLatency": int, "lastCall": str}
    },
}


def shape(value: object) -> object:
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else type(value)


@pytest.fixture
def monitor() -> HealthMonitor:
    monitor = HealthMonitor()
    monitor.track_agent_call("Manager", 1234.0, True)
    monitor.track_error("RATE_LIMIT", "429")
    return monitor


def nobody(_: Scope) -> bool:
    return False


async def test_a_stranger_gets_exactly_the_promised_keys(monitor: HealthMonitor, visit: Visit) -> None:
    monitor.track_agent_call("okr", 1.0, True)
    async with visit(health(monitor, detailed=nobody)) as client:
        answer = await client.get("/health")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert shape(answer.json()) == SHORT
    assert answer.json()["agents"]["manager"]["avgLatency"] == 1234
    assert answer.json()["timestamp"].endswith("Z")
    datetime.fromisoformat(answer.json()["timestamp"])


async def test_a_direct_caller_on_this_machine_gets_everything(monitor: HealthMonitor, visit: Visit) -> None:
    async with visit(monitor.asgi()) as client:
        report = (await client.get("/health")).json()
    assert report["lastError"]["type"] == "rate_limit"
    assert report["errors"]["byCategory"] == {"rate_limit": 1}
    assert report["window"]["calls"] == 1
    assert report["agents"]["manager"]["p99"] == pytest.approx(1234, rel=0.125)
    assert set(report) >= {"reasons", "dependencies", "process"}


async def test_a_proxied_or_rebound_request_is_a_strangers(monitor: HealthMonitor, visit: Visit) -> None:
    async with visit(monitor.asgi()) as client:
        for header in (
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Host", "localhost"),
            ("Forwarded", "for=127.0.0.1"),
            ("Via", "1.1 proxy"),
            ("X-Real-IP", "127.0.0.1"),
            ("Host", "attacker.example"),
            ("Host", "localhost.attacker.example"),
            ("Host", ""),
        ):
            assert shape((await client.get("/health", headers=[header])).json()) == SHORT, header


async def test_unhealthy_is_503_and_degraded_is_200(visit: Visit) -> None:
    monitor = HealthMonitor()
    async with visit(monitor.asgi()) as client:
        for success, status, code in ((True, "healthy", 200), (False, "degraded", 200), (False, "unhealthy", 503)):
            monitor.track_agent_call("manager", 1.0, success)
            answer = await client.get("/health")
            assert (answer.json()["status"], answer.status_code) == (status, code)


async def test_head_has_the_headers_of_get_and_no_body(monitor: HealthMonitor, visit: Visit) -> None:
    async with visit(monitor.asgi()) as client:
        for path in ("/health", "/livez", "/readyz", "/startupz"):
            answer = await client.head(path)
            assert answer.status_code == 200
            assert answer.content == b""
            assert int(answer.headers["content-length"]) > 0
        monitor.track_agent_call("manager", 1.0, False)
        monitor.track_agent_call("manager", 1.0, False)
        assert (await client.head("/health")).status_code == 503


async def test_other_methods_are_refused(monitor: HealthMonitor, visit: Visit) -> None:
    async with visit(monitor.asgi()) as client:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            for path in ("/health", "/livez", "/readyz", "/startupz"):
                answer = await client.request(method, path)
                assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_liveness_and_readiness_do_not_depend_on_how_often_calls_fail(visit: Visit) -> None:
    monitor = HealthMonitor()
    for _ in range(100):
        monitor.track_agent_call("manager", 1.0, False)
        monitor.track_error("server_error", "the provider is down")
    async with visit(monitor.asgi()) as client:
        assert (await client.get("/health")).status_code == 503
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200


async def test_readiness_needs_what_is_required(visit: Visit) -> None:
    monitor = HealthMonitor()
    conditions = {
        "database": Condition(name="database"),
        "model:primary": Condition(name="model:primary", status="down", required=False, reason="breaker open"),
        "feishu": Condition(name="feishu", status="degraded", reason="slow"),
    }
    for name in conditions:
        monitor.add_check(lambda name=name: conditions[name])  # type: ignore[misc]
    async with visit(probes(monitor)) as client:
        assert (await client.get("/readyz")).status_code == 200
        conditions["database"] = Condition(name="database", status="down", reason="disk full")
        answer = await client.get("/readyz?verbose")
        assert answer.status_code == 503
        assert answer.json() == {
            "status": "failed",
            "checks": {"database": "disk full", "model:primary": "down", "feishu": "degraded"},
        }
        assert (await client.get("/livez?verbose")).json() == {"status": "ok", "checks": {"loop": "ok"}}


async def test_a_stranger_is_not_told_why(visit: Visit) -> None:
    monitor = HealthMonitor(checks=[lambda: Condition(name="database", status="down", reason="disk full")])
    async with visit(probes(monitor, detailed=nobody)) as client:
        assert (await client.get("/readyz?verbose")).json() == {"status": "failed"}


async def test_a_process_is_not_ready_before_it_started_nor_while_it_drains(visit: Visit) -> None:
    lifecycle = Lifecycle(started=False)
    async with visit(probes(HealthMonitor(), lifecycle=lifecycle)) as client:

        async def codes() -> list[int]:
            return [(await client.get(path)).status_code for path in ("/livez", "/startupz", "/readyz")]

        assert await codes() == [200, 503, 503]
        lifecycle.started = True
        assert await codes() == [200, 200, 200]
        lifecycle.draining = True
        assert await codes() == [200, 200, 503]


async def test_a_detail_that_is_no_json_breaks_nothing(visit: Visit) -> None:
    detail = {"since": datetime(2026, 1, 1)}  # noqa: DTZ001
    monitor = HealthMonitor(checks=[lambda: Condition(name="odd", reason="\ud800", detail=detail)])  # type: ignore[arg-type]
    async with visit(monitor.asgi()) as client:
        answer = await client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["dependencies"]["odd"]["detail"] == {"since": "2026-01-01 00:00:00"}


async def test_it_can_be_mounted_at_the_root_of_an_application(monitor: HealthMonitor, visit: Visit) -> None:
    app = Starlette(routes=[Route("/mine", lambda _: PlainTextResponse("mine"))])
    app.mount("/", monitor.asgi())
    async with visit(app) as client:
        assert (await client.get("/mine")).text == "mine"
        assert (await client.get("/health")).json()["status"] == "healthy"
        assert (await client.get("/other")).status_code == 404


async def test_it_can_be_mounted_below_a_prefix(monitor: HealthMonitor, visit: Visit) -> None:
    app = Starlette(routes=[Mount("/ops", app=monitor.asgi())])
    async with visit(app) as client:
        assert (await client.get("/ops/health")).status_code == 200
        assert (await client.get("/health")).status_code == 404


async def test_it_can_be_wrapped_around_an_application(monitor: HealthMonitor, visit: Visit) -> None:
    async def mine(scope: Scope, _: Receive, send: Send) -> None:
        await respond(scope, send, 200, b"mine", content_type=b"text/plain")

    async with visit(monitor.asgi(mine)) as client:
        assert (await client.get("/anything")).text == "mine"
        assert (await client.get("/livez")).json() == {"status": "ok"}
