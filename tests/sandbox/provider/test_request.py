import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.sandbox.provider.model import ChatRequest, Rejected
from mainstay.sandbox.provider.request import parse

USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "3"}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def request(**changes: object) -> ChatRequest:
    return parse(json.dumps({"model": "m", "messages": [USER]} | changes).encode())


def test_a_whole_request_is_read() -> None:
    read = request(
        messages=[{"role": "system", "content": "Be kind."}, USER, CALLS, RESULT],
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "add"}},
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=7,
        temperature=0.5,
    )
    assert (read.model, read.said, read.stream, read.include_usage, read.max_tokens) == ("m", "hi", True, True, 7)
    assert [message.role for message in read.messages] == ["system", "user", "assistant", "tool"]
    assert read.messages[2].calls[0].name == "add"
    assert (read.tools[0].name, read.tool_choice) == ("add", "add")


def test_the_text_parts_of_a_message_are_its_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}]
    assert request(messages=[{"role": "user", "content": parts}]).said == "a\nb"


def test_equal_conversations_have_equal_digests() -> None:
    assert request().digest == request(model="other").digest
    assert request().digest != request(messages=[USER, USER]).digest


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"messages": []}', "name a model"),
        (b'{"model": "m"}', "at least one message"),
        (b'{"model": "m", "messages": {}}', "must be a list"),
    ],
)
def test_what_is_no_request_is_rejected(body: bytes, reason: str) -> None:
    with pytest.raises(Rejected, match=reason) as rejected:
        parse(body)
    assert rejected.value.error.status == 400


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "bot", "content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls"),
        ({"messages": [USER | {"tool_calls": [CALL]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "tool", "content": "3"}]}, "messages[0].tool_call_id"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"function": {"name": "sub"}}}, "tool_choice"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"response_format": {"type": "poem"}}, "response_format"),
    ],
)
def test_the_error_names_the_wrong_parameter(changes: dict[str, object], param: str) -> None:
    with pytest.raises(Rejected) as rejected:
        request(**changes)
    assert rejected.value.error.param == param


@pytest.mark.parametrize(
    "messages",
    [
        [USER, CALLS],
        [USER, CALLS, USER],
        [USER, CALLS, USER, RESULT],
        [USER, CALLS | {"tool_calls": [CALL, CALL | {"id": "c2"}]}, RESULT, USER],
    ],
)
def test_tool_calls_without_results_are_a_poisoned_history(messages: list[object]) -> None:
    with pytest.raises(Rejected, match="must be followed by a tool message for each"):
        request(messages=messages)


@pytest.mark.parametrize("messages", [[USER, RESULT], [USER, CALLS, RESULT, RESULT], [RESULT]])
def test_a_result_that_nobody_asked_for_is_rejected(messages: list[object]) -> None:
    with pytest.raises(Rejected, match="answers no tool call"):
        request(messages=messages)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["user", "tool", "assistant", "function", "m"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["role", "content", "tool_calls", "id", "function", "name", "arguments", "type", "text"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries({"model": st.just("m"), "messages": JSON}, optional={"tools": JSON, "tool_choice": JSON})
)
def test_whatever_is_sent_is_read_or_rejected(body: dict[str, object]) -> None:
    with contextlib.suppress(Rejected):
        assert parse(json.dumps(body).encode()).messages
