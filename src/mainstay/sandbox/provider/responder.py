"""What does the sandbox's model say?

It is a small program, and it says so in the first answer of every conversation. The same messages always get the
same answer, in Chinese when the user wrote Chinese. What the user writes controls the answer:

| in the text | the answer |
|---|---|
| "say nothing", "什么都别说" | is empty |
| "count to 50", "数到 50" | has the numbers from 1 to 50 (at most 2000) |
| "300 words", "300 字" | goes on for that many words or characters (at most 2000) |
| "long answer", "长回答" | goes on for 400 of them |
| "slow", "slowly", "慢" | comes at an eighth of the speed |
| the name of a tool, or of a specialist | calls it, see `mainstay.sandbox.provider.calling` |

After tools were called, the answer is what they returned.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle, islice

import orjson

from mainstay.sandbox.provider.calling import calls_for
from mainstay.sandbox.provider.model import Answer, ChatMessage, ChatRequest
from mainstay.sandbox.provider.schema import fill

__all__ = ["respond"]

_MOST = 2000
_LONG = 400
_SLOWNESS = 8.0
_QUOTED_CHARS = 200

_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_NOTHING = re.compile(r"\bsay nothing\b|什么[都也](?:别|不要|不用)说", re.IGNORECASE)
_COUNT = re.compile(r"(?:\bcount to|数到)\s*(\d{1,6})", re.IGNORECASE)
_SIZE = re.compile(r"(\d{1,6})\s*(?:words\b|个?字)", re.IGNORECASE)
_LENGTHY = re.compile(r"\blong answer\b|长回答", re.IGNORECASE)
_SLOW = re.compile(r"\bslow(?:ly)?\b|慢", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Language:
    what_i_am: str
    instructions: str
    tools: str
    heard: str
    earlier: str
    returned: str
    filler: tuple[str, ...]
    space: str


_ENGLISH = _Language(
    what_i_am="I am the sandbox responder of Mainstay: a small program, not an AI.",
    instructions="My instructions begin: “{}”.",
    tools="I was offered these tools: {}.",
    heard="You wrote: “{}”.",
    earlier="Before that you wrote: “{}”.",
    returned="The tool {} returned: {}",
    filler=("this", "text", "has", "no", "meaning", "beyond", "its", "length", "and", "so", "it", "goes", "on"),
    space=" ",
)
_CHINESE_LANGUAGE = _Language(
    what_i_am="我是 Mainstay 的沙盒应答程序：一个小程序，不是人工智能。",
    instructions="给我的指令开头是：“{}”。",
    tools="可用的工具有：{}。",
    heard="你写的是：“{}”。",
    earlier="在那之前你写的是：“{}”。",
    returned="工具 {} 返回：{}",
    filler=tuple("这段文字除了长度以外没有任何意义"),
    space="",
)


def respond(request: ChatRequest) -> Answer:
    """The answer to a request; never fails."""
    said = request.said
    slowness = _SLOWNESS if _SLOW.search(said) else 1.0
    since = _since_user(request.messages)
    calls = calls_for(request, sum(1 for message in since if message.calls))
    if calls:
        return Answer(calls=calls, slowness=slowness)
    if request.response_schema is not None:
        return Answer(text=orjson.dumps(fill(request.response_schema, said)).decode(), slowness=slowness)
    if _NOTHING.search(said):
        return Answer(slowness=slowness)
    language = _CHINESE_LANGUAGE if _CHINESE.search(said) else _ENGLISH
    returned = _returned(since, language)
    body = [returned] if returned else [*_understood(request, language), *_asked_for(said, language)]
    text = language.space.join(body)
    if _is_first_answer(request.messages) and language.what_i_am not in text:
        text = language.space.join([language.what_i_am, text])
    return Answer(text=text, slowness=slowness)


def _since_user(messages: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
    last = max((index for index, message in enumerate(messages) if message.role == "user"), default=-1)
    return messages[last + 1 :]


def _is_first_answer(messages: tuple[ChatMessage, ...]) -> bool:
    return all(message.role != "assistant" or not message.text for message in messages)


def _returned(since: tuple[ChatMessage, ...], language: _Language) -> str:
    names = {call.id: call.name for message in since for call in message.calls}
    results = (message for message in since if message.role == "tool")
    return "\n".join(language.returned.format(names[result.call_id], result.text) for result in results)


def _understood(request: ChatRequest, language: _Language) -> Iterator[str]:
    if _is_first_answer(request.messages):
        told = next((m.text for m in request.messages if m.role in ("system", "developer") and m.text), "")
        if told:
            yield language.instructions.format(_quote(told))
        if request.tools:
            yield language.tools.format(", ".join(tool.name for tool in request.tools))
    yield language.heard.format(_quote(request.said))
    earlier = [message.text for message in request.messages if message.role == "user"][:-1]
    if earlier:
        yield language.earlier.format(_quote(earlier[-1]))


def _quote(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _QUOTED_CHARS else line[: _QUOTED_CHARS - 1] + "…"


def _asked_for(said: str, language: _Language) -> Iterator[str]:
    if count := _COUNT.search(said):
        yield " ".join(str(number) for number in range(1, min(int(count[1]), _MOST) + 1))
    size = _SIZE.search(said)
    if size or _LENGTHY.search(said):
        length = min(int(size[1]), _MOST) if size else _LONG
        yield language.space.join(islice(cycle(language.filler), length))
