"""A conversation that was broken off does not poison the ones that follow."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from mainstay.agents.history import INTERRUPTED, dump, history_of, load, open_calls, repair, user_said
from mainstay.messages import Exchange


def called(*ids: str) -> ModelResponse:
    return ModelResponse(parts=[ToolCallPart("tool", "{}", call_id) for call_id in ids])


def returned(*ids: str, text: str = "") -> ModelRequest:
    results = [ToolReturnPart("tool", f"result of {call_id}", call_id) for call_id in ids]
    return ModelRequest(parts=[*results, *([UserPromptPart(text)] if text else [])])


def said(text: str) -> ModelResponse:
    return ModelResponse(parts=[TextPart(text)])


def shape(messages: list[ModelMessage]) -> list[list[str]]:
    return [
        [
            f"{part.tool_call_id}={part.content}"
            if isinstance(part, ToolReturnPart)
            else part.tool_call_id
            if isinstance(part, ToolCallPart)
            else str(part.content)
            for part in message.parts
        ]
        for message in messages
    ]


def test_a_whole_conversation_is_left_as_it_is() -> None:
    whole = [*user_said("hi"), called("1", "2"), returned("1", "2"), said("done")]
    assert repair(whole) == whole


@pytest.mark.parametrize(
    ("messages", "repaired"),
    [
        ([*user_said("hi"), called("1")], [["hi"], ["1"], [f"1={INTERRUPTED}"]]),
        (
            [*user_said("hi"), called("1", "2"), returned("2"), said("done")],
            [["hi"], ["1", "2"], ["2=result of 2", f"1={INTERRUPTED}"], ["done"]],
        ),
        (
            [*user_said("hi"), called("1"), *user_said("hello?"), said("yes")],
            [["hi"], ["1"], [f"1={INTERRUPTED}", "hello?"], ["yes"]],
        ),
        (
            [*user_said("hi"), called("1"), said("odd")],
            [["hi"], ["1"], [f"1={INTERRUPTED}"], ["odd"]],
        ),
        ([*user_said("hi"), returned("9"), said("done")], [["hi"], ["done"]]),
        ([*user_said("hi"), called("1"), returned("1", "1", text="x")], [["hi"], ["1"], ["1=result of 1", "x"]]),
        ([*user_said("hi"), ModelResponse(parts=[])], [["hi"]]),
        ([ModelRequest(parts=[], state="interrupted")], []),
    ],
)
def test_what_is_missing_is_filled_and_what_is_loose_is_dropped(
    messages: list[ModelMessage], repaired: list[list[str]]
) -> None:
    assert shape(repair(messages)) == repaired


MESSAGES = st.lists(
    st.one_of(
        st.lists(st.sampled_from("123"), min_size=1, max_size=3, unique=True).map(lambda ids: called(*ids)),
        st.lists(st.sampled_from("123"), max_size=3).map(lambda ids: returned(*ids)),
        st.sampled_from(["a", "b"]).map(lambda text: user_said(text)[0]),
        st.sampled_from(["a", "b"]).map(said),
    ),
    max_size=8,
)


@given(MESSAGES)
def test_after_repair_every_call_has_exactly_one_result_right_behind_it(messages: list[ModelMessage]) -> None:
    repaired = repair(messages)
    for index, message in enumerate(repaired):
        expected = [call.tool_call_id for call in open_calls(repaired[: index + 1])]
        following = repaired[index + 1].parts if index + 1 < len(repaired) else []
        results = [part.tool_call_id for part in following if isinstance(part, ToolReturnPart)]
        if isinstance(message, ModelResponse):
            assert sorted(results) == sorted(expected)
        else:
            assert results == []
    assert repair(repaired) == repaired


def test_a_record_comes_back_without_its_instructions() -> None:
    messages = [ModelRequest(parts=[UserPromptPart("hi")], instructions="secret"), said("hello")]
    assert b"secret" not in dump(messages)
    assert shape(load(dump(messages)) or []) == [["hi"], ["hello"]]


@pytest.mark.parametrize("record", [b"", b"{", b"[]", b"[{}]", b"\xff"])
def test_what_can_not_be_read_is_replaced_by_the_texts(record: bytes) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    exchange = Exchange(turn_id="1", user_text="hi", answer_text="hello", at=at, record=record)
    assert shape(history_of([exchange])) == [["hi"], ["hello"]]
    unanswered = Exchange(turn_id="1", user_text="hi", answer_text="", at=at, record=record)
    assert shape(history_of([unanswered])) == [["hi"]]


def test_a_conversation_is_repaired_before_a_model_sees_it() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    record = dump([*user_said("hi"), called("1")])
    broken = Exchange(turn_id="1", user_text="hi", answer_text="", at=at, record=record)
    assert shape(history_of([broken])) == [["hi"], ["1"], [f"1={INTERRUPTED}"]]
