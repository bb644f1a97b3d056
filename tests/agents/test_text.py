"""What the person reads is what the provider sent, and nothing else."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.agents.history import load
from mainstay.errors import Category
from mainstay.events import AttemptFailed
from mainstay.messages import Outcome, TextAppended, TextReplaced, ToolStarted
from mainstay.models.model import ModelSettings
from mainstay.testing.turns import StepsInMemory, shown

pytestmark = pytest.mark.anyio

PIECES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=12)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PIECES)
async def test_the_final_text_is_what_the_provider_sent(told, pieces: list[str]) -> None:
    sent = "".join(pieces)
    told.model.says(*pieces)
    events, final = await told.ask("hi")
    if sent.strip() and "<think>" not in sent:
        assert final.outcome is Outcome.ANSWERED
        assert final.text == shown(events) == sent
        (_, answer) = load(final.record)
        assert "".join(part.content for part in answer.parts) == sent
    else:
        assert (final.outcome, final.category) == (Outcome.FAILED, Category.MALFORMED)


async def test_halves_of_a_character_are_joined_and_a_lone_one_is_no_reason_to_fail(told) -> None:
    told.model.says("a\ud83d", "\ude00b", "\ude00", "c\ud83d")
    events, final = await told.ask("hi")
    assert final.text == shown(events) == "a\U0001f600b\ufffdc\ufffd"
    (_, answer) = load(final.record)
    assert "".join(part.content for part in answer.parts) == final.text


async def test_thoughts_are_neither_shown_nor_remembered(told) -> None:
    told.model.says("<th", "ink>I should", " greet</thin", "k>\n\n", "Hello", " Ada")
    events, final = await told.ask("hi")
    assert final.text == shown(events) == "Hello Ada"
    assert b"greet" not in final.record


async def test_a_tag_that_is_a_piece_of_its_own_hides_no_more_than_the_thought(told) -> None:
    told.model.says("<think>", "I should greet</thin", "k>", "Hello")
    _, final = await told.ask("hi")
    assert final.text == "Hello"


async def test_white_space_at_the_beginning_is_kept_whatever_the_model(told) -> None:
    told.model.says("\n", "  one\n", "two")
    _, final = await told.ask("hi", model=ModelSettings(base_url="http://dictated/v1", model="qwen/qwen3-8b"))
    assert final.text == "\n  one\ntwo"


async def test_an_answer_of_thoughts_only_is_no_answer(told) -> None:
    told.model.says("<think>I should greet")
    _, final = await told.ask("hi")
    assert (final.outcome, final.category, final.text) == (Outcome.FAILED, Category.MALFORMED, "")


async def test_an_empty_answer_is_a_failure(told) -> None:
    told.model.says()
    _, final = await told.ask("hi")
    assert (final.outcome, final.category) == (Outcome.FAILED, Category.MALFORMED)
    assert [event.message for event in told.heard if isinstance(event, AttemptFailed)] == ["the answer is empty"]


async def test_an_answer_cut_by_length_is_an_answer_with_a_notice(told) -> None:
    told.model.says("a long", " story", finish="length")
    _, final = await told.ask("说个故事")
    assert (final.outcome, final.text) == (Outcome.ANSWERED, "a long story")
    assert final.notice == "回答达到长度上限，已被截断。"


async def test_a_filtered_answer_is_a_failure_that_says_so(told) -> None:
    told.model.says("half of", finish="content_filter")
    _, final = await told.ask("hi")
    assert (final.outcome, final.category) == (Outcome.FAILED, Category.CONTENT_FILTER)
    assert "content filter" in final.notice


async def test_talk_before_a_tool_call_gives_way_to_the_answer(told) -> None:
    told.model.calls(("1", "remember", '{"note": "x"}'), text="Let me note that.")
    told.model.says("No", "ted.")
    events, final = await told.ask("hi", person_memory=True)
    assert final.text == shown(events) == "Noted."
    texts = [event for event in events if isinstance(event, TextAppended | TextReplaced | ToolStarted)]
    assert texts == [
        TextAppended("Let me note that."),
        ToolStarted(call_id="1", tool="remember"),
        TextReplaced("No"),
        TextAppended("ted."),
    ]


async def test_an_endpoint_that_never_sends_a_reason_can_be_allowed(told) -> None:
    lax = ModelSettings(base_url="http://dictated/v1", model="m", requires_finish_reason=False)
    told.model.says("fine", finish=None)
    _, final = await told.ask("hi", model=lax)
    assert (final.outcome, final.text) == (Outcome.ANSWERED, "fine")
    told.model.says("cut", finish=None)
    _, final = await told.ask("hi")
    assert (final.outcome, final.category) == (Outcome.FAILED, Category.MALFORMED)


async def test_a_tool_that_does_not_exist_is_an_error_for_the_model(told) -> None:
    told.model.calls(("1", "nothing", "{}"))
    told.model.says("Sorry.")
    steps = StepsInMemory()
    _, final = await told.ask("hi", steps=steps)
    assert (final.text, steps.written) == ("Sorry.", {})
    assert told.model.asked[1]["messages"][-1]["content"] == '{"error":"There is no tool named nothing now."}'


@pytest.mark.parametrize("arguments", ["{", "[1]", '"x"'])
async def test_arguments_that_are_no_object_are_an_error_for_the_model(told, arguments: str) -> None:
    told.model.calls(("1", "remember", arguments))
    told.model.says("Sorry.")
    _, final = await told.ask("hi", person_memory=True)
    assert final.text == "Sorry."
    assert "not a JSON object" in told.model.asked[1]["messages"][-1]["content"]


async def test_calls_that_share_an_id_are_told_apart(told) -> None:
    told.model.calls(("call_0", "remember", '{"note": "a"}'))
    told.model.calls(("call_0", "remember", '{"note": "b"}'))
    told.model.says("Done.")
    steps = StepsInMemory()
    await told.ask("hi", steps=steps, person_memory=True)
    assert [*steps.written] == ["call_0", "call_0-2"]
    ids = [message["tool_call_id"] for message in told.model.asked[2]["messages"] if message["role"] == "tool"]
    assert ids == ["call_0", "call_0-2"]


async def test_a_model_that_calls_tools_for_ever_is_stopped(told) -> None:
    for number in range(3):
        told.model.calls((str(number), "remember", '{"note": "again"}'))
    _, final = await told.ask("hi", person_memory=True, max_steps=3)
    assert (final.outcome, final.category) == (Outcome.FAILED, Category.MALFORMED)
    assert len(told.model.asked) == 3


async def test_instructions_are_sent_and_not_remembered(told) -> None:
    told.model.says("Hello.")
    _, final = await told.ask("hi", instructions="Be kind.")
    assert told.model.asked[0]["messages"][0] == {"role": "system", "content": "Be kind."}
    assert "Be kind." not in json.dumps(json.loads(final.record))
