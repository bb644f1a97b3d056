"""What ``/health`` tells of a running service, and what people and counters see when models fail."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from tests.process.conftest import answered, eventually, logged, shown_now, verdict_on, visiting

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

IMPATIENT = """
[models.primary]
provider = "sandbox"
first_token_timeout = "2s"
idle_timeout = "2s"

[models.fallback]
provider = "sandbox"
first_token_timeout = "2s"
idle_timeout = "2s"

# each test begins with models that were left alone for no more than a moment
[recovery]
retries = 0
[breaker]
calls = 1000
min_calls = 1000
open_time = "10ms"
longest_open = "10ms"
quota_open = "10ms"
"""
STRANGER = {"X-Forwarded-For": "203.0.113.7"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Started:
    """A running service, with what it reported before anybody had spoken."""

    project: Project
    first: httpx2.Response
    first_to_strangers: httpx2.Response


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Started]:
    fast = SandboxSettings(tokens_per_second=2000)
    async with project(tmp_path_factory.mktemp("health"), IMPATIENT, sandbox=fast) as made:
        await made.start()
        async with visiting(made) as http:
            first, first_to_strangers = await http.get("/health"), await http.get("/health", headers=STRANGER)
        yield Started(made, first, first_to_strangers)


@pytest.fixture
def made(started: Started) -> Project:
    return started.project


@pytest.fixture
async def cleared(made: Project) -> AsyncIterator[Project]:
    """Without faults before and after."""
    await made.sandbox.clear()
    yield made
    await made.sandbox.clear()


async def report(made: Project) -> dict[str, Any]:
    return await made.health()


def has_the_promised_types(report: dict[str, Any]) -> None:
    assert isinstance(report["uptime"], float)
    assert ISO.fullmatch(report["timestamp"])
    assert report["status"] in {"healthy", "degraded", "unhealthy"}
    assert all(isinstance(report["errors"][name], int) for name in ("total", "rateLimits", "timeouts", "other"))
    manager = report["agents"]["manager"]
    counts = ("callCount", "successCount", "errorCount", "avgLatency")
    assert all(isinstance(manager[name], int) for name in counts)
    assert manager["lastCall"] is None or ISO.fullmatch(manager["lastCall"])


async def test_a_fresh_service_is_healthy_with_zeros(started: Started) -> None:
    assert started.first.status_code == 200
    report = started.first.json()
    has_the_promised_types(report)
    assert report["status"] == "healthy"
    assert {name: report["errors"][name] for name in ("total", "rateLimits", "timeouts", "other")} == {
        "total": 0,
        "rateLimits": 0,
        "timeouts": 0,
        "other": 0,
    }
    zeros = {"callCount": 0, "successCount": 0, "errorCount": 0, "avgLatency": 0, "lastCall": None}
    assert report["agents"]["manager"].items() >= zeros.items()


async def test_a_proxied_caller_without_a_token_gets_exactly_the_required_keys(started: Started) -> None:
    assert started.first_to_strangers.status_code == 200
    report = started.first_to_strangers.json()
    has_the_promised_types(report)
    assert set(report) == {"uptime", "timestamp", "status", "errors", "agents"}
    assert set(report["errors"]) == {"total", "rateLimits", "timeouts", "other"}
    assert set(report["agents"]) == {"manager"}
    assert set(report["agents"]["manager"]) == {
        "callCount",
        "successCount",
        "errorCount",
        "avgLatency",
        "lastCall",
    }


async def test_a_direct_local_caller_and_a_token_holder_get_the_details(started: Started, made: Project) -> None:
    tokens = json.loads((made.directory / ".mainstay" / "tokens.json").read_text())
    more = {"reasons", "window", "dependencies", "process"}
    async with visiting(made) as http:
        shown = {"Authorization": f"Bearer {tokens['viewer']}"}
        token_holder = (await http.get("/health", headers=STRANGER | shown)).json()
        guess = {"Authorization": f"Bearer {'x' * 43}"}
        guesser = (await http.get("/health", headers=STRANGER | guess)).json()
        under_another_name = (await http.get("/health", headers={"Host": "rebound.example"})).json()
    assert set(started.first.json()) >= more
    assert set(token_holder) >= more
    assert not set(guesser) & more
    assert not set(under_another_name) & more


async def test_head_is_get_without_a_body_and_nothing_is_cached(made: Project) -> None:
    async with visiting(made) as http:
        got, head = await http.get("/health"), await http.head("/health")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"] == "application/json"
    assert head.headers["cache-control"] == got.headers["cache-control"] == "no-store"


async def test_the_front_page_says_what_runs_here(made: Project) -> None:
    async with visiting(made) as http:
        front = await http.get("/", headers=STRANGER)
    assert front.status_code == 200
    assert front.json().items() >= {"status": "ok", "service": "feishu-agent", "mode": "subscription"}.items()


async def test_one_answer_is_one_call_and_one_success(cleared: Project) -> None:
    before = (await report(cleared))["agents"]["manager"]
    await answered(cleared, "hello")
    after = await report(cleared)
    manager = after["agents"]["manager"]
    has_the_promised_types(after)
    assert manager["callCount"] - before["callCount"] == 1
    assert manager["successCount"] - before["successCount"] == 1
    assert manager["errorCount"] == before["errorCount"]
    assert manager["lastCall"] > (before["lastCall"] or "")


ON_BOTH_MODELS = [
    ("rate-limit", "rate_limit", "rateLimits", "busy"),
    ("quota", "quota_exhausted", "rateLimits", "quota"),
    ("auth", "auth", "other", "refused the service's access"),
    ("forbidden", "permission", "other", "refused the service's access"),
    ("server-error", "server_error", "other", "failed"),
    ("overloaded", "overloaded", "other", "busy"),
    ("refuse", "connection", "other", "connection"),
    ("cut", "connection", "other", "connection"),
    ("truncate", "malformed", "other", "broke off"),
    ("malformed", "malformed", "other", "broke off"),
    ("error-after-200", "server_error", "other", "failed"),
]


@pytest.mark.parametrize(("fault", "category", "kind", "words"), ON_BOTH_MODELS)
async def test_when_every_model_fails_the_person_is_told_once_and_it_is_counted(
    cleared: Project, fault: str, category: str, kind: str, words: str
) -> None:
    before = await report(cleared)
    await cleared.sandbox.fault(fault, retry_after_s=None)
    shown = await answered(cleared, "hello")
    after = await report(cleared)
    verdict = await verdict_on(cleared, shown.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    assert words in verdict.texts[0]
    assert not re.search(r"Error|Traceback|HTTP|status_code|sandbox/|127\.0\.0\.1", verdict.texts[0])
    errors, errors_before = after["errors"], before["errors"]
    assert errors["byCategory"][category] - errors_before["byCategory"].get(category, 0) == 2
    assert errors[kind] - errors_before[kind] == errors["total"] - errors_before["total"] == 2
    assert errors["total"] == errors["rateLimits"] + errors["timeouts"] + errors["other"]
    manager, manager_before = after["agents"]["manager"], before["agents"]["manager"]
    assert manager["callCount"] - manager_before["callCount"] == 1
    assert manager["errorCount"] - manager_before["errorCount"] == 1
    assert (after["lastError"]["type"], len(after["lastError"]["message"]) <= 200) == (category, True)


async def both_models_have_answered(made: Project) -> None:
    """So that neither is on probation, with one call at a time, for what an earlier test did to it."""
    first, _ = await made.sandbox.models()
    await answered(made, "hello")
    await made.sandbox.fault("server-error", model=first, times=1)
    await answered(made, "hello")


async def test_when_every_model_hangs_each_call_times_out_and_is_hung_up(cleared: Project) -> None:
    await both_models_have_answered(cleared)
    before, known = await report(cleared), await cleared.sandbox.models()
    hanging = ("hang", "hang-first-token", "stall")
    for fault in hanging:
        await cleared.sandbox.fault(fault, times=1, pings=True)
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(answered(cleared, "hello")) for _ in hanging]
    for each in asked:
        verdict = await verdict_on(cleared, each.result().message_id)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)
        assert "took too long" in verdict.texts[0]
    errors = (await report(cleared))["errors"]
    assert errors["timeouts"] - before["errors"]["timeouts"] == 2 * len(hanging)

    async def hung_up() -> bool:
        models = await cleared.sandbox.models()
        return all(
            models[name]["endings"].get("disconnected", 0) - known[name]["endings"].get("disconnected", 0)
            == len(hanging)
            for name in models
        )

    await eventually(hung_up)


async def test_when_most_answers_fail_health_is_503_and_the_service_still_takes_messages(cleared: Project) -> None:
    """Nobody is helped by a restart, or by a service that is not there to apologise."""
    window = (await report(cleared))["window"]
    too_many = window["calls"] - 2 * window["errors"] + 1
    await cleared.sandbox.fault("server-error")
    for _ in range(too_many):
        assert "failed" in (await answered(cleared, "hello")).text
    async with visiting(cleared) as http:
        health = await http.get("/health", headers=STRANGER)
        assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
        assert [(await http.get(path)).status_code for path in ("/livez", "/readyz", "/startupz")] == [200] * 3


async def test_a_rate_limit_that_the_fallback_saves_is_a_success_and_still_counted(cleared: Project) -> None:
    before = await report(cleared)
    await cleared.sandbox.fault("rate-limit", model="primary", times=1, retry_after_s=0.05)
    shown = await answered(cleared, "hello")
    after = await report(cleared)
    assert (await verdict_on(cleared, shown.message_id)).outcomes == 1
    assert "You wrote: “hello”." in shown.text
    assert after["errors"]["rateLimits"] - before["errors"]["rateLimits"] == 1
    manager, manager_before = after["agents"]["manager"], before["agents"]["manager"]
    assert manager["successCount"] - manager_before["successCount"] == 1
    assert manager["errorCount"] == manager_before["errorCount"]
    finished = logged(cleared, "turn.finished")[-1]["data"]
    assert (finished["outcome"], finished["model"]) == ("answered", "fallback")


async def test_an_answer_that_breaks_off_becomes_one_complete_answer_of_the_fallback(cleared: Project) -> None:
    whole = (await answered(cleared, "count to 60 slowly")).text
    before = await report(cleared)
    await cleared.sandbox.fault("cut", model="primary", times=1, after_tokens=60)
    shown = await answered(cleared, "count to 60 slowly")
    verdict = await verdict_on(cleared, shown.message_id)
    assert (verdict.outcomes, verdict.texts) == (1, (whole,))
    for seen in (await shown_now(cleared, shown.message_id)).replies[0].history:
        assert whole.startswith(seen.text.rstrip("…"))
    manager, manager_before = (await report(cleared))["agents"]["manager"], before["agents"]["manager"]
    assert manager["callCount"] - manager_before["callCount"] == 1
    finished = logged(cleared, "turn.finished")[-1]["data"]
    assert {used["model"] for used in finished["usage"]} == {"primary", "fallback"}


async def test_the_counts_agree_with_the_models_own(cleared: Project) -> None:
    """Every failed call that the models know of is one error here, no more and no less."""
    before, known = await report(cleared), await cleared.sandbox.models()
    for fault in ("server-error", "overloaded"):
        await cleared.sandbox.fault(fault, model="primary", times=1)
    for _ in range(3):
        await answered(cleared, "hello")
    models, after = await cleared.sandbox.models(), await report(cleared)
    asked = sum(models[name]["total"] - known[name]["total"] for name in models)
    faulted = sum(sum(models[name]["faults"].values()) - sum(known[name]["faults"].values()) for name in models)
    assert (asked, faulted) == (5, 2)
    assert after["errors"]["total"] - before["errors"]["total"] == faulted
    manager, manager_before = after["agents"]["manager"], before["agents"]["manager"]
    assert manager["callCount"] - manager_before["callCount"] == asked - faulted
