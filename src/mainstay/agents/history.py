"""How are messages kept, and read back without harm?

The record of a turn is pydantic-ai's JSON of its new messages. What is read back is repaired before a model sees
it: providers refuse a conversation in which a tool call has no result, for ever after.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydantic import ValidationError
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from mainstay.messages import Exchange

__all__ = ["INTERRUPTED", "answer_calls", "dump", "history_of", "load", "open_calls", "repair", "user_said"]

INTERRUPTED = "This call was interrupted before it gave a result. It may or may not have taken effect."


def user_said(text: str) -> list[ModelMessage]:
    """The messages with which a turn begins."""
    return [ModelRequest(parts=[UserPromptPart(text)])]


def dump(messages: Sequence[ModelMessage]) -> bytes:
    """The stored form; instructions are left out, as those of the day apply when it is read."""
    plain = [
        replace(message, instructions=None) if isinstance(message, ModelRequest) else message
        for message in messages
    ]
    return ModelMessagesTypeAdapter.dump_json(plain)


def load(record: bytes) -> list[ModelMessage] | None:
    """Read `dump`; None if there is nothing or it cannot be read."""
    if not record:
        return None
    try:
        return ModelMessagesTypeAdapter.validate_json(record) or None
    except ValidationError:
        return None


def history_of(exchanges: Iterable[Exchange]) -> list[ModelMessage]:
    """The conversation so far; of an exchange whose record cannot be read, what was asked and answered."""
    messages: list[ModelMessage] = []
    for exchange in exchanges:
        recorded = load(exchange.record)
        if recorded is None:
            recorded = user_said(exchange.user_text)
            if exchange.answer_text:
                recorded.append(ModelResponse(parts=[TextPart(exchange.answer_text)]))
        messages += repair(recorded)
    return messages


def open_calls(messages: Sequence[ModelMessage]) -> list[ToolCallPart]:
    """The tool calls at the end of the messages that have no result yet."""
    last = messages[-1] if messages else None
    return last.tool_calls if isinstance(last, ModelResponse) else []


def answer_calls(messages: Sequence[ModelMessage], text: str) -> list[ModelMessage]:
    """The messages, with this text as the result of every open call."""
    parts = [_result(call, text) for call in open_calls(messages)]
    return [*messages, ModelRequest(parts=parts)] if parts else list(messages)


def repair(messages: Sequence[ModelMessage]) -> list[ModelMessage]:
    """The same messages with exactly one result for each tool call, right after it.

    A call without a result gets the marker that it was interrupted; a result without its call is left out, and so
    is a message of which nothing remains.
    """
    repaired: list[ModelMessage] = []
    for message in messages:
        if isinstance(message, ModelResponse):
            repaired = answer_calls(repaired, INTERRUPTED)
            if message.parts:
                repaired.append(message)
            continue
        waiting = {call.tool_call_id: call for call in open_calls(repaired)}
        parts = _results_first(message.parts, waiting)
        if parts:
            repaired.append(replace(message, parts=parts, instructions=None, state="complete"))
    return answer_calls(repaired, INTERRUPTED)


def _results_first(parts: Iterable[ModelRequestPart], waiting: dict[str, ToolCallPart]) -> list[ModelRequestPart]:
    results: list[ModelRequestPart] = []
    others: list[ModelRequestPart] = []
    for part in parts:
        if not isinstance(part, ToolReturnPart):
            others.append(part)
        elif waiting.pop(part.tool_call_id, None) is not None:
            results.append(part)
    return [*results, *(_result(call, INTERRUPTED) for call in waiting.values()), *others]


def _result(call: ToolCallPart, text: str) -> ToolReturnPart:
    return ToolReturnPart(call.tool_name, text, call.tool_call_id, outcome="interrupted")
