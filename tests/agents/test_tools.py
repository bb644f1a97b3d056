"""Tools run once, whatever happens around them."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from mainstay.agents.history import INTERRUPTED, load
from mainstay.agents.model import AgentSettings, MatchRule
from mainstay.agents.tools import load_tool
from mainstay.errors import Category, ConfigError, StorageUnavailable
from mainstay.events import ToolRan
from mainstay.messages import Outcome, Step, TextAppended, ToolFinished, ToolStarted
from mainstay.testing.clock import ManualClock
from mainstay.testing.turns import StepsInMemory

pytestmark = pytest.mark.anyio


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the sample tools did."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import sample_tools

    sample_tools.RAN.clear()
    yield sample_tools.RAN
    del sys.modules["sample_tools"]


def tools(*names: str, **settings: object) -> AgentSettings:
    return AgentSettings(tools=tuple(f"sample_tools:{name}" for name in names), **settings)


SEND_MAIL = ("sample_tools:send_mail",)
MAIL = 'call send_mail {"to": "ada", "subject": "tea"}'


async def test_a_tool_s_result_becomes_part_of_the_answer(bench, ran) -> None:
    steps = StepsInMemory()
    events, final = await bench.ask(bench.responder(manager=tools("send_mail")), MAIL, steps=steps)
    assert ran == ["mail ada"]
    assert "The tool send_mail returned: sent to ada: tea" in final.text
    started, finished = [event for event in events if isinstance(event, ToolStarted | ToolFinished)]
    assert started == ToolStarted(call_id=finished.call_id, tool="send_mail")
    assert finished.ok
    (step,) = steps.written.values()
    assert (step.agent, step.tool, step.effects, step.state) == ("manager", "send_mail", True, "finished")
    assert step.arguments == '{"to":"ada","subject":"tea"}'
    assert step.result == "sent to ada: tea"
    assert [(event.tool, event.success) for event in bench.heard_of(ToolRan)] == [("send_mail", True)]


async def test_the_model_is_told_what_the_function_says(ran) -> None:
    tool = load_tool("sample_tools:send_mail", "here")
    assert tool.definition.description == "Send a mail."
    schema = tool.definition.parameters_json_schema
    assert schema["properties"]["to"] == {"type": "string", "description": "Whom."}
    assert schema["required"] == ["to"]
    assert (tool.effects, load_tool("sample_tools:weather", "here").effects) == (True, False)


async def test_a_tool_that_returns_data_is_told_as_json(bench, ran) -> None:
    _, final = await bench.ask(bench.responder(manager=tools("weather")), 'call weather {"city": "Hangzhou"}')
    assert '{"city":"Hangzhou","degrees":21}' in final.text


async def test_a_tool_that_fails_is_an_error_for_the_model_and_not_for_the_person(bench, ran) -> None:
    steps = StepsInMemory()
    _, final = await bench.ask(bench.responder(manager=tools("broken")), 'call broken {"why": "x"}', steps=steps)
    assert final.outcome is Outcome.ANSWERED
    assert "The tool failed: ConnectionError: x: password=***" in final.text
    assert [step.state for step in steps.written.values()] == ["failed"]
    assert [event.success for event in bench.heard_of(ToolRan)] == [False]


@pytest.mark.parametrize(
    ("calls", "said"),
    [
        ('call endless {"what": "c"}', "Input should be 'a' or 'b'"),
        ('call endless {"what": "a"}', "did not finish within 0.05 seconds. It may still take effect"),
        ("call slow", "did not finish within 0.05 seconds"),
    ],
)
async def test_wrong_arguments_and_lost_time_are_told_to_the_model(bench, ran, calls: str, said: str) -> None:
    manager = tools("endless", "slow", tool_timeout=0.05)
    _, final = await bench.ask(bench.responder(manager=manager), calls)
    assert said in final.text
    assert ran in ([], ["endless a", "ended"])


@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("first_of_none", "StopIteration"),
        ("leaves", "SystemExit: 3"),
        ("leaves_at_once", "SystemExit: 3"),
        ("gives_up", "CancelledError"),
    ],
)
async def test_what_would_end_more_than_the_tool_is_told_to_the_model(bench, ran, name: str, raised: str) -> None:
    _, final = await bench.ask(bench.responder(manager=tools(name)), f"call {name}")
    assert f"The tool failed: {raised}" in final.text
    assert final.outcome is Outcome.ANSWERED


@pytest.mark.parametrize(
    ("name", "said"),
    [("half_a_character", "made \N{REPLACEMENT CHARACTER}"), ("huge_number", f"{{'made': {2**70}}}")],
)
async def test_a_result_that_can_not_be_stored_or_told_as_it_is_does_not_look_like_a_failure(
    bench, ran, name: str, said: str
) -> None:
    steps = StepsInMemory()
    _, final = await bench.ask(bench.responder(manager=tools(name)), f"call {name}", steps=steps)
    assert [(step.state, step.result) for step in steps.written.values()] == [("finished", said)]
    assert said in final.text


async def test_no_tool_begins_after_the_deadline(told, ran) -> None:
    class Slow(StepsInMemory):
        async def record(self, step_id: str, result: str, *, ok: bool) -> None:
            await super().record(step_id, result, ok=ok)
            late.advance(31)

    late, steps = ManualClock(), Slow()
    told.model.calls(("a", "send_mail", '{"to": "ada"}'), ("b", "send_mail", '{"to": "bob"}'))
    _, final = await told.ask("x", steps=steps, clock=late, tools=SEND_MAIL)
    assert (ran, list(steps.written), final.category) == (["mail ada"], ["a"], Category.TIMEOUT)


async def test_a_call_that_was_heard_before_a_crash_keeps_its_name_for_itself(told, ran) -> None:
    steps = StepsInMemory()
    told.model.calls(("1", "send_mail", '{"to": "ada"}'), ("2", "send_mail", '{"to": "bob"}'))
    async with aclosing(told.begin("x", steps=steps, tools=SEND_MAIL)) as events:
        async for event in events:
            if isinstance(event, ToolFinished):
                break
    told.model.calls(("1", "send_mail", '{"to": "cyd"}'), ("2", "send_mail", '{"to": "dee"}'))
    told.model.says("done")
    steps = steps.after_a_crash()
    _, final = await told.ask("x", steps=steps, tools=SEND_MAIL)
    assert final.text == "done"
    assert ran == ["mail ada", "mail bob", "mail cyd", "mail dee"]
    assert [step.step_id for step in steps.after_a_crash().recorded] == ["1", "2", "1-2", "2-2"]


async def test_cancelling_reaches_the_tool_that_runs(bench, ran) -> None:
    events = bench.begin(bench.responder(manager=tools("endless")), 'call endless {"what": "a"}')

    async def listen() -> None:
        async with aclosing(events):
            async for _ in events:
                pass

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        while not ran:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        listening.cancel()
    assert ran == ["endless a", "ended"]


async def test_a_tool_does_not_run_when_its_intent_can_not_be_stored(bench, ran) -> None:
    class Full(StepsInMemory):
        async def intend(self, step: Step) -> None:
            raise StorageUnavailable("the disk is full")

    with pytest.raises(StorageUnavailable):
        await bench.ask(bench.responder(manager=tools("send_mail")), MAIL, steps=Full())
    assert ran == []


class CrashesAfter(StepsInMemory):
    """The process dies right after this write."""

    async def intend(self, step: Step) -> None:
        await super().intend(step)
        raise KeyboardInterrupt


async def crashed(bench, responder, text: str) -> StepsInMemory:
    """The steps that are found after a crash between the intent and the tool."""
    steps = CrashesAfter()
    with pytest.raises(KeyboardInterrupt):
        await bench.ask(responder, text, steps=steps)
    return steps.after_a_crash()


async def test_an_action_that_may_have_happened_is_not_repeated_and_the_person_is_told(bench, ran) -> None:
    responder = bench.responder(manager=tools("send_mail"))
    steps = await crashed(bench, responder, MAIL)
    _, final = await bench.ask(responder, MAIL, steps=steps)
    assert ran == []
    assert final.outcome is Outcome.ANSWERED
    assert INTERRUPTED in final.text
    assert final.notice.startswith("An action was interrupted")
    assert steps.written == {}


async def test_an_action_that_only_reads_is_run_again(bench, ran) -> None:
    responder = bench.responder(manager=tools("weather"))
    text = 'call weather {"city": "Hangzhou"}'
    steps = await crashed(bench, responder, text)
    _, final = await bench.ask(responder, text, steps=steps)
    assert ran == ["weather Hangzhou"]
    assert (final.notice, [step.state for step in steps.written.values()]) == ("", ["finished"])


@pytest.mark.parametrize("stop_after", [ToolFinished, TextAppended])
async def test_an_action_that_has_happened_keeps_its_result_over_a_crash(bench, ran, stop_after: type) -> None:
    responder, steps = bench.responder(manager=tools("send_mail", "weather")), StepsInMemory()
    text = f'{MAIL} and weather {{"city": "Hangzhou"}}'
    events = bench.begin(responder, text, steps)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, stop_after):
                break
    _, final = await bench.ask(responder, text, steps=steps.after_a_crash())
    assert ran == ["mail ada", "weather Hangzhou"]
    assert "sent to ada: tea" in final.text
    assert "degrees" in final.text
    assert final.notice == ""


async def test_a_fallback_model_goes_on_with_the_results_of_the_tools(bench, ran) -> None:
    bench.primary.faults.inject("cut", times=1, after_tokens=0)
    responder = bench.responder(["fallback", "primary"], manager=tools("send_mail"))
    first = asyncio.Event()

    class CutsTheNext(StepsInMemory):
        async def record(self, step_id: str, result: str, *, ok: bool) -> None:
            await super().record(step_id, result, ok=ok)
            bench.fallback.faults.inject("cut", after_tokens=2)
            bench.primary.faults.clear()
            first.set()

    _, final = await bench.ask(responder, MAIL, steps=CutsTheNext())
    assert first.is_set()
    assert ran == ["mail ada"]
    assert (final.outcome, final.model) == (Outcome.ANSWERED, "primary")
    assert "sent to ada: tea" in final.text


async def test_a_specialist_goes_on_where_it_was(bench, ran) -> None:
    okr = tools("send_mail", match=(MatchRule(phrase="mail"), MatchRule(phrase="send_mail")))
    responder = bench.responder(manager=AgentSettings(specialists=("okr",)), okr=okr)
    steps = StepsInMemory()
    events = bench.begin(responder, MAIL, steps)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolFinished):
                break
    _, final = await bench.ask(responder, MAIL, steps=steps.after_a_crash())
    assert (final.agent, ran) == ("okr", ["mail ada"])


async def test_the_manager_does_not_answer_for_a_specialist_that_has_acted(bench, ran) -> None:
    okr = tools("send_mail", models=("fallback",), match=(MatchRule(phrase="send_mail"),))
    responder = bench.responder(["primary"], manager=AgentSettings(specialists=("okr",)), okr=okr)

    class ThenFails(StepsInMemory):
        async def record(self, step_id: str, result: str, *, ok: bool) -> None:
            await super().record(step_id, result, ok=ok)
            bench.fallback.faults.inject("overloaded")

    _, final = await bench.ask(responder, MAIL, steps=ThenFails())
    assert (final.outcome, final.agent, ran) == (Outcome.FAILED, "okr", ["mail ada"])
    assert final.notice.endswith("Some actions had been carried out already.")
    assert bench.primary.record.total == 0


async def test_the_manager_does_not_act_again_for_a_specialist_that_fails_after_a_crash(bench, ran) -> None:
    manager = tools("send_mail", models=("primary",), specialists=("okr",))
    responder = bench.responder(manager=manager, okr=tools("weather", models=("fallback",)))
    text = f'{MAIL} then hand_over_to_okr, weather {{"city": "Hangzhou"}}'
    steps = StepsInMemory()
    events = bench.begin(responder, text, steps)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ToolFinished) and event.tool == "weather":
                break
    bench.fallback.faults.inject("overloaded")
    _, final = await bench.ask(responder, text, steps=steps.after_a_crash())
    assert ran == ["mail ada", "weather Hangzhou"]
    assert (final.outcome, final.agent) == (Outcome.FAILED, "okr")
    assert final.notice.endswith("Some actions had been carried out already.")


async def test_a_checkpoint_that_can_not_be_read_ends_the_turn_rather_than_acting_twice(bench, ran) -> None:
    responder = bench.responder(manager=tools("send_mail"))
    lost = Step(
        step_id="1",
        agent="manager",
        tool="send_mail",
        arguments="{}",
        effects=True,
        checkpoint=b"?",
        state="finished",
    )
    _, final = await bench.ask(responder, MAIL, steps=StepsInMemory([lost]))
    assert (final.outcome, ran) == (Outcome.FAILED, [])
    assert load(final.record) is not None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("send_mail", 'write it like "package.module:function"'),
        ("sample_tools:nothing", "cannot be imported: AttributeError"),
        ("sample_tools:NOT_A_FUNCTION", "is a int, not a function"),
        ("math:sqrt", "can not be a tool"),
    ],
)
def test_what_can_be_no_tool_is_said_at_the_start(ran, spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_tool(spec, "agents.manager.tools")
