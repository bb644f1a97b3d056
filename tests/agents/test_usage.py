"""What a turn consumed: exact where the provider said it, estimated where it did not get to, and never nothing."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal

import pytest

from mainstay.agents.model import AgentSettings
from mainstay.messages import ModelUsage, Outcome
from mainstay.models.model import ModelSettings, Price
from mainstay.recovery.model import RecoverySettings
from mainstay.sandbox.provider.record import Call

pytestmark = pytest.mark.anyio

REFUSED = ["rate-limit", "quota", "auth", "forbidden", "server-error", "overloaded"]
BROKEN_OFF = ["stall", "cut", "truncate", "malformed", "error-after-200"]
LONG = "Please count to 50, and say what you think of it. " * 20
LONG_CHINESE = "请数到 50，再告诉我你对此的看法。" * 20


def price_of(usage: ModelUsage) -> Decimal:
    return Decimal(usage.input_tokens + 2 * usage.output_tokens) / 1_000_000


def without_streaming(bench) -> None:
    bench.changed = {name: replace(each, stream=False) for name, each in bench.models.items()}


def patient(bench, *models: str) -> None:
    """Only where a model says nothing at all something has to run out."""
    for name in models or bench.models:
        bench.changed[name] = replace(
            bench.models[name], first_token_timeout=20.0, idle_timeout=20.0, total_timeout=60.0
        )


@pytest.mark.parametrize("streams", [True, False])
async def test_what_the_provider_counted_is_exact(bench, streams: bool) -> None:
    patient(bench)
    if not streams:
        without_streaming(bench)
    _, final = await bench.ask(bench.responder(["fallback"]), "count to 3")
    call = await bench.fallback.ended(1)
    (usage,) = final.usage
    assert (usage.input_tokens, usage.output_tokens) == (call.prompt_tokens, call.tokens_sent)
    assert (usage.cost, usage.estimated) == (price_of(usage), False)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("fault", REFUSED)
async def test_what_was_refused_before_any_work_costs_nothing(bench, fault: str, streams: bool) -> None:
    patient(bench)
    if not streams:
        without_streaming(bench)
    bench.primary.faults.inject(fault)
    _, final = await bench.ask(bench.responder(), "count to 3")
    assert [usage.model for usage in final.usage] == ["fallback"]
    assert final.usage[0].estimated is False


async def test_what_could_not_be_reached_costs_nothing(bench) -> None:
    patient(bench)
    bench.changed["primary"] = replace(bench.models["primary"], base_url="http://127.0.0.1:1/v1")
    _, final = await bench.ask(bench.responder(), "count to 3")
    assert [usage.model for usage in final.usage] == ["fallback"]


@pytest.mark.parametrize("fault", BROKEN_OFF)
async def test_a_stream_that_broke_off_costs_what_the_other_attempt_s_request_did_and_what_came(
    bench, fault: str
) -> None:
    patient(bench, *(["fallback"] if fault == "stall" else []))
    bench.primary.faults.inject(fault, after_tokens=7)
    _, final = await bench.ask(bench.responder(), "count to 3")
    broken, whole = final.usage
    assert (broken.model, broken.estimated, whole.estimated) == ("primary", True, False)
    assert broken.input_tokens == whole.input_tokens == (await bench.primary.ended(1)).prompt_tokens
    assert 7 <= broken.output_tokens <= 14
    assert broken.cost == price_of(broken)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("fault", ["hang", "hang-first-token"])
async def test_a_hang_may_have_cost_the_request(bench, fault: str, streams: bool) -> None:
    patient(bench, "fallback")
    bench.changed["primary"] = replace(bench.models["primary"], stream=streams, total_timeout=0.5)
    bench.primary.faults.inject(fault)
    _, final = await bench.ask(bench.responder(), "count to 3")
    hung, whole = final.usage
    assert (hung.input_tokens, hung.output_tokens, hung.estimated) == (whole.input_tokens, 0, True)


@pytest.mark.parametrize("fault", ["cut", "malformed", "stall"])
async def test_an_answer_in_one_piece_that_was_lost_may_have_cost_the_request(bench, fault: str) -> None:
    patient(bench, *(["fallback"] if fault == "stall" else []))
    bench.changed["primary"] = replace(bench.models["primary"], stream=False)
    if fault == "stall":
        bench.changed["primary"] = replace(bench.models["primary"], total_timeout=0.5)
    bench.primary.faults.inject(fault)
    _, final = await bench.ask(bench.responder(), "count to 3")
    lost, whole = final.usage
    assert (lost.input_tokens, lost.output_tokens, lost.estimated) == (whole.input_tokens, 0, True)


async def test_each_attempt_at_one_model_is_counted(bench) -> None:
    patient(bench)
    bench.recovery = RecoverySettings(retries=2, retry_base=0.01)
    bench.primary.faults.inject("cut", times=1, after_tokens=4)
    _, final = await bench.ask(bench.responder(["primary"]), "count to 3")
    good = await bench.primary.ended(2)
    (usage,) = final.usage
    assert usage.input_tokens == 2 * good.prompt_tokens
    assert 4 <= usage.output_tokens - good.tokens_sent <= 8
    assert usage.estimated is True


@pytest.mark.parametrize("text", [LONG, LONG_CHINESE, "count to 5"])
async def test_with_nobody_else_s_count_the_estimate_is_of_the_right_order(bench, text: str) -> None:
    bench.primary.faults.inject("stall", after_tokens=20)
    agent = AgentSettings(
        instructions="You are a helpful colleague. Answer briefly, in the language of the question.",
        tools=("tests.agents.sample_tools:send_mail",),
    )
    _, final = await bench.ask(bench.responder(["primary"], manager=agent), text)
    assert final.outcome is Outcome.FAILED
    call = await bench.primary.ended(1)
    (usage,) = final.usage
    assert usage.estimated is True
    assert call.prompt_tokens / 2 <= usage.input_tokens <= 2 * call.prompt_tokens
    assert 20 <= usage.output_tokens <= 40


async def test_larger_pieces_than_a_token_are_seen_through_by_their_length(told) -> None:
    told.model.says("x" * 400)
    _, final = await told.ask("hello")
    (usage,) = final.usage
    assert (usage.output_tokens, usage.estimated) == (100, True)
    told.model.says("你好", "世界")
    _, final = await told.ask("hello")
    assert final.usage[0].output_tokens == 2


@pytest.mark.parametrize("count", [-1, 10_000_001, 10**30])
async def test_a_provider_that_counts_nonsense_is_not_believed(told, count: int) -> None:
    told.model.says("hello", prompt_tokens=count, completion_tokens=5)
    _, final = await told.ask("hello")
    (usage,) = final.usage
    assert usage.estimated is True
    assert 0 < usage.input_tokens < 100


async def test_a_model_without_a_price_has_no_cost_and_its_tokens_are_counted_all_the_same(told) -> None:
    free = ModelSettings(base_url="http://dictated/v1", model="m", price=Price(input=Decimal(0), output=Decimal(0)))
    for settings, cost in ((None, None), (free, Decimal(0))):
        told.model.says("hello", prompt_tokens=5, completion_tokens=2)
        _, final = await told.ask("hello", model=settings)
        assert final.usage == (ModelUsage(model="only", input_tokens=5, output_tokens=2, cost=cost),)


async def test_what_a_specialist_consumed_is_part_of_the_turn(bench) -> None:
    patient(bench)
    agents = {
        "manager": AgentSettings(models=("primary",), specialists=("okr",)),
        "okr": AgentSettings(models=("fallback",), description="objectives"),
    }
    bench.fallback.faults.inject("cut", times=1, after_tokens=3)
    _, final = await bench.ask(bench.responder(**agents), "hand over to okr please")
    calls = [await bench.primary.ended(number) for number in (1, 2)]
    by_model = {usage.model: usage for usage in final.usage}
    assert by_model["primary"].input_tokens == sum(call.prompt_tokens for call in calls)
    assert by_model["fallback"].estimated is True
    assert by_model["fallback"].output_tokens == 3


@pytest.mark.parametrize("fault", ["hang", "stall"])
async def test_an_answer_that_nobody_waits_for_any_more_is_in_the_ledger(bench, fault: str) -> None:
    bench.primary.faults.inject(fault, after_tokens=5)
    patient(bench)
    responder = bench.responder(["primary"])
    heard = 0

    async def listen() -> None:
        nonlocal heard
        async with aclosing(bench.begin(responder, "count to 3")) as events:
            async for _ in events:
                heard += 1

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        while bench.primary.record.total == 0 or (fault == "stall" and heard < 5):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        listening.cancel()
    call: Call = await bench.primary.ended(1)
    spent = bench.ledger.spent_by("primary")
    output = 5 if fault == "stall" else 0
    assert call.prompt_tokens / 2 <= spent * 1_000_000 - 2 * output <= 2 * call.prompt_tokens
