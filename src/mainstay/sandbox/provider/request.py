"""Is this a valid request for a chat completion?

As strict as the OpenAI API where an agent's own mistakes would show: above all, every tool call of the assistant
must be answered by a tool message before anybody says anything else. A history that was cut off in the middle of a
tool call is refused here, as it would be in production.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import cast

import orjson

from mainstay.sandbox.provider.model import ApiError, ChatMessage, ChatRequest, Rejected, Role, Tool, ToolCall

__all__ = ["parse"]

_ROLES = ("system", "developer", "user", "assistant", "tool")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Json = Mapping[str, object]


def parse(body: bytes) -> ChatRequest:
    """Read a request.

    Raises:
        Rejected: with what the API would answer, status 400.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise _bad("The body of the request is not valid JSON.") from None
    request = _object(data, None)
    model = request.get("model")
    if not isinstance(model, str) or not model:
        raise _bad("The request must name a model.", "model")
    listed = _list(request, "messages")
    if not listed:
        raise _bad("The request must have at least one message.", "messages")
    messages = tuple(_message(item, f"messages[{index}]") for index, item in enumerate(listed))
    _check_calls_are_answered(messages)
    if request.get("n") not in (None, 1):
        raise _bad("Only one choice can be asked for.", "n")
    tools = tuple(_tool(item, f"tools[{index}]") for index, item in enumerate(_list(request, "tools")))
    stream = _flag(request, "stream")
    return ChatRequest(
        model=model,
        messages=messages,
        digest=hashlib.sha256(orjson.dumps(listed, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24],
        tools=tools,
        tool_choice=_tool_choice(request, tools),
        stream=stream,
        include_usage=_include_usage(request, stream=stream),
        max_tokens=_max_tokens(request),
        response_schema=_response_schema(request),
    )


def _bad(message: str, param: str | None = None, code: str | None = None) -> Rejected:
    return Rejected(ApiError(status=400, message=message, param=param, code=code))


def _object(value: object, where: str | None) -> Json:
    if not isinstance(value, dict):
        raise _bad(f"{where or 'The body of the request'} must be an object.", where)
    return value


def _list(data: Json, key: str, where: str = "") -> list[object]:
    value = data.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _bad(f"{where}{key} must be a list.", f"{where}{key}")
    return value


def _str(data: Json, key: str, where: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise _bad(f"{where}.{key} must be a string.", f"{where}.{key}")
    return value


def _flag(data: Json, key: str) -> bool:
    value = data.get(key)
    if value is not None and not isinstance(value, bool):
        raise _bad(f"{key} must be true or false.", key)
    return bool(value)


def _message(value: object, where: str) -> ChatMessage:
    data = _object(value, where)
    role = _str(data, "role", where)
    if role not in _ROLES:
        raise _bad(f"{where}.role must be one of {', '.join(_ROLES)}.", f"{where}.role")
    calls = tuple(
        _call(item, f"{where}.tool_calls[{index}]")
        for index, item in enumerate(_list(data, "tool_calls", f"{where}."))
    )
    if calls and role != "assistant":
        raise _bad(f"{where}: only an assistant can call tools.", f"{where}.tool_calls")
    if data.get("tool_calls") == []:
        raise _bad(f"{where}.tool_calls is empty: leave it out.", f"{where}.tool_calls")
    return ChatMessage(
        role=cast("Role", role),
        text=_content(data.get("content"), where, optional=bool(calls)),
        calls=calls,
        call_id=_str(data, "tool_call_id", where) if role == "tool" else "",
    )


def _content(value: object, where: str, *, optional: bool) -> str:
    if isinstance(value, str):
        return value
    if value is None and optional:
        return ""
    if not isinstance(value, list):
        raise _bad(f"{where}.content must be a string or a list of parts.", f"{where}.content")
    parts = [_object(item, f"{where}.content[{index}]") for index, item in enumerate(value)]
    return "\n".join(_str(part, "text", f"{where}.content") for part in parts if part.get("type") == "text")


def _call(value: object, where: str) -> ToolCall:
    data = _object(value, where)
    function = _object(data.get("function"), f"{where}.function")
    return ToolCall(
        id=_str(data, "id", where),
        name=_str(function, "name", f"{where}.function"),
        arguments=_str(function, "arguments", f"{where}.function"),
    )


def _check_calls_are_answered(messages: tuple[ChatMessage, ...]) -> None:
    waiting: set[str] = set()
    for index, message in enumerate(messages):
        if message.role == "tool":
            if message.call_id not in waiting:
                raise _bad(
                    f"messages[{index}] has the role 'tool' but answers no tool call of the message before it.",
                    f"messages[{index}]",
                )
            waiting.remove(message.call_id)
            continue
        if waiting:
            break
        waiting = {call.id for call in message.calls}
    if waiting:
        raise _bad(
            "An assistant message with 'tool_calls' must be followed by a tool message for each 'tool_call_id'; "
            f"without an answer: {', '.join(sorted(waiting))}.",
            "messages",
        )


def _tool(value: object, where: str) -> Tool:
    data = _object(value, where)
    if data.get("type") != "function":
        raise _bad(f"{where}.type must be 'function'.", f"{where}.type")
    function = _object(data.get("function"), f"{where}.function")
    name = _str(function, "name", f"{where}.function")
    if not _TOOL_NAME.fullmatch(name):
        raise _bad(f"{where}.function.name must match {_TOOL_NAME.pattern}.", f"{where}.function.name")
    parameters = function.get("parameters")
    return Tool(
        name=name, parameters={} if parameters is None else _object(parameters, f"{where}.function.parameters")
    )


def _tool_choice(request: Json, tools: tuple[Tool, ...]) -> str:
    value = request.get("tool_choice")
    if value is None:
        return "auto"
    if not tools:
        raise _bad("tool_choice is only allowed when tools are given.", "tool_choice")
    if value in ("auto", "none", "required"):
        return str(value)
    name = _str(
        _object(_object(value, "tool_choice").get("function"), "tool_choice.function"), "name", "tool_choice"
    )
    if all(tool.name != name for tool in tools):
        raise _bad("tool_choice names a tool that is not among tools.", "tool_choice")
    return name


def _include_usage(request: Json, *, stream: bool) -> bool:
    value = request.get("stream_options")
    if value is None:
        return False
    if not stream:
        raise _bad("stream_options is only allowed when stream is true.", "stream_options")
    return bool(_object(value, "stream_options").get("include_usage"))


def _max_tokens(request: Json) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = request.get(key)
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise _bad(f"{key} must be an integer of at least 1.", key)
        return value
    return None


def _response_schema(request: Json) -> Json | None:
    value = request.get("response_format")
    if value is None:
        return None
    match _object(value, "response_format"):
        case {"type": "json_schema", "json_schema": {"schema": dict() as schema}}:
            return schema
        case {"type": "json_object"}:
            return {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
        case {"type": "text"}:
            return None
    raise _bad("response_format must be of type text, json_object or json_schema.", "response_format")
