"""``mainstay health`` tells how the service is, by its words and by its exit code."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from mainstay.cli.main import main
from mainstay.cli.running import service_url
from mainstay.config.load import load

from .conftest import Project, free_port

REPORT: dict[str, Any] = {
    "uptime": 3723.4,
    "timestamp": "2026-11-23T08:46:50.907Z",
    "status": "degraded",
    "reasons": ["6 rate limits within 1h\x1b[2J"],
    "errors": {"total": 7, "rateLimits": 6, "timeouts": 1, "other": 0},
    "lastError": {"type": "timeout", "timestamp": "2026-11-23T08:46:50.907Z", "message": "no answer"},
    "window": {"seconds": 300, "calls": 10, "errors": 1, "errorRate": 0.1, "rateLimits": 6},
    "agents": {
        "manager": {
            "callCount": 10, "successCount": 9, "errorCount": 1, "avgLatency": 1234,
            "lastCall": "2026-11-23T08:46:50.907Z", "p50": 1.0, "p95": 2345.6, "p99": 3.0,
        },
    },
    "dependencies": {"database": {"status": "ok", "required": True, "reason": "", "detail": {}}},
}  # fmt: skip


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_report_is_shown_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, json.dumps(REPORT).encode()) as url:
        assert main(["health", "--url", url]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Health: degraded, up 1h2m3s, {url}\n  6 rate limits within 1h\\x1b[2J\n")
    assert "Errors since the start: 7 (rate limits 6, timeouts 1, other 0)" in out
    assert "Last error: timeout at 2026-11-23T08:46:50.907Z: no answer" in out
    assert "Last 5m: 10 calls, 1 failed (10.0%), 6 rate limits" in out
    assert "manager     10   9       1  1234 ms  2346 ms  2026-11-23T08:46:50.907Z" in out
    assert "database    ok" in out


def test_unhealthy_is_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(503, json.dumps(REPORT | {"status": "unhealthy"}).encode()) as url:
        assert main(["health", "--url", f"{url}/health", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["status"] == "unhealthy"


def test_the_short_report_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    short = {key: REPORT[key] for key in ("uptime", "timestamp", "status", "errors")}
    agent = {"callCount": 0, "successCount": 0, "errorCount": 0, "avgLatency": 0, "lastCall": None}
    with answering(200, json.dumps(short | {"agents": {"manager": agent}}).encode()) as url:
        assert main(["health", "--url", url]) == 0
    assert "never" in capsys.readouterr().out


def test_nobody_there_is_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert main(["health", "--url", f"http://127.0.0.1:{port}"]) == 3
    assert capsys.readouterr().err == (
        f"mainstay: no service runs at http://127.0.0.1:{port}: start it with `mainstay serve`\n"
    )


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"status": "ok"}', b""])
def test_another_program_on_that_port_is_told(capsys: pytest.CaptureFixture[str], body: bytes) -> None:
    with answering(200, body) as url:
        assert main(["health", "--url", url]) == 1
    assert "is no health report (HTTP 200): another program has that port?" in capsys.readouterr().err


def test_a_service_that_hangs_is_told_from_one_that_is_gone(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(["health", "--url", url, "--timeout", "100ms"]) == 1
    assert capsys.readouterr().err == f"mainstay: {url} does not answer within 100ms: it may hang\n"


def test_an_address_that_is_none_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--url", "localhost:3000"]) == 2
    assert "is not an address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:3000"), ("0.0.0.0", "http://127.0.0.1:3000"), ("::", "http://[::1]:3000")],
)
def test_a_service_on_every_interface_is_asked_on_this_machine(tmp_path, host: str, url: str) -> None:
    assert service_url(load(directory=tmp_path, environ={"MAINSTAY_SERVICE_HOST": host})) == url


def test_the_real_service_is_healthy(service: Project) -> None:
    done = service.run("health")
    assert done.returncode == 0
    assert done.stdout.startswith("Health: healthy, up ")
    report = json.loads(service.quick("health", "--json").stdout)
    assert report["agents"]["manager"]["callCount"] == 0
