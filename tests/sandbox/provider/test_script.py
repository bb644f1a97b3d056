"""Every script is complete, whatever the answer and the fault."""

import json

from hypothesis import given
from hypothesis import strategies as st

from mainstay.sandbox.provider.faults import FAULTS, Fault
from mainstay.sandbox.provider.model import Answer, ChatMessage, ChatRequest, ToolCall
from mainstay.sandbox.provider.script import Abort, Body, End, Head, Pace, Silence, Step, script
from mainstay.sandbox.provider.tokens import pieces
from mainstay.sandbox.provider.wire import Completion

CALLS = st.lists(
    st.builds(ToolCall, id=st.text(min_size=1), name=st.just("add"), arguments=st.sampled_from(["{}", '{"a": 1}'])),
    max_size=2,
)
ANSWERS = st.builds(Answer, text=st.text(max_size=40), calls=CALLS.map(tuple))
FAULT = st.builds(Fault, name=st.sampled_from(FAULTS), after_tokens=st.integers(0, 9), pings=st.booleans())


def completion(answer: Answer, *, stream: bool, limit: int | None = None) -> Completion:
    request = ChatRequest(
        model="m",
        digest="d",
        messages=(ChatMessage(role="user", text="hi"),),
        stream=stream,
        include_usage=stream,
        max_tokens=limit,
    )
    return Completion(id="chatcmpl-1", provider="primary", created=0, request=request, answer=answer)


def sent(steps: list[Step]) -> bytes:
    return b"".join(step.data for step in steps if isinstance(step, Body | End))


@given(ANSWERS, st.none() | FAULT, st.booleans())
def test_a_script_has_one_head_at_most_and_one_end(answer: Answer, fault: Fault | None, stream: bool) -> None:
    steps = list(script(completion(answer, stream=stream), fault))
    assert isinstance(steps[-1], End | Abort)
    assert not any(isinstance(step, End | Abort) for step in steps[:-1])
    heads = [index for index, step in enumerate(steps) if isinstance(step, Head)]
    assert len(heads) <= 1
    assert all(isinstance(step, Pace | Silence | Abort) for step in steps[: heads[0] if heads else None])


@given(ANSWERS, FAULT, st.booleans())
def test_no_fault_looks_like_a_finished_answer(answer: Answer, fault: Fault, stream: bool) -> None:
    steps = list(script(completion(answer, stream=stream), fault))
    last = steps[-1]
    assert not (isinstance(last, End) and last.ending == "finished")
    for reason in (b'"finish_reason":"stop"', b'"finish_reason":"tool_calls"'):
        assert stream is False or reason not in sent(steps)


@given(ANSWERS, FAULT.filter(lambda fault: fault.name in ("stall", "cut", "truncate", "malformed")))
def test_a_stream_breaks_after_so_many_tokens_or_at_the_end(answer: Answer, fault: Fault) -> None:
    steps = list(script(completion(answer, stream=True), fault))
    tokens = sum(step.tokens for step in steps if isinstance(step, Body))
    assert tokens == min(fault.after_tokens, len(list(pieces(answer))))


@given(ANSWERS, st.booleans(), st.none() | st.integers(1, 5))
def test_usage_counts_what_was_sent_within_the_clients_limit(
    answer: Answer, stream: bool, limit: int | None
) -> None:
    steps = list(script(completion(answer, stream=stream, limit=limit), None))
    tokens = sum(step.tokens for step in steps if isinstance(step, Body))
    assert limit is None or tokens <= limit
    whole = sent(steps)
    if stream:
        *_, usage, done = whole.removesuffix(b"\n\n").split(b"\n\n")
        assert done == b"data: [DONE]"
        whole = usage.removeprefix(b"data: ")
    assert json.loads(whole)["usage"]["completion_tokens"] == tokens
