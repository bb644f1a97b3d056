"""Each fault of a provider, against one model and against a chain."""

import asyncio
from contextlib import aclosing

import pytest
from tests.agents.conftest import chunk

from mainstay.errors import Category
from mainstay.events import AttemptFailed, ModelHop
from mainstay.messages import Finished, ModelAsked, Outcome, Status, TextAppended, TextReplaced
from mainstay.recovery.model import TRAITS
from mainstay.testing.turns import shown

pytestmark = pytest.mark.anyio

FAULTS = {
    "rate-limit": Category.RATE_LIMIT,
    "quota": Category.QUOTA_EXHAUSTED,
    "auth": Category.AUTH,
    "forbidden": Category.PERMISSION,
    "server-error": Category.SERVER_ERROR,
    "overloaded": Category.OVERLOADED,
    "refuse": Category.CONNECTION,
    "hang": Category.TIMEOUT,
    "hang-first-token": Category.TIMEOUT,
    "stall": Category.TIMEOUT,
    "cut": Category.CONNECTION,
    "truncate": Category.MALFORMED,
    "malformed": Category.MALFORMED,
    "error-after-200": Category.SERVER_ERROR,
}
AFTER_TEXT = {"stall", "cut", "truncate", "malformed", "error-after-200"}
TEXT = "I am the sandbox responder of Mainstay: a small program, not an AI. You wrote: “count to 3”. 1 2 3"


@pytest.mark.parametrize("fault", FAULTS)
async def test_without_a_fallback_the_person_is_told_and_keeps_what_was_shown(bench, fault: str) -> None:
    bench.primary.faults.inject(fault, after_tokens=3)
    events, final = await bench.ask(bench.responder(["primary"]), "count to 3")
    assert (final.outcome, final.category) == (Outcome.FAILED, FAULTS[fault])
    assert final.text == shown(events) == ("I am the" if fault in AFTER_TEXT else "")
    assert final.notice.endswith(".")
    assert "primary" not in final.notice
    (failed,) = bench.heard_of(AttemptFailed)
    assert (failed.agent, failed.model, failed.category) == ("manager", "primary", FAULTS[fault])
    assert failed.shown_chars == len(final.text)
    assert bench.heard_of(ModelHop) == []
    assert bench.primary.record.total == 1


@pytest.mark.parametrize("fault", FAULTS)
async def test_with_a_fallback_the_answer_is_whole_and_there_once(bench, fault: str) -> None:
    bench.primary.faults.inject(fault, after_tokens=3)
    events, final = await bench.ask(bench.responder(), "count to 3")
    assert (final.outcome, final.model, final.category, final.notice) == (Outcome.ANSWERED, "fallback", None, "")
    assert final.text == shown(events) == TEXT
    (hop,) = final.hops
    assert (hop.from_model, hop.to_model, hop.category) == ("primary", "fallback", FAULTS[fault])
    assert [event.category for event in bench.heard_of(ModelHop)] == [FAULTS[fault]]
    assert len(bench.heard_of(AttemptFailed)) == 1
    assert (bench.primary.record.total, bench.fallback.record.total) == (1, 1)
    told = [event for event in events if isinstance(event, Status)]
    replaced = [event for event in events if isinstance(event, TextReplaced)]
    assert (len(told), len(replaced)) == ((1, 1) if fault in AFTER_TEXT else (0, 0))


@pytest.mark.parametrize("fault", ["stall", "hang-first-token"])
async def test_comments_that_keep_a_stream_open_are_no_sign_of_life(bench, fault: str) -> None:
    bench.primary.faults.inject(fault, after_tokens=3, pings=True)
    _, final = await bench.ask(bench.responder(), "count to 3")
    assert [hop.category for hop in final.hops] == [Category.TIMEOUT]
    assert (await bench.primary.ended(1)).ending == "disconnected"


async def test_a_stream_that_says_done_without_a_reason_was_cut_off_all_the_same(bench) -> None:
    bench.primary.faults.inject("truncate", after_tokens=3, done=True)
    _, final = await bench.ask(bench.responder(), "count to 3")
    assert [hop.category for hop in final.hops] == [Category.MALFORMED]


async def test_when_every_model_breaks_off_the_longer_way_is_told(bench) -> None:
    bench.primary.faults.inject("cut", after_tokens=3)
    bench.fallback.faults.inject("rate-limit")
    events, final = await bench.ask(bench.responder(), "数到 3")
    assert (final.outcome, final.category) == (Outcome.FAILED, Category.RATE_LIMIT)
    assert final.text == shown(events) == "我是 Mainstay"
    assert final.notice == "语言模型当前繁忙。请稍后再试。"
    assert [event.model for event in bench.heard_of(AttemptFailed)] == ["primary", "fallback"]


async def test_the_turn_s_deadline_ends_the_last_attempt(bench) -> None:
    bench.primary.faults.inject("hang")
    bench.fallback.faults.inject("hang")
    _, final = await bench.ask(bench.responder(), "count to 3", timeout_s=0.6)
    assert (final.outcome, final.category) == (Outcome.FAILED, Category.TIMEOUT)
    assert bench.fallback.record.total == 0


@pytest.mark.parametrize(
    ("fault", "how"),
    [("hang", "cancel"), ("hang-first-token", "cancel"), ("stall", "cancel"), ("stall", "close")],
)
async def test_whoever_stops_listening_frees_the_provider_s_socket(bench, fault: str, how: str) -> None:
    bench.limits = {"first_token_timeout": 60.0, "idle_timeout": 60.0, "total_timeout": 60.0}
    bench.primary.faults.inject(fault, after_tokens=3)
    events = bench.begin(bench.responder(["primary"]), "count to 3", timeout_s=60.0)
    seen = []

    async def listen() -> None:
        async with aclosing(events):
            async for event in events:
                seen.append(event)
                if how == "close" and len(seen) == 4:
                    return

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        while bench.primary.record.total == 0 or (fault == "stall" and len(seen) < 4):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        listening.cancel()
    assert (await bench.primary.ended(1)).ending == "disconnected"
    assert bench.heard_of(AttemptFailed) == []
    assert not any(isinstance(event, Finished) for event in seen)
    assert all(isinstance(event, ModelAsked | TextAppended) for event in seen)


@pytest.mark.parametrize(
    ("line", "category"),
    [
        ('{"error": {"message": "boom"}}', Category.SERVER_ERROR),
        ('{"error": "boom"}', Category.SERVER_ERROR),
        ('{"error": {"message": "boom", "code": 1234}}', Category.SERVER_ERROR),
        ("null", Category.MALFORMED),
        ("[]", Category.MALFORMED),
    ],
)
async def test_what_nobody_foresaw_in_a_stream_is_the_provider_s_failure_and_no_bug(
    told, line: str, category: Category
) -> None:
    told.model.streams.append([chunk({"content": "half"}), line, "[DONE]"])
    _, final = await told.ask("hello")
    assert (final.outcome, final.category, final.text) == (Outcome.FAILED, category, "half")
    (failed,) = [event for event in told.heard if isinstance(event, AttemptFailed)]
    assert (failed.category, TRAITS[category].fallback) == (category, True)
