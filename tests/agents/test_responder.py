"""The Manager, its specialists, and what each of them is counted for."""

import asyncio
from datetime import UTC, datetime

import pytest

from mainstay.agents.model import AgentSettings, MatchRule
from mainstay.agents.responder import build
from mainstay.bus import Bus
from mainstay.clock import SystemClock
from mainstay.errors import Category, ConfigError
from mainstay.events import AgentCalled, AttemptFailed, HandOver
from mainstay.messages import Exchange, HandedOver, Outcome, Status
from mainstay.models.model import ModelSettings
from mainstay.testing.turns import NotebookInMemory, shown

pytestmark = pytest.mark.anyio

OKR = AgentSettings(match=(MatchRule(phrase="OKR"),), instructions="You know OKRs.", description="objectives")
MANAGER = AgentSettings(specialists=("okr",), instructions="You manage.")


def exchange(final, text: str) -> Exchange:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return Exchange(turn_id=text, user_text=text, answer_text=final.text, at=at, record=final.record)


async def test_the_manager_answers_and_counts_no_call_of_its_own(bench) -> None:
    events, final = await bench.ask(bench.responder(manager=MANAGER, okr=OKR), "good morning")
    assert (final.outcome, final.agent, final.model) == (Outcome.ANSWERED, "manager", "primary")
    assert shown(events) == final.text
    assert "My instructions begin: “You manage.”" in final.text
    assert bench.heard == []


async def test_the_rules_hand_over_before_any_model_is_asked(bench) -> None:
    events, final = await bench.ask(bench.responder(manager=MANAGER, okr=OKR), "review my OKR")
    told = HandedOver(from_agent="manager", to_agent="okr", strategy="rule", score=0.6, reason="OKR")
    assert events[0] == told
    assert final.agent == "okr"
    assert "“You know OKRs.”" in final.text
    assert bench.primary.record.total == 1
    (over,) = bench.heard_of(HandOver)
    assert (over.to_agent, over.strategy, over.score) == ("okr", "rule", 0.6)
    (called,) = bench.heard_of(AgentCalled)
    assert (called.agent, called.success) == ("okr", True)


async def test_the_manager_s_model_can_hand_over(bench) -> None:
    silent = AgentSettings(instructions="You know OKRs.", description="objectives")
    events, final = await bench.ask(bench.responder(manager=MANAGER, okr=silent), "please ask okr about it")
    assert [event.strategy for event in events if isinstance(event, HandedOver)] == ["model"]
    assert (final.outcome, final.agent) == (Outcome.ANSWERED, "okr")
    assert "“You know OKRs.”" in final.text
    assert "You wrote: “please ask okr about it”" in final.text
    assert [event.agent for event in bench.heard_of(AgentCalled)] == ["okr"]
    first, second = bench.primary.record.calls
    assert (first.tools, second.tools) == (("hand_over_to_okr",), ())
    assert [usage.model for usage in final.usage] == ["primary"]
    assert final.usage[0].input_tokens == first.prompt_tokens + second.prompt_tokens


@pytest.mark.parametrize("text", ["review my OKR", "please ask okr"])
async def test_the_manager_answers_for_a_specialist_that_failed(bench, text: str) -> None:
    okr = AgentSettings(models=("fallback",), match=(MatchRule(phrase="my OKR"),))
    bench.fallback.faults.inject("cut", after_tokens=3)
    events, final = await bench.ask(bench.responder(["primary"], manager=MANAGER, okr=okr), text)
    assert (final.outcome, final.agent, final.model) == (Outcome.ANSWERED, "manager", "primary")
    assert shown(events) == final.text
    assert [event.text for event in events if isinstance(event, Status)] == [
        "The specialist is not available; answering without it…"
    ]
    assert [(event.agent, event.success) for event in bench.heard_of(AgentCalled)] == [("okr", False)]
    assert [(event.agent, event.model) for event in bench.heard_of(AttemptFailed)] == [("okr", "fallback")]
    assert "hand_over_to_okr" not in bench.primary.record.calls[-1].tools


async def test_turns_at_the_same_time_do_not_mix(bench) -> None:
    responder = bench.responder(manager=MANAGER, okr=OKR)
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(bench.ask(responder, f"message {number}")) for number in range(8)]
    for number, task in enumerate(asking):
        events, final = task.result()
        assert f"You wrote: “message {number}”" in final.text
        assert shown(events) == final.text
        assert len(final.usage) == 1


async def test_a_manager_whose_models_have_all_just_failed_does_not_try_again(bench) -> None:
    bench.primary.faults.inject("rate-limit")
    bench.fallback.faults.inject("overloaded")
    _, final = await bench.ask(bench.responder(manager=MANAGER, okr=OKR), "review my OKR")
    assert (final.outcome, final.agent, final.category) == (Outcome.FAILED, "okr", Category.OVERLOADED)
    assert (bench.primary.record.total, bench.fallback.record.total) == (1, 1)


async def test_a_conversation_goes_on_from_the_recorded_messages(bench) -> None:
    responder = bench.responder(manager=MANAGER, okr=OKR)
    _, first = await bench.ask(responder, "my name is Ada")
    _, second = await bench.ask(responder, "review my OKR", history=[exchange(first, "my name is Ada")])
    assert "Before that you wrote: “my name is Ada”" in second.text
    assert bench.primary.record.calls[-1].messages == 4  # instructions, question, answer, question
    _, third = await bench.ask(
        responder, "and now?", history=[exchange(first, "my name is Ada"), exchange(second, "review my OKR")]
    )
    assert "Before that you wrote: “review my OKR”" in third.text


async def test_a_conversation_whose_record_is_lost_goes_on_from_its_texts(bench) -> None:
    old = Exchange(
        turn_id="1",
        user_text="my name is Ada",
        answer_text="Hello Ada",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        record=b"{",
    )
    _, final = await bench.ask(bench.responder(), "and now?", history=[old])
    assert "Before that you wrote: “my name is Ada”" in final.text


async def test_a_failed_turn_leaves_a_record_that_the_next_one_can_use(bench) -> None:
    bench.primary.faults.inject("cut", times=1, after_tokens=3)
    responder = bench.responder(["primary"])
    _, failed = await bench.ask(responder, "my name is Ada")
    _, final = await bench.ask(responder, "and now?", history=[exchange(failed, "my name is Ada")])
    assert "Before that you wrote: “my name is Ada”" in final.text
    assert bench.primary.record.calls[-1].messages == 3


async def test_what_is_known_about_the_person_is_told_to_the_model_and_can_grow(bench) -> None:
    manager = AgentSettings(instructions="Be kind.", person_memory=True)
    notebook = NotebookInMemory(["Likes tea."])
    _, final = await bench.ask(bench.responder(manager=manager), "hello", notebook=notebook)
    assert "Be kind. What you have remembered about this person: - Likes tea." in final.text
    await bench.ask(
        bench.responder(manager=manager), 'call remember {"note": "Lives in Hangzhou."}', notebook=notebook
    )
    assert notebook.notes == ["Likes tea.", "Lives in Hangzhou."]


async def test_without_person_memory_nothing_is_remembered(bench) -> None:
    _, final = await bench.ask(bench.responder(), "hello", notebook=NotebookInMemory(["Likes tea."]))
    assert "tea" not in final.text
    assert bench.primary.record.calls[0].tools == ()


@pytest.mark.parametrize(
    ("agents", "models", "said"),
    [
        ({}, {}, "agents: there is no agent named manager"),
        ({"manager": AgentSettings()}, {}, "agents.manager.models: is empty"),
        ({"manager": AgentSettings(models=("primry",))}, {"primary": ModelSettings()}, "did you mean primary"),
        (
            {"manager": AgentSettings(models=("a",), specialists=("okr",))},
            {"a": ModelSettings()},
            "there is no agent named okr",
        ),
        ({"manager": AgentSettings(models=("a",))}, {"a": ModelSettings()}, "models.a.base_url is missing"),
        (
            {"manager": AgentSettings(models=("a",), specialists=("目标",)), "目标": AgentSettings()},
            {"a": ModelSettings()},
            "目标 is no name for a specialist",
        ),
        (
            {"manager": AgentSettings(models=("a",), tools=("nowhere:tool",))},
            {"a": ModelSettings(base_url="http://127.0.0.1/v1", model="m")},
            "agents.manager.tools: nowhere:tool cannot be imported",
        ),
    ],
)
async def test_what_is_missing_is_said_before_anything_starts(bench, agents, models, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build(agents, models, bus=Bus(), clock=SystemClock(), http=bench.http)
