"""Every event has a line that people can grep for."""

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from mainstay import events
from mainstay.bus import Bus
from mainstay.errors import Category
from mainstay.logs.events import LINES, watch
from mainstay.messages import ModelUsage, Outcome


def finished(**changes: object) -> events.TurnFinished:
    usual: dict[str, object] = {
        "turn_id": "t1", "lane": "l", "agent": "manager", "answered_by": "manager", "model": "primary",
        "outcome": Outcome.ANSWERED, "category": None, "attempt": 1, "latency_s": 1.234,
        "usage": (ModelUsage(model="primary", input_tokens=1, output_tokens=2, cost=Decimal("0.1")),),
    }  # fmt: skip
    return events.TurnFinished(**usual | changes)  # type: ignore[arg-type]


def test_every_event_has_a_line() -> None:
    kinds = [
        value for value in vars(events).values() if isinstance(value, type) and issubclass(value, events.Event)
    ]
    assert set(LINES) == set(kinds) - {events.Event}


FAILED = finished(outcome=Outcome.FAILED, category=Category.TIMEOUT)
LIMITED = events.AttemptFailed(
    turn_id="t1", agent="manager", model="primary", category=Category.RATE_LIMIT, message="slow down"
)
PATIENT = replace(LIMITED, retry_after_s=2.0)
HANDED_OVER = events.HandOver(
    turn_id="t1", from_agent="manager", to_agent="okr", strategy="rule", score=0.6, reason="", alternatives=()
)
FULL = events.ErrorSeen(category=Category.DATABASE, message="full", where="inbox")
NOT_ASKED = "model primary is not asked, it might cost 1"
OVER = events.BudgetReached(
    turn_id="t1", scope="day", limit=Decimal(5), spent=Decimal("4.50"), under_way=Decimal(0), needed=Decimal(1),
    model="primary",
)  # fmt: skip
RUNS_SHORT = events.QuotaChanged(channel="feishu", state="stretched", used=8000, quota=10_000)
BY_OKR = finished(answered_by="okr", attempt=2)
CANCELLED = finished(outcome=Outcome.CANCELLED)
LEFT_ALONE = events.BreakerChanged(
    target="model:primary", state="open", cause="asked", open_s=30.0, category=Category.RATE_LIMIT,
    message="slow down",
)  # fmt: skip
TRIED = events.BreakerChanged(target="model:primary", state="half_open", cause="asked")
USED = events.BreakerChanged(target="model:primary", state="closed")


@pytest.mark.parametrize(
    ("event", "level", "expected"),
    [
        (finished(), "info", "Manager answered in 1.23 s, model primary"),
        (BY_OKR, "info", "Manager answered in 1.23 s, by Okr, model primary, attempt 2"),
        (FAILED, "error", "Error: Manager failed after 1.23 s: timeout"),
        (CANCELLED, "info", "Manager stopped after 1.23 s: the message was taken back"),
        (
            LEFT_ALONE,
            "warning",
            "model:primary is left alone for 30 s (asked) after Error rate_limit: slow down",
        ),
        (TRIED, "info", "model:primary is tried: one call is let through"),
        (USED, "info", "model:primary is used again"),
        (LIMITED, "warning", "Manager: Error rate_limit from model primary: slow down"),
        (
            PATIENT,
            "warning",
            "Manager: Error rate_limit from model primary: slow down (it asks to be left alone for 2 s)",
        ),
        (HANDED_OVER, "info", "Manager handed over to Okr (rule, 0.60)"),
        (OVER, "warning", "today's budget is reached: 4.5 of 5 USD spent; " + NOT_ASKED),
        (
            replace(OVER, scope="model", under_way=Decimal("0.25")),
            "warning",
            "today's budget of model primary is reached: 4.5 of 5 USD spent, 0.25 under way; " + NOT_ASKED,
        ),
        (
            replace(OVER, scope="chat", chat="feishu:b:c"),
            "warning",
            "today's budget of chat feishu:b:c is reached: 4.5 of 5 USD spent; " + NOT_ASKED,
        ),
        (
            RUNS_SHORT,
            "warning",
            "feishu: 8000 calls of 10000 are used this month; cards are updated less often",
        ),
        (
            replace(RUNS_SHORT, state="exhausted", used=7, quota=0),
            "error",
            "Error: feishu has no call left this month (7 calls of an unknown number were ours): "
            "nothing is streamed",
        ),
        (
            replace(RUNS_SHORT, state="normal", used=9000),
            "info",
            "feishu: there are calls again (9000 calls of 10000 are used this month)",
        ),
        (events.ServiceReady(startup_s=0.41), "info", "ready for messages after 0.41 s; Health is at /health"),
        (FULL, "error", "Error database in inbox: full"),
        (replace(FULL, logged=True), "debug", "Error database in inbox: full"),
        (
            events.ServiceFailing(reason="thread poller ended with OSError: gone"),
            "error",
            "Error: the service ends itself, it takes nothing more in: thread poller ended with OSError: gone",
        ),
    ],
)
def test_a_line_says_what_people_look_for(start, event: events.Event, level: str, expected: str) -> None:
    written = start()
    bus = Bus()
    watch(bus)
    bus.emit(event)
    [line] = written.json
    assert (line["level"], line["message"]) == (level, expected)
    assert line["event"] == event.name
    assert line.get("turn_id", "") == getattr(event, "turn_id", "")
    assert "turn_id" not in line["data"]


def test_what_a_person_wrote_into_an_error_can_not_forge_a_line(start) -> None:
    written = start("text")
    bus = Bus()
    watch(bus)
    bus.emit(events.WebhookRejected(channel="feishu", reason="bad\nERROR forged", status=401))
    assert len(written.text.splitlines()) == 1


def test_nothing_is_formatted_below_the_level(start) -> None:
    unprintable: Any = "formatting this as a number raises"
    bus = Bus()
    watch(bus)
    start(level="error")
    bus.emit(finished(latency_s=unprintable))
    assert bus.failures == {}
    start(level="info")
    bus.emit(finished(latency_s=unprintable))
    assert bus.failures == {"_write": 1}


def test_an_event_of_a_later_version_is_still_written(start) -> None:
    class Later(events.Event):
        name = "later.happened"

    written = start()
    bus = Bus()
    watch(bus)
    bus.emit(Later())
    assert written.json[0]["message"] == "later.happened"


def test_who_looks_on_reads_the_time_of_day_and_what_happened(start) -> None:
    written = start("auto", terminal=True)
    bus = Bus()
    watch(bus)
    bus.emit(finished())
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO  Manager answered in 1\.23 s, model primary \[turn t1\]\n", written.text
    )
