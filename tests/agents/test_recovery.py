"""What the person sees, and what the provider is spared, when models and specialists fail more than once."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from mainstay.agents.model import AgentSettings, MatchRule
from mainstay.agents.standing import Standing
from mainstay.bus import Bus
from mainstay.checks import Condition
from mainstay.errors import Category
from mainstay.events import AgentCalled, AttemptFailed, ModelHop
from mainstay.messages import Finished, HandedOver, ModelAsked, Outcome, Status
from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.model import BudgetSettings
from mainstay.models.model import ModelSettings
from mainstay.recovery.breaker.model import BreakerSettings, State
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.model import RecoverySettings
from mainstay.testing.clock import ManualClock
from mainstay.testing.turns import shown

pytestmark = pytest.mark.anyio

AGAIN = RecoverySettings(retry_base=0.01, retry_cap=0.02)
NO_JITTER = BreakerSettings(jitter=0.0001)
OKR = AgentSettings(models=("fallback",), match=(MatchRule(phrase="OKR"),))
PNL = AgentSettings(match=(MatchRule(phrase="PNL"),))
MANAGER = AgentSettings(models=("primary",), specialists=("okr", "pnl"))


@pytest.fixture
def clock(bench) -> ManualClock:
    """What time it is for the breakers."""
    clock = ManualClock()
    bench.breakers = Breakers(NO_JITTER, clock=clock)
    return clock


def told(events: list[object]) -> list[str]:
    return [event.text for event in events if isinstance(event, Status)]


@pytest.mark.parametrize("fault", ["refuse", "server-error", "overloaded", "cut", "truncate", "stall"])
async def test_an_only_model_that_fails_for_a_moment_is_asked_again_and_answers(bench, fault: str) -> None:
    bench.recovery = AGAIN
    bench.primary.faults.inject(fault, times=1, after_tokens=3)
    events, final = await bench.ask(bench.responder(["primary"]), "count to 3")
    assert (final.outcome, final.text) == (Outcome.ANSWERED, shown(events))
    assert final.text.endswith("1 2 3")
    assert bench.primary.record.total == 2
    (hop,) = final.hops
    assert (hop.from_model, hop.to_model) == ("primary", "primary")
    expected = ["The language model is busy; trying again in 1 s…", "The answer broke off; trying again…"]
    assert told(events) == expected[: 1 + bool(hop.shown_chars)]


async def test_what_would_fail_again_is_not_asked_again(bench) -> None:
    bench.recovery = AGAIN
    for fault in ("quota", "auth", "forbidden"):
        bench.primary.faults.inject(fault, times=1)
        bench.breakers = Breakers()
        _, final = await bench.ask(bench.responder(["primary"]), "count to 3")
        assert final.outcome is Outcome.FAILED
    assert bench.primary.record.total == 3


async def test_it_is_told_which_model_is_asked_before_anybody_knows_whether_it_answers(bench) -> None:
    bench.primary.faults.inject("server-error", times=1)
    events, _ = await bench.ask(bench.responder(), "count to 3")
    asked = [ModelAsked(agent="manager", model=name) for name in ("primary", "fallback")]
    assert events[:2] == asked
    assert [event for event in events if isinstance(event, ModelAsked)] == asked


async def test_a_short_rate_limit_is_waited_out_and_a_long_one_is_told(bench, clock: ManualClock) -> None:
    bench.recovery = replace(AGAIN, longest_wait=1.0)
    bench.primary.faults.inject("rate-limit", times=1, retry_after_s=0.05)
    responder = bench.responder(["primary"])
    _, final = await bench.ask(responder, "count to 3")
    assert final.outcome is Outcome.ANSWERED
    bench.primary.faults.inject("rate-limit", times=1, retry_after_s=30)
    _, final = await bench.ask(responder, "count to 3")
    assert (final.outcome, final.category) == (Outcome.FAILED, Category.RATE_LIMIT)
    assert final.notice == "The language model is busy right now. Please try again in about 30 seconds."


async def test_a_model_that_asked_to_be_left_alone_is_and_comes_back_by_one_probe(bench, clock) -> None:
    responder = bench.responder()
    bench.primary.faults.inject("rate-limit", times=1, retry_after_s=30)
    for _ in range(4):
        _, final = await bench.ask(responder, "count to 3")
        assert (final.outcome, final.model) == (Outcome.ANSWERED, "fallback")
        assert [hop.category for hop in final.hops] == [Category.RATE_LIMIT]
    assert bench.primary.record.total == 1
    assert len(bench.heard_of(AttemptFailed)) == 1
    assert len(bench.heard_of(ModelHop)) == 4
    clock.advance(30.01)
    questions = [bench.ask(responder, f"count to 3, {number}") for number in range(5)]
    finals = [final for _, final in await asyncio.gather(*questions)]
    assert sorted(final.model for final in finals) == ["fallback"] * 4 + ["primary"]
    _, final = await bench.ask(responder, "count to 3")
    assert (final.model, final.hops) == ("primary", ())


async def test_when_everything_is_down_each_person_is_told_and_the_providers_are_spared(bench, clock) -> None:
    bench.recovery = RecoverySettings(retries=0, longest_wait=0.001)
    bench.primary.faults.inject("server-error")
    bench.fallback.faults.inject("overloaded")
    responder = bench.responder()
    for _ in range(20):
        _, final = await bench.ask(responder, "hello")
        assert (final.outcome, final.text) == (Outcome.FAILED, "")
        assert "Please try again" in final.notice
    assert bench.primary.record.total == 5
    assert bench.fallback.record.total == 6  # five that opened it, and the one try of a last resort
    bench.primary.faults.clear()
    clock.advance(6)
    _, final = await bench.ask(responder, "hello")
    assert (final.outcome, final.model) == (Outcome.ANSWERED, "primary")


async def test_a_specialist_that_keeps_failing_is_left_alone_and_the_others_are_not(bench, clock) -> None:
    responder = bench.responder(["primary"], manager=MANAGER, okr=OKR, pnl=PNL)
    bench.fallback.faults.inject("truncate")
    for _ in range(5):
        _, final = await bench.ask(responder, "my OKR")
        assert (final.outcome, final.agent) == (Outcome.ANSWERED, "manager")
    bench.heard.clear()
    asked = bench.fallback.record.total
    events, final = await bench.ask(responder, "my OKR")
    assert (final.outcome, final.agent) == (Outcome.ANSWERED, "manager")
    assert told(events) == ["The specialist is not available; answering without it…"]
    assert bench.fallback.record.total == asked
    assert bench.heard_of(AgentCalled) == bench.heard_of(AttemptFailed) == []
    assert bench.primary.record.calls[-1].tools == ("hand_over_to_pnl",)
    _, general = await bench.ask(responder, "good morning")
    _, other = await bench.ask(responder, "the PNL please")
    assert (general.agent, other.agent) == ("manager", "pnl")
    bench.fallback.faults.clear()
    clock.advance(6)
    _, final = await bench.ask(responder, "my OKR")
    assert final.agent == "okr"


async def test_a_question_that_was_wrong_in_itself_is_no_failure_of_the_specialist(bench, clock) -> None:
    responder = bench.responder(["primary"], manager=MANAGER, okr=replace(OKR, models=("primary",)), pnl=PNL)
    breaker = bench.breakers.of("agent:okr")
    for _ in range(6):
        events = bench.begin(responder, "count to 50, my OKR")
        async with aclosing(events):
            await anext(events)
            await anext(events)
    assert breaker.snapshot().calls == 0
    _, final = await bench.ask(responder, "my OKR")
    assert final.agent == "okr"
    assert (breaker.state, breaker.snapshot().calls) == (State.CLOSED, 1)


@pytest.mark.parametrize(("tier", "model"), [("auto", "primary"), ("primary", "primary"), ("fallback", "fallback")])
async def test_a_tier_forces_its_part_of_the_chain(bench, tier: str, model: str) -> None:
    bench.tier = tier
    _, final = await bench.ask(bench.responder(), "count to 3")
    assert final.model == model
    getattr(bench, model).faults.inject("server-error")
    _, final = await bench.ask(bench.responder(), "count to 3")
    assert final.outcome is (Outcome.ANSWERED if tier == "auto" else Outcome.FAILED)


async def test_a_chain_of_one_model_answers_in_every_tier(bench) -> None:
    bench.tier = "fallback"
    _, final = await bench.ask(bench.responder(["primary"]), "count to 3")
    assert final.model == "primary"


async def test_a_cancelled_probe_gives_its_place_to_the_next(bench, clock) -> None:
    responder = bench.responder()
    bench.primary.faults.inject("rate-limit", times=1, retry_after_s=30)
    await bench.ask(responder, "count to 3")
    clock.advance(30.01)
    events = bench.begin(responder, "count to 50")
    async with aclosing(events):
        await anext(events)
    _, final = await bench.ask(responder, "count to 3")
    assert final.model == "primary"


async def test_a_hand_over_that_is_cut_off_gives_the_specialist_s_probe_to_the_next(bench, clock) -> None:
    responder = bench.responder(["primary"], manager=MANAGER, okr=OKR, pnl=PNL)
    bench.breakers.by_target["agent:okr"].open_for(5)
    clock.advance(5.01)
    async with aclosing(bench.begin(responder, "my OKR")) as events:
        assert isinstance(await anext(events), HandedOver)
    _, final = await bench.ask(responder, "my OKR")
    assert final.agent == "okr"


async def test_while_somebody_tries_a_specialist_nobody_else_asks_the_manager_for_it_twice(bench, clock) -> None:
    responder = bench.responder(["primary"], manager=MANAGER, okr=OKR, pnl=PNL)
    specialist = bench.breakers.by_target["agent:okr"]
    specialist.open_for(5)
    clock.advance(5.01)
    with specialist.permit():
        _, final = await bench.ask(responder, "hand_over_to_okr then hand_over_to_okr then hand_over_to_okr")
    assert (final.outcome, final.agent, bench.primary.record.total) == (Outcome.ANSWERED, "manager", 2)


async def test_one_chat_can_not_take_every_place_and_who_is_too_many_is_told_at_once(bench) -> None:
    bench.recovery = RecoverySettings(retries=0, chat_places=1, chat_line=0)
    bench.primary.faults.inject("hang", times=1)
    responder = bench.responder()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(bench.ask(responder, "count to 3"))
        while bench.primary.record.total == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        _, second = await bench.ask(responder, "and to 4")
        _, elsewhere = await bench.ask(responder, "hello", chat="another")
    assert (second.outcome, second.category) == (Outcome.FAILED, Category.OVERLOADED)
    assert second.notice.startswith("Too many questions are being answered here right now.")
    assert elsewhere.outcome is Outcome.ANSWERED
    assert first.result()[1].outcome is Outcome.ANSWERED
    _, later = await bench.ask(responder, "and now?")
    assert later.outcome is Outcome.ANSWERED


async def test_a_model_without_a_free_place_is_passed_over(bench) -> None:
    bench.limits = {"max_concurrent": 1, "max_waiting": 0}
    bench.primary.faults.inject("hang-first-token", times=1)
    responder = bench.responder()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(bench.ask(responder, "count to 3"))
        while bench.primary.record.total == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        _, second = await bench.ask(responder, "and to 4")
    assert (second.outcome, second.model) == (Outcome.ANSWERED, "fallback")


FAULTS = {
    "rate-limit": Category.RATE_LIMIT,
    "quota": Category.QUOTA_EXHAUSTED,
    "auth": Category.AUTH,
    "server-error": Category.SERVER_ERROR,
    "overloaded": Category.OVERLOADED,
    "refuse": Category.CONNECTION,
    "hang": Category.TIMEOUT,
    "stall": Category.TIMEOUT,
    "cut": Category.CONNECTION,
    "truncate": Category.MALFORMED,
    "malformed": Category.MALFORMED,
    "error-after-200": Category.SERVER_ERROR,
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_endpoint_that_does_not_stream_is_guarded_just_the_same(bench, fault: str) -> None:
    bench.limits = {"stream": False, "total_timeout": 0.6, "first_token_timeout": 0.5}
    bench.primary.faults.inject(fault, after_tokens=3)
    events, final = await bench.ask(bench.responder(), "count to 3")
    assert (final.outcome, final.model) == (Outcome.ANSWERED, "fallback")
    assert final.text == shown(events)
    assert [hop.category for hop in final.hops] == [FAULTS[fault]]
    assert not bench.fallback.record.calls[0].stream


def conditions(bench, **agents: AgentSettings) -> dict[str, Condition]:
    ledger = Ledger(BudgetSettings(), bench.models, bus=bench.bus, clock=ManualClock())
    standing = Standing(
        bench.models, agents, root="manager", tier=bench.tier, breakers=bench.breakers, ledger=ledger
    )
    return {condition.name: condition for condition in (check() for check in standing.checks())}


BOTH = AgentSettings(models=("primary", "fallback"))
ONE = AgentSettings(models=("primary",))


@pytest.mark.parametrize(
    ("fault", "agent", "status"),
    [
        ("server-error", BOTH, "degraded"),
        ("server-error", ONE, "down"),
        ("rate-limit", BOTH, "degraded"),
        ("rate-limit", ONE, "degraded"),
        ("quota", ONE, "down"),
    ],
)
async def test_health_follows_an_open_breaker_as_far_as_people_feel_it(
    bench, clock, fault: str, agent: AgentSettings, status: str
) -> None:
    before = conditions(bench, manager=agent)["model:primary"]
    assert (before.status, before.affects_status) == ("ok", False)
    bench.primary.faults.inject(fault, retry_after_s=30)
    responder = bench.responder(agent.models)
    for _ in range(5):
        await bench.ask(responder, "hello")
    model = conditions(bench, manager=agent)["model:primary"]
    assert (model.status, model.affects_status, model.detail["breaker"]) == (status, True, "open")
    assert model.reason.startswith("model primary is left alone for ")
    clock.advance(601)
    later = conditions(bench, manager=agent)["model:primary"]
    assert (later.affects_status, later.detail["breaker"]) == (False, "half_open")


async def test_a_forced_tier_is_named_among_the_reasons_and_moves_no_status(bench) -> None:
    bench.tier = "fallback"
    model = conditions(bench, manager=BOTH)["model:primary"]
    assert (model.status, model.affects_status) == ("ok", True)
    assert model.reason == "not asked: the tier fallback is forced (AI_MODEL_TIER)"


async def test_a_specialist_that_is_left_alone_degrades_the_service(bench, clock) -> None:
    responder = bench.responder(["primary"], manager=MANAGER, okr=OKR, pnl=PNL)
    bench.fallback.faults.inject("truncate")
    for _ in range(5):
        await bench.ask(responder, "my OKR")
    known = conditions(bench, manager=MANAGER, okr=OKR, pnl=PNL)
    assert (known["agent:okr"].status, known["agent:okr"].affects_status) == ("degraded", True)
    assert known["agent:pnl"] == Condition(
        name="agent:pnl",
        required=False,
        detail={"breaker": "closed", "openSeconds": 0.0, "opened": 0, "refused": 0},
    )


def test_two_names_of_one_model_share_one_breaker() -> None:
    breakers = Breakers()
    same = {"base_url": "http://a/v1", "model": "m"}
    models = {"a": ModelSettings(**same), "b": ModelSettings(**same), "c": ModelSettings(**same | {"model": "n"})}
    ledger = Ledger(BudgetSettings(), models, bus=Bus(), clock=ManualClock())
    Standing(models, {"manager": ONE}, root="manager", tier="auto", breakers=breakers, ledger=ledger)
    by_target = breakers.by_target
    assert by_target["model:a"] is by_target["model:b"]
    assert by_target["model:a"] is not by_target["model:c"]


async def test_the_finished_event_comes_once_whatever_was_tried(bench) -> None:
    bench.recovery = AGAIN
    bench.primary.faults.inject("cut", after_tokens=2)
    bench.fallback.faults.inject("truncate", after_tokens=2)
    events, final = await bench.ask(bench.responder(), "count to 3")
    assert sum(isinstance(event, Finished) for event in events) == 1
    assert final.text == shown(events) != ""
    assert final.outcome is Outcome.FAILED
