"""What does it cost to know how the service is?"""

import asyncio
import random
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.harness import Row, Table, interleaved, ns_per_call

from mainstay.health.monitor import HealthMonitor

AGENTS = 50
EVENTS = 100_000
REQUESTS = 2000


def tables() -> Iterator[Table]:
    yield _recording()
    yield _reporting()
    yield _memory()
    yield _serving()
    yield _importing()


def _recording() -> Table:
    monitor = HealthMonitor()
    cases: dict[str, Callable[[], object]] = {
        "mainstay": lambda: monitor.track_agent_call("manager", 1234.5, True),
        "mainstay, track_error": lambda: monitor.track_error("timeout", "read timed out"),
    }
    missing = []
    for label, build in (("prometheus_client", _prometheus), ("opentelemetry-sdk", _opentelemetry)):
        try:
            cases |= build()
        except ImportError:
            missing.append(Row(label=label, note="not installed"))
    found = interleaved({label: lambda call=call: ns_per_call(call) for label, call in cases.items()}, rounds=9)
    peer = "prometheus_client, cached children"
    rows = [Row(label=label, values=values) for label, values in found.items()]
    rows[0] = Row(label="mainstay", values=found["mainstay"], budget=1000, at_most=(0.2, peer))
    rows[1] = Row(label=rows[1].label, values=rows[1].values, budget=100_000)
    notes = [
        "One call of an agent: outcome and latency. Peers: one counter and one histogram, by agent and outcome.",
        "Mainstay's includes the time of the call, and sorting into buckets and windows (every 256 calls).",
    ]
    return Table(title="Recording one call", unit="ns", rows=[*rows, *missing], notes=notes)


def _prometheus() -> dict[str, Callable[[], object]]:
    from prometheus_client import CollectorRegistry, Counter, Histogram

    registry = CollectorRegistry()
    calls = Counter("calls", "calls", ["agent", "outcome"], registry=registry)
    seconds = Histogram("seconds", "latency", ["agent"], registry=registry)
    call, second = calls.labels("manager", "ok"), seconds.labels("manager")

    def cached() -> None:
        call.inc()
        second.observe(1.2345)

    def by_name() -> None:
        calls.labels("manager", "ok").inc()
        seconds.labels("manager").observe(1.2345)

    return {"prometheus_client, cached children": cached, "prometheus_client, by name": by_name}


def _opentelemetry() -> dict[str, Callable[[], object]]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    meter = MeterProvider(metric_readers=[InMemoryMetricReader()]).get_meter("bench")
    calls, seconds = meter.create_counter("calls"), meter.create_histogram("seconds")

    def record() -> None:
        calls.add(1, {"agent": "manager", "outcome": "ok"})
        seconds.record(1.2345, {"agent": "manager"})

    return {"opentelemetry-sdk": record}


def _busy_monitor(events: int = EVENTS) -> tuple[HealthMonitor, Callable[[], None]]:
    monitor = HealthMonitor()
    latencies = random.Random(1)

    def call(number: int) -> None:
        monitor.track_agent_call(f"agent {number % AGENTS}", latencies.lognormvariate(7, 0.6), number % 10 > 0)

    for number in range(events):
        call(number)

    def call_all() -> None:
        for number in range(AGENTS):
            call(number)

    return monitor, call_all


def _reporting() -> Table:
    monitor, call_all = _busy_monitor()

    def cpu_us(before: Callable[[], object]) -> float:
        spent = 0
        for _ in range(50):
            before()
            began = time.thread_time_ns()
            monitor.get_metrics()
            spent += time.thread_time_ns() - began
        return spent / 50 / 1000

    found = interleaved(
        {
            "nothing new": lambda: cpu_us(lambda: None),
            "one call since the last": lambda: cpu_us(lambda: monitor.track_agent_call("agent 7", 900.0, True)),
            f"a call of each of {AGENTS} agents since the last": lambda: cpu_us(call_all),
            "ten calls of each since the last": lambda: cpu_us(lambda: [call_all() for _ in range(10)]),
        },
        rounds=15,
    )
    rows = [Row(label=label, values=values, budget=300) for label, values in found.items()]
    return Table(title=f"get_metrics(), {AGENTS} agents: CPU", unit="us", rows=rows)


def _memory() -> Table:
    def kilobytes() -> float:
        tracemalloc.start()
        monitor, _ = _busy_monitor()
        monitor.get_metrics()
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return size / 1000

    row = Row(label="mainstay", values=[kilobytes() for _ in range(3)], budget=3000)
    return Table(title=f"Memory after {EVENTS} events of {AGENTS} agents", unit="kB", rows=[row])


def _serving() -> Table:
    if sys.platform != "linux":
        return Table(title="/health over HTTP", unit="us", rows=[Row(label="mainstay", note="needs /proc")])
    servers = {which: _Server(which) for which in ("route", "health")}
    try:
        cases = {
            "Starlette, a route that answers {}": lambda: servers["route"].cpu_us(b""),
            "/health, short": lambda: servers["health"].cpu_us(b"Via: 1.1 proxy\r\n"),
            f"/health, all, {AGENTS} agents": lambda: servers["health"].cpu_us(b""),
        }
        found = interleaved(cases, rounds=7)
    finally:
        for server in servers.values():
            server.stop()
    rows = [Row(label=label, values=values) for label, values in found.items()]
    rows[1:] = [Row(label=row.label, values=row.values, budget=rows[0].median + 300) for row in rows[1:]]
    return Table(
        title="GET over HTTP, keep-alive: CPU of the server process for one request",
        unit="us",
        rows=rows,
        notes=["The budget is 300 us on top of the empty route, served by the same server with the same settings."],
    )


class _Server:
    """A server process of its own, so that the client's CPU is not counted."""

    def __init__(self, which: str) -> None:
        command = [sys.executable, "-m", "bench.bench_health", which]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._port = int(self._process.stdout.readline())

    def cpu_us(self, header: bytes) -> float:
        before = self._cpu_ns()
        asyncio.run(self._visit(header))
        return (self._cpu_ns() - before) / REQUESTS / 1000

    def stop(self) -> None:
        self._process.communicate()

    def _cpu_ns(self) -> int:
        tasks = Path(f"/proc/{self._process.pid}/task")
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir())

    async def _visit(self, header: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for _ in range(REQUESTS):
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
        writer.close()


def _serve(which: str) -> None:
    import uvloop
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    from mainstay.web.server import listen, serving

    async def empty(_: object) -> Response:
        return Response(b"{}", media_type="application/json")

    async def run() -> None:
        app = _busy_monitor()[0].asgi() if which == "health" else Starlette(routes=[Route("/health", empty)])
        listener = listen("127.0.0.1", 0)
        async with serving(app, listener, drain_s=1):
            print(listener.getsockname()[1], flush=True)
            await asyncio.to_thread(sys.stdin.read)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def _importing() -> Table:
    def cpu_ms(code: str) -> float:
        before = _children_cpu()
        subprocess.run([sys.executable, "-c", code], check=True)
        return (_children_cpu() - before) * 1000

    found = interleaved(
        {
            "python alone": lambda: cpu_ms("pass"),
            "import mainstay": lambda: cpu_ms("import mainstay"),
            "from mainstay import HealthMonitor": lambda: cpu_ms("from mainstay import HealthMonitor"),
            "import prometheus_client": lambda: cpu_ms("import prometheus_client"),
        },
        rounds=9,
    )
    rows = [Row(label=label, values=values) for label, values in found.items()]
    return Table(title="Importing: CPU of the whole process", unit="ms", rows=rows)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    _serve(sys.argv[1])
