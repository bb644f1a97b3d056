"""Which of the offered tools does the user's text ask for?

| in the text | what is called |
|---|---|
| the name of a tool: "call add", "use the tool add with {"a": 1}", "调用 add" | that tool |
| several names | all at once |
| names before and after "then" or "然后" | those after it when the results of the others are there |
| X, and a tool ``hand_over_to_X`` is offered (also ``transfer_to_``, ``delegate_to_`` …) | that tool |
| X, and a tool ``hand_over``, ``transfer`` … has a parameter whose choices name X | that tool, with X |

A JSON object within 40 characters after the name is the arguments; otherwise `schema.fill` makes them.
A name in the text comes before a hand-over. A client that requires a call gets one in any case.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import orjson

from mainstay.sandbox.provider.model import ChatRequest, Tool, ToolCall
from mainstay.sandbox.provider.schema import fill, mentions

__all__ = ["calls_for"]

_HAND_OVER = re.compile(r"(?:hand_?over|hand_?off|transfer|delegate)(?:_to)?(?:_(?P<to>.+))?", re.IGNORECASE)
_THEN = re.compile(r"\bthen\b|然后", re.IGNORECASE)
_NEAR = 40


@dataclass(frozen=True, slots=True)
class _Wish:
    tool: Tool
    arguments: str
    start: int
    end: int


def calls_for(request: ChatRequest, rounds: int) -> tuple[ToolCall, ...]:
    """The calls to answer with; ``rounds`` is how often tools were called since the user spoke."""
    tools = request.tools
    if not tools or request.tool_choice == "none":
        return ()
    stages = _stages(request.said, tools)
    wishes: list[_Wish] = []
    if rounds < len(stages):
        wishes = stages[rounds]
    elif rounds == 0:
        wishes = list(_hand_overs(request.said, tools))[:1]
    if request.tool_choice not in ("auto", "none"):
        wishes = [_required(request, wishes)]
    return tuple(
        ToolCall(id=f"call_{request.digest[:20]}{index:02d}", name=wish.tool.name, arguments=wish.arguments)
        for index, wish in enumerate(wishes)
    )


def _stages(text: str, tools: tuple[Tool, ...]) -> list[list[_Wish]]:
    stages: list[list[_Wish]] = []
    previous_end = 0
    for wish in _named(text, tools):
        if not stages or _THEN.search(text, previous_end, wish.start):
            stages.append([])
        if all((wish.tool, wish.arguments) != (other.tool, other.arguments) for other in stages[-1]):
            stages[-1].append(wish)
        previous_end = wish.end
    return stages


def _named(text: str, tools: tuple[Tool, ...]) -> Iterator[_Wish]:
    by_name = {tool.name.lower(): tool for tool in tools}
    longest_first = sorted(by_name, key=len, reverse=True)
    names = re.compile(
        rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])", re.ASCII | re.IGNORECASE
    )
    position = 0
    while found := names.search(text, position):
        tool = by_name[found[0].lower()]
        given = _json_near(text, found.end(), names)
        arguments, position = given or (_dump(fill(tool.parameters, text)), found.end())
        yield _Wish(tool, arguments, found.start(), position)


def _json_near(text: str, start: int, names: re.Pattern[str]) -> tuple[str, int] | None:
    brace = text.find("{", start, start + _NEAR)
    if brace < 0 or names.search(text, start, brace):
        return None
    try:
        value, end = json.JSONDecoder().raw_decode(text, brace)
    except (json.JSONDecodeError, RecursionError):
        return None
    return _dump(value), end


def _hand_overs(text: str, tools: tuple[Tool, ...]) -> Iterator[_Wish]:
    for tool in tools:
        matched = _HAND_OVER.fullmatch(tool.name)
        if matched is None:
            continue
        to = matched["to"] or ""
        if any(mentions(text, word) for word in (to, to.replace("_", " "), *_choices(tool))):
            yield _Wish(tool, _dump(fill(tool.parameters, text)), 0, 0)


def _choices(tool: Tool) -> Iterator[str]:
    properties = tool.parameters.get("properties")
    for schema in properties.values() if isinstance(properties, Mapping) else ():
        if isinstance(schema, Mapping) and isinstance(schema.get("enum"), list):
            yield from map(str, schema["enum"])


def _required(request: ChatRequest, wishes: list[_Wish]) -> _Wish:
    if request.tool_choice == "required" and wishes:
        return wishes[0]
    tool = next(
        (tool for tool in request.tools if tool.name == request.tool_choice),
        next((tool for tool in request.tools if tool.name.startswith("final_result")), request.tools[0]),
    )
    given = next((wish for wish in wishes if wish.tool == tool), None)
    return given or _Wish(tool, _dump(fill(tool.parameters, request.said)), 0, 0)


def _dump(value: object) -> str:
    return orjson.dumps(value).decode()
