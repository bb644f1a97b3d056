"""``mainstay health``: how is the service?"""

import argparse
import http.client
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from mainstay.cli.running import NotRunning, configured, service_url
from mainstay.cli.terminal import safe, table
from mainstay.config.model import Config
from mainstay.errors import ConfigError, MainstayError
from mainstay.supervisor.client import Daemon
from mainstay.units import format_duration

__all__ = ["add", "run"]

_UNHEALTHY: Final = 503


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "health", help="how is the service? exit code 1 when it is unhealthy, 3 when it does not run"
    )
    parser.add_argument("--json", action="store_true", help="the report as /health gives it")
    parser.add_argument("--url", help="of another service, e.g. http://127.0.0.1:3000")
    parser.add_argument("--timeout", type="duration", default=5.0, metavar="5s", help="how long to wait for it")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Ask once and print."""
    config = None if args.url else configured(args)
    origin = service_url(config) if config is not None else args.url.rstrip("/").removesuffix("/health")
    try:
        status, body = _get(origin, args.timeout)
    except MainstayError as error:
        if config is not None and (known := _supervised(config)):
            raise type(error)(f"{error}; the supervisor says: {known}") from error
        raise
    report = _report(origin, status, body)
    if args.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_text(report, origin)))
    return 1 if status == _UNHEALTHY else 0


def _supervised(config: Config) -> str:
    """What is known of the service to whoever keeps it running; empty if nobody does."""
    try:
        with Daemon(config.home) as talk:
            instances = talk.ask("list", names=[])
    except MainstayError:
        return ""
    services = [each for each in instances if list(each["command"][:2]) == ["mainstay", "serve"]]
    return ", ".join(
        f"{each['name']} is {each['state']} {each['detail'] or each['status']}".rstrip() for each in services
    )


def _get(origin: str, timeout_s: float) -> tuple[int, bytes]:
    parts = urlsplit(origin)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds or not parts.hostname:
        raise ConfigError(f"--url {origin}: is not an address; write it like http://127.0.0.1:3000")
    connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request("GET", f"{parts.path}/health")
        answer = connection.getresponse()
        return answer.status, answer.read(1_000_000)
    except TimeoutError:
        raise MainstayError(f"{origin} does not answer within {format_duration(timeout_s)}: it may hang") from None
    except ConnectionRefusedError:
        raise NotRunning(f"no service runs at {origin}: start it with `mainstay serve`") from None
    except (OSError, http.client.HTTPException) as error:
        raise MainstayError(f"{origin} can not be asked: {type(error).__name__}: {error}") from None
    finally:
        connection.close()


def _report(origin: str, status: int, body: bytes) -> dict[str, Any]:
    try:
        report = json.loads(body)
    except ValueError:
        report = None
    if not isinstance(report, dict) or "status" not in report or "errors" not in report:
        raise MainstayError(f"{origin}/health is no health report (HTTP {status}): another program has that port?")
    return report


def _text(report: Mapping[str, Any], origin: str) -> Iterator[str]:
    up = format_duration(round(report["uptime"]))
    yield safe(f"Health: {report['status']}, up {up}, {origin}")
    for reason in report.get("reasons", ()):
        yield safe(f"  {reason}")
    errors = report["errors"]
    yield (
        f"Errors since the start: {errors['total']} (rate limits {errors['rateLimits']}, "
        f"timeouts {errors['timeouts']}, other {errors['other']})"
    )
    if last := report.get("lastError"):
        yield safe(f"Last error: {last['type']} at {last['timestamp']}: {last['message']}")
    if window := report.get("window"):
        calls, rate_limits = _count(window["calls"], "call"), _count(window["rateLimits"], "rate limit")
        failed = f"{window['errors']} failed ({window['errorRate']:.1%})"
        yield f"Last {format_duration(window['seconds'])}: {calls}, {failed}, {rate_limits}"
    yield ""
    yield table([("AGENT", "CALLS", "OK", "FAILED", "AVERAGE", "P95", "LAST CALL"), *_agents(report)])
    if dependencies := report.get("dependencies"):
        yield ""
        rows = [(name, each["status"], each["reason"]) for name, each in dependencies.items()]
        yield table([("DEPENDENCY", "STATUS", "REASON"), *rows])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _agents(report: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, agent in report["agents"].items():
        p95 = agent.get("p95")
        yield (
            name,
            str(agent["callCount"]),
            str(agent["successCount"]),
            str(agent["errorCount"]),
            f"{agent['avgLatency']} ms",
            "-" if p95 is None else f"{p95:.0f} ms",
            agent["lastCall"] or "never",
        )
