"""A running service spends what it may, remembers it over its own end, and tells what it did."""

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from tests.process.conftest import answered, eventually, logged, turn_of

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

PRICED = """
[models.primary]
provider = "sandbox"
price = { input = "1000", output = "1000" }
max_output_tokens = 100
budget_per_day = "0.5"

[models.fallback]
provider = "sandbox"
price = { input = "0", output = "0" }
"""


@pytest.fixture
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    brisk = SandboxSettings(tokens_per_second=500)
    async with project(tmp_path_factory.mktemp("budget"), PRICED, sandbox=brisk) as made:
        await made.start()
        yield made


def read(made: Project, query: str, *values: str) -> list[Any]:
    with closing(sqlite3.connect(made.directory / ".mainstay" / "mainstay.db")) as database:
        return database.execute(query, values).fetchall()


async def ask(made: Project, text: str = "hi") -> dict[str, Any]:
    """What the inbox knows about the outcome."""
    shown = await answered(made, text)
    rows: list[Any] = []

    async def known() -> bool:
        rows[:] = read(made, "select detail from inbox where turn_id = ?", turn_of(made, shown.message_id))
        return bool(rows and rows[0][0])

    await eventually(known)
    detail: dict[str, Any] = json.loads(rows[0][0])
    return detail


def picodollars(details: list[dict[str, Any]]) -> int:
    costs = [Decimal(used["cost"]) for detail in details for used in detail["usage"]]
    return int(sum(costs, Decimal(0)) * 10**12)


async def written(made: Project, expected: int) -> None:
    """Wait until the database holds exactly this."""

    async def holds() -> bool:
        return read(made, "select sum(picodollars) from model_spending")[0][0] == expected

    await eventually(holds)


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL"])
async def test_a_budget_outlives_the_service_and_is_told_to_be_reached(made: Project, end: str) -> None:
    details = [await ask(made)]
    while details[-1]["model"] == "primary":
        details.append(await ask(made))
    assert len(details) > 1
    assert details[-1]["hops"] == [{"from": "primary", "to": "fallback", "category": "quota_exhausted"}]
    spent = picodollars(details)
    assert spent <= 5 * 10**11
    await written(made, spent)
    asked = len((await made.sandbox.models())["primary"]["calls"])

    await (made.end() if end == "SIGTERM" else made.kill())
    await made.start()
    assert (await ask(made))["model"] == "fallback"
    assert len((await made.sandbox.models())["primary"]["calls"]) == asked == len(details) - 1
    told = logged(made, "budget.reached")
    assert [(line["level"], line["data"]["scope"], line["data"]["model"]) for line in told] == [
        ("warning", "model", "primary")
    ] * 2

    report: Any = await made.health()
    model = report["dependencies"]["model:primary"]
    dollars = f"{(Decimal(spent) / 10**12).normalize():f}"
    assert (model["detail"]["spentToday"], model["detail"]["budgetPerDay"]) == (dollars, "0.5")
    assert report["status"] == "degraded"
    assert f"model primary is not asked: {dollars} of today's 0.5 USD are spent" in report["reasons"]
    assert (report["errors"]["total"], report["agents"]["manager"]["errorCount"]) == (0, 0)


async def test_both_attempts_of_a_half_stream_are_billed(made: Project) -> None:
    await made.sandbox.fault("cut", model="primary", times=1, after_tokens=40)
    detail = await ask(made, "count to 50")
    (broken, whole) = detail["usage"]
    assert [(used["model"], used["estimated"]) for used in (broken, whole)] == [
        ("primary", True),
        ("fallback", False),
    ]
    assert broken["input_tokens"] == whole["input_tokens"]
    assert broken["output_tokens"] >= 40
    await written(made, picodollars([detail]))
    rows = read(
        made, "select model, input_tokens, output_tokens, attempts, estimated from model_spending order by 1"
    )
    assert rows == [
        ("fallback", whole["input_tokens"], whole["output_tokens"], 1, 0),
        ("primary", broken["input_tokens"], broken["output_tokens"], 1, 1),
    ]
