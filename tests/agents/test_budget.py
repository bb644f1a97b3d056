"""What may be spent is not overrun, by nobody silently, and only who may answer does."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from decimal import Decimal

import httpx2
import pytest
from tests.agents.conftest import CLOCK, Bench, chunk, message

from mainstay.agents.model import AgentSettings
from mainstay.agents.standing import Standing
from mainstay.checks import Condition
from mainstay.errors import Category
from mainstay.events import AttemptFailed, BudgetReached, ErrorSeen
from mainstay.messages import Finished, ModelAsked, ModelUsage, Outcome, Responder, TextReplaced
from mainstay.models.budget.model import BudgetSettings
from mainstay.models.model import ModelSettings, Price
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.breaker.registry import Breakers
from mainstay.testing.provider import AT_ONCE, served_provider
from mainstay.testing.turns import ask, collect, shown

pytestmark = pytest.mark.anyio

FREE = Price(input=Decimal(0), output=Decimal(0))
CHEAP = Price(input=Decimal("0.1"), output=Decimal("0.4"))
DEAR = Price(input=Decimal(1000), output=Decimal(1000))
ANSWER_OF_DEAR = Decimal("0.12")
"""Enough for the longest answer of the dear model to a short question, and not for that after another answer."""


@pytest.fixture
def priced(bench: Bench) -> Bench:
    """The primary model is dear, the fallback is cheap."""
    for name, price in (("primary", DEAR), ("fallback", CHEAP)):
        bench.changed[name] = replace(patient(bench.models[name]), price=price, max_output_tokens=100)
    return bench


def patient(model: ModelSettings) -> ModelSettings:
    """With limits that only a broken program reaches."""
    return replace(model, first_token_timeout=20.0, idle_timeout=20.0, total_timeout=60.0)


async def ask_in(responder: Responder, chat: str, text: str = "hi") -> Finished:
    _, final = await collect(ask(responder, replace(message(text), chat_id=chat), clock=CLOCK))
    return final


def condition(bench: Bench, name: str) -> Condition:
    agents = {"manager": AgentSettings(models=("primary", "fallback"))}
    standing = Standing(
        bench.models, agents, root="manager", tier="auto", breakers=bench.breakers, ledger=bench.ledger
    )
    return next(each for each in (check() for check in standing.checks()) if each.name == name)


async def test_when_a_model_has_used_up_its_budget_the_next_one_is_asked(priced: Bench) -> None:
    priced.changed["primary"] = replace(priced.models["primary"], budget_per_day=ANSWER_OF_DEAR)
    responder = priced.responder()
    _, first = await priced.ask(responder, "hi")
    _, second = await priced.ask(responder, "hi")
    assert [first.model, second.model] == ["primary", "fallback"]
    (hop,) = second.hops
    assert (hop.from_model, hop.category, hop.shown_chars) == ("primary", Category.QUOTA_EXHAUSTED, 0)
    assert (priced.primary.record.total, priced.heard_of(AttemptFailed)) == (1, [])
    (reached,) = priced.heard_of(BudgetReached)
    assert isinstance(reached, BudgetReached)
    spent = first.usage[0].cost
    assert (reached.scope, reached.model, reached.limit, reached.spent) == (
        "model",
        "primary",
        ANSWER_OF_DEAR,
        spent,
    )
    health = condition(priced, "model:primary")
    assert (health.status, health.affects_status, health.required) == ("degraded", True, False)
    assert health.reason == f"model primary is not asked: {spent.normalize():f} of today's 0.12 USD are spent"
    assert (health.detail["spentToday"], health.detail["budgetPerDay"]) == (f"{spent.normalize():f}", "0.12")
    assert condition(priced, "model:fallback").status == "ok"


async def test_what_is_left_of_the_day_goes_to_whoever_it_is_enough_for_whatever_the_order(priced: Bench) -> None:
    """The first has used up its own budget; the next in the chain is dearer than what the day has left."""
    priced.changed["first"] = replace(priced.model(priced.fallback), price=CHEAP, budget_per_day=Decimal(0))
    priced.budget = BudgetSettings(per_day=ANSWER_OF_DEAR / 2)
    _, final = await priced.ask(priced.responder(["first", "primary", "fallback"]), "hi")
    assert (final.outcome, final.model, priced.primary.record.total) == (Outcome.ANSWERED, "fallback", 0)
    told = [(event.scope, event.model) for event in priced.heard_of(BudgetReached)]  # type: ignore[attr-defined]
    assert told == [("model", "first"), ("day", "primary")]
    assert condition(priced, "budget").reason.endswith("not asked: primary")


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ("hi", "The budget for the language models is used up for now. The operator has to look at this."),
        ("你好", "语言模型的预算暂时用完了，需要管理员处理。"),
    ],
)
async def test_with_nobody_left_the_person_is_told_and_no_attempt_is_counted(
    priced: Bench, text: str, notice: str
) -> None:
    priced.budget = BudgetSettings(per_day=Decimal(0))
    responder = priced.responder()
    for _ in range(2):
        _, final = await priced.ask(responder, text)
        assert (final.outcome, final.category, final.notice) == (
            Outcome.FAILED,
            Category.QUOTA_EXHAUSTED,
            notice,
        )
        assert (final.usage, final.hops, final.text) == ((), (), "")
    assert (priced.primary.record.total, priced.fallback.record.total) == (0, 0)
    assert priced.heard_of(AttemptFailed) == priced.heard_of(ErrorSeen) == []
    assert len(priced.heard_of(BudgetReached)) == 1


async def test_a_real_failure_is_told_rather_than_the_budget_of_the_next_model(priced: Bench) -> None:
    priced.changed["fallback"] = replace(priced.models["fallback"], budget_per_day=Decimal(0))
    priced.primary.faults.inject("server-error")
    _, final = await priced.ask(priced.responder(), "hi")
    assert final.category is Category.SERVER_ERROR


async def test_what_is_free_is_asked_whatever_was_spent(priced: Bench) -> None:
    priced.changed["fallback"] = replace(priced.models["fallback"], price=FREE, budget_per_day=Decimal(0))
    priced.budget = BudgetSettings(per_day=Decimal(0), per_chat_per_day=Decimal(0))
    responder = priced.responder()
    for _ in range(3):
        _, final = await priced.ask(responder, "hi")
        assert (final.model, final.usage[0].cost) == ("fallback", 0)


async def test_one_chat_s_budget_is_not_another_s(priced: Bench) -> None:
    priced.budget = BudgetSettings(per_chat_per_day=ANSWER_OF_DEAR)
    responder = priced.responder(["primary"])
    outcomes = [(await ask_in(responder, chat)).outcome for chat in ("a", "a", "b")]
    assert outcomes == [Outcome.ANSWERED, Outcome.FAILED, Outcome.ANSWERED]
    (reached,) = priced.heard_of(BudgetReached)
    assert isinstance(reached, BudgetReached)
    assert (reached.scope, reached.chat) == ("chat", "console:bot:a")
    health = condition(priced, "budget")
    assert (health.status, health.reason) == ("ok", "today's budget of 1 chat is reached")


async def test_many_at_once_do_not_overrun_a_limit_together(priced: Bench) -> None:
    limit = Decimal(1)
    priced.budget = BudgetSettings(per_day=limit)
    responder = priced.responder(["primary"])
    finals = await asyncio.gather(*(ask_in(responder, f"chat {number}") for number in range(32)))
    answered = [final for final in finals if final.outcome is Outcome.ANSWERED]
    spent = sum((usage.cost for final in answered for usage in final.usage if usage.cost is not None), Decimal(0))
    assert 0 < len(answered) == priced.primary.record.total < 10
    assert spent <= limit
    assert priced.ledger.spent_by("primary") == spent
    assert {final.category for final in finals if final not in answered} == {Category.QUOTA_EXHAUSTED}
    assert priced.ledger.books.today(priced.ledger.today).under_way.of("day", "") == 0
    again = await ask_in(responder, "later")
    assert again.outcome is Outcome.ANSWERED, "what was only reserved is free again"


async def test_what_was_held_for_an_attempt_that_a_breaker_kept_from_being_made_is_free_again(
    priced: Bench,
) -> None:
    priced.budget = BudgetSettings(per_day=ANSWER_OF_DEAR)
    priced.breakers = Breakers(BreakerSettings(quota_open=600))
    responder = priced.responder()
    priced.primary.faults.inject("quota", times=1)
    for _ in range(3):
        _, final = await priced.ask(responder, "hi")
        assert final.model == "fallback"
    assert priced.primary.record.total == 1
    assert priced.heard_of(BudgetReached) == []
    assert priced.ledger.books.today(priced.ledger.today).under_way.of("day", "") == 0


@pytest.mark.parametrize(("fault", "outcome"), [("rate-limit", Outcome.ANSWERED), ("stall", Outcome.FAILED)])
async def test_what_is_held_for_an_attempt_that_cost_nothing_does_not_keep_the_next_one_from_being_made(
    priced: Bench, fault: str, outcome: Outcome
) -> None:
    """One that broke off may have cost as much as was held for it."""
    priced.changed["fallback"] = replace(priced.models["fallback"], price=DEAR)
    if fault == "stall":
        priced.changed["primary"] = replace(priced.models["primary"], idle_timeout=0.4)
    priced.budget = BudgetSettings(per_day=ANSWER_OF_DEAR)
    priced.primary.faults.inject(fault, after_tokens=3)
    _, final = await priced.ask(priced.responder(), "hi")
    assert final.outcome is outcome
    assert priced.ledger.books.today(priced.ledger.today).under_way.of("day", "") == 0


async def test_a_specialist_whose_model_may_not_be_asked_is_answered_for_by_the_manager(priced: Bench) -> None:
    priced.changed["primary"] = replace(priced.models["primary"], budget_per_day=Decimal(0))
    agents = {
        "manager": AgentSettings(models=("fallback",), specialists=("okr",)),
        "okr": AgentSettings(models=("primary",), description="objectives"),
    }
    _, final = await priced.ask(priced.responder(**agents), "hand over to okr please")
    assert (final.outcome, final.agent, final.model) == (Outcome.ANSWERED, "manager", "fallback")


OTHER = "vendor/gpt-dear"


@pytest.fixture
async def routed() -> AsyncGenerator[Bench, None]:
    """The primary endpoint answers with another model than was asked, and takes its time."""
    slowly = replace(AT_ONCE, tokens_per_second=20, answers_as=OTHER)
    async with (
        served_provider(settings=slowly) as primary,
        served_provider("fallback") as fallback,
        httpx2.AsyncClient() as http,
    ):
        bench = Bench(primary, fallback, http)
        bench.changed = {name: patient(each) for name, each in bench.models.items()}
        bench.bus.subscribe_all(bench.heard.append)
        yield bench


async def test_an_answer_by_a_model_that_was_not_asked_is_broken_off_at_once(routed: Bench) -> None:
    routed.budget = BudgetSettings(allow=("m",))
    events, final = await routed.ask(routed.responder(), "long answer")
    assert (final.outcome, final.model) == (Outcome.ANSWERED, "fallback")
    assert [hop.category for hop in final.hops] == [Category.PERMISSION]
    assert shown(events) == final.text
    assert not any(isinstance(event, TextReplaced) for event in events), "nothing of it was ever shown"
    (failed,) = routed.heard_of(AttemptFailed)
    assert isinstance(failed, AttemptFailed)
    assert (failed.category, failed.shown_chars) == (Category.PERMISSION, 0)
    assert failed.message == f"m was asked, {OTHER} answers, which budget.allow does not have"
    call = await routed.primary.ended(1)
    assert (call.ending, call.tokens_sent < 10) == ("disconnected", True)
    assert [(usage.model, usage.estimated) for usage in final.usage] == [("primary", True), ("fallback", False)]


async def test_with_nobody_else_the_person_is_told(routed: Bench) -> None:
    routed.budget = BudgetSettings(allow=("m",))
    events, final = await routed.ask(routed.responder(["primary"]), "count to 3")
    assert (final.outcome, final.category, final.text) == (Outcome.FAILED, Category.PERMISSION, "")
    assert events == [ModelAsked(agent="manager", model="primary"), final]


async def test_an_answer_in_one_piece_by_another_model_is_not_shown_and_is_paid_for(routed: Bench) -> None:
    routed.budget = BudgetSettings(allow=("m",))
    routed.changed["primary"] = replace(routed.models["primary"], stream=False)
    _, final = await routed.ask(routed.responder(), "hi")
    call = await routed.primary.ended(1)
    assert final.model == "fallback"
    assert final.usage[0] == ModelUsage(
        model="primary",
        input_tokens=call.prompt_tokens,
        output_tokens=call.tokens_sent,
        cost=Decimal(call.prompt_tokens + 2 * call.tokens_sent) / 1_000_000,
    )


@pytest.mark.parametrize("allow", [(), ("m", "vendor/*"), ("m", OTHER)])
async def test_without_a_list_and_with_one_that_has_it_another_model_may_answer(
    routed: Bench, allow: tuple[str, ...]
) -> None:
    routed.budget = BudgetSettings(allow=allow)
    _, final = await routed.ask(routed.responder(), "hi")
    assert (final.model, final.hops) == ("primary", ())


async def test_a_model_that_is_named_late_is_found_out_before_anything_is_shown(told) -> None:
    nameless, named = chunk({"content": "Hello"}), chunk({"content": "Hello"}) | {"model": OTHER}
    told.allow = ("m",)
    told.model.streams.append([nameless | {"model": ""}, named, chunk({}, "stop"), "[DONE]"])
    _, final = await told.ask("hi")
    assert final.category is Category.PERMISSION
    told.model.streams.append([chunk({"role": "assistant"}) | {"model": ""}, named, "[DONE]"])
    _, final = await told.ask("hi")
    assert (final.category, final.text) == (Category.PERMISSION, "")


async def test_a_model_that_is_no_part_of_a_chain_makes_no_budget_look_used_up(bench: Bench) -> None:
    bench.changed["spare"] = ModelSettings(price=DEAR, max_output_tokens=10**6)
    bench.budget = BudgetSettings(per_day=Decimal(1))
    bench.responder()
    assert condition(bench, "budget").status == "ok"
