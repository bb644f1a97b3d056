"""What people see, and what the providers are spared, when models fail: from outside, over the running service."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from tests.process.conftest import (
    answered,
    end_of,
    eventually,
    logged,
    nobody,
    shown_now,
    turn_of,
    verdict_on,
    visiting,
)

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

CONFIGURATION = """
[models.primary]
provider = "sandbox"
stream = STREAM
first_token_timeout = "2s"
total_timeout = "4s"

[models.fallback]
provider = "sandbox"
stream = STREAM
first_token_timeout = "2s"
total_timeout = "4s"

[agents.manager]
models = CHAIN
specialists = ["okr"]

[agents.okr]
models = ["fallback"]
match = ["OKR"]

[recovery]
retries = 0
longest_wait = "100ms"

[breaker]
open_time = "3s"
"""


@pytest.fixture(params=["streaming", "not streaming"], scope="module")
async def module_project(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Project]:
    stream = "true" if request.param == "streaming" else "false"
    configuration = CONFIGURATION.replace("STREAM", stream).replace("CHAIN", '["primary", "fallback"]')
    fast = SandboxSettings(tokens_per_second=2000)
    async with project(tmp_path_factory.mktemp("recovery"), configuration, sandbox=fast) as made:
        yield made


@pytest.fixture
async def made(module_project: Project) -> AsyncIterator[Project]:
    """The service, freshly started on an empty database: no breaker remembers the test before."""
    await module_project.sandbox.clear()
    for each in (module_project.directory / ".mainstay").glob("mainstay.db*"):
        each.unlink()
    await module_project.start()
    yield module_project
    await module_project.kill()
    await module_project.sandbox.clear()


async def totals(made: Project) -> dict[str, int]:
    return {name: model["total"] for name, model in (await made.sandbox.models()).items()}


async def asked_since(made: Project, before: dict[str, int]) -> dict[str, int]:
    return {name: total - before[name] for name, total in (await totals(made)).items()}


async def answer(made: Project, text: str) -> tuple[str, dict[str, Any]]:
    """The one visible outcome of a message, and what the service says about it."""
    shown = await answered(made, text)
    verdict = await verdict_on(made, shown.message_id)
    assert (verdict.outcomes, verdict.unfinished) == (1, 0)
    turn = turn_of(made, shown.message_id)
    (line,) = [line for line in logged(made, "turn.finished") if line["turn_id"] == turn]
    return verdict.texts[0], line["data"]


async def test_a_rate_limited_model_is_left_alone_for_as_long_as_it_asked_by_every_process(made: Project) -> None:
    before = await totals(made)
    await made.sandbox.fault("rate-limit", model="primary", times=1, retry_after_s=30)
    text, finished = await answer(made, "hello")
    assert "You wrote: “hello”." in text
    assert (finished["outcome"], finished["model"]) == ("answered", "fallback")
    async with second_process(made):
        for _ in range(4):
            _, finished = await answer(made, "and again")
            assert finished["model"] == "fallback"
    await made.kill()
    await made.start()
    _, finished = await answer(made, "after a restart")
    assert finished["model"] == "fallback"
    assert (await asked_since(made, before))["primary"] == 1
    report = await made.health()
    assert report["status"] == "degraded"
    assert any("model primary is left alone" in reason for reason in report["reasons"])


class second_process:  # noqa: N801  reads as what it is: a with-block beside a second process
    """Another service on the same storage, which takes messages as well."""

    def __init__(self, made: Project) -> None:
        self._made = made

    async def __aenter__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with (self._made.directory / "service.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "mainstay",
                "serve",
                "--port",
                str(port),
                cwd=self._made.directory,
                stdout=log,
                stderr=log,
            )

        async def ready() -> bool:
            async with httpx2.AsyncClient(trust_env=False) as http:
                try:
                    return (await http.get(f"http://127.0.0.1:{port}/startupz")).status_code == 200
                except httpx2.HTTPError:
                    return False

        await eventually(ready)

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        await self._process.wait()


async def test_after_its_pause_one_call_finds_out_and_the_model_is_back(made: Project) -> None:
    await made.sandbox.fault("rate-limit", model="primary", times=1, retry_after_s=2)
    _, finished = await answer(made, "hello")
    assert finished["model"] == "fallback"
    before = await totals(made)

    async def back() -> bool:
        _, finished = await answer(made, "and now?")
        return bool(finished["model"] == "primary")

    await eventually(back)
    assert (await asked_since(made, before))["primary"] == 1
    _, finished = await answer(made, "still there?")
    assert finished["model"] == "primary"
    assert (await made.health())["status"] == "healthy"


async def test_a_half_answer_becomes_one_whole_answer_and_both_attempts_are_billed(made: Project) -> None:
    whole, _ = await answer(made, "count to 120")
    before = await made.health()
    await made.sandbox.fault("cut", model="primary", times=1, after_tokens=90)
    text, finished = await answer(made, "count to 120")
    assert text == whole
    assert [used["model"] for used in finished["usage"]] == ["primary", "fallback"]
    after = await made.health()
    assert after["agents"]["manager"]["callCount"] - before["agents"]["manager"]["callCount"] == 1
    assert after["errors"]["total"] - before["errors"]["total"] == 1


@pytest.mark.parametrize("fault", ["hang", "hang-first-token"])
async def test_a_model_that_hangs_is_hung_up_on_and_another_one_answers(made: Project, fault: str) -> None:
    await made.sandbox.fault(fault, model="primary", times=1, pings=True)
    _, finished = await answer(made, "hello")
    assert finished["model"] == "fallback"
    assert (await made.health())["errors"]["timeouts"] == 1

    async def hung_up() -> bool:
        calls = (await made.sandbox.models())["primary"]["calls"]
        return bool(calls[-1]["ending"] == "disconnected")

    await eventually(hung_up)


@pytest.mark.parametrize("fault", ["rate-limit", "server-error"])
async def test_when_everything_is_down_everybody_is_told_and_nobody_is_hammered(made: Project, fault: str) -> None:
    before, pid = await totals(made), made.pid
    await made.sandbox.fault(fault, retry_after_s=60)
    for _ in range(20):
        text, finished = await answer(made, "hello")
        assert finished["outcome"] == "failed"
        assert "Please try again" in text
    asked = await asked_since(made, before)
    # what opened the breakers, one try of a last resort, and a probe after each pause
    assert asked["primary"] <= 8
    assert asked["fallback"] <= 9
    async with visiting(made) as http:
        health = await http.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
        assert [(await http.get(path)).status_code for path in ("/livez", "/readyz")] == [200, 200]
    assert made.pid == pid


async def test_a_broken_specialist_is_left_alone_and_the_rest_is_not_touched(made: Project) -> None:
    await made.sandbox.fault("server-error", model="fallback")
    for _ in range(5):
        _, finished = await answer(made, "my OKR")
        assert (finished["outcome"], finished["answered_by"]) == ("answered", "manager")
    before = await totals(made)
    _, finished = await answer(made, "my OKR once more")
    assert (finished["answered_by"], finished["model"]) == ("manager", "primary")
    _, general = await answer(made, "good morning")
    assert general["answered_by"] == "manager"
    assert await asked_since(made, before) == {"primary": 2, "fallback": 0}
    report = await made.health()
    assert report["dependencies"]["agent:okr"]["detail"]["breaker"] == "open"
    assert any("agent okr is left alone" in reason for reason in report["reasons"])
    await made.sandbox.clear()

    async def back() -> bool:
        _, finished = await answer(made, "my OKR")
        return bool(finished["answered_by"] == "okr")

    await eventually(back)


async def test_a_message_that_is_taken_back_hangs_up_and_counts_as_nobody_s_failure(made: Project) -> None:
    await made.sandbox.fault("hang", model="primary", times=1)
    said = await made.sandbox.say("hello", sender=nobody())

    async def asked() -> bool:
        return (await made.sandbox.models())["primary"]["open"] == 1

    await eventually(asked)
    await made.sandbox.recall(said.message_id)
    await end_of(made, said.message_id)
    report = await made.health()
    assert (report["errors"]["total"], report["agents"]["manager"]["callCount"]) == (0, 0)
    assert (await shown_now(made, said.message_id)).final

    async def hung_up() -> bool:
        return (await made.sandbox.models())["primary"]["open"] == 0

    await eventually(hung_up)
