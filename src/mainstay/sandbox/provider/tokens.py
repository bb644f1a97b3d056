"""What is a token here, and how many were used?

A token is a word with the white space before it, or one character that is not an ASCII letter, digit or
underscore: "Hello, 世界" has four. Joined, the tokens are the text again. Each is sent as one event of a stream,
and so are the name of a tool call and each token of its arguments. Therefore:

* ``completion_tokens`` is the number of pieces sent,
* ``prompt_tokens`` is the tokens of all messages, calls and tool declarations, and 4 for each message.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from mainstay.sandbox.provider.model import Answer, ChatRequest

__all__ = ["ArgumentsPiece", "CallPiece", "Piece", "TextPiece", "pieces", "prompt_tokens", "split"]

_TOKEN = re.compile(r"\s*(?:[A-Za-z0-9_]+|[^\sA-Za-z0-9_])|\s+")
_MESSAGE_OVERHEAD = 4


@dataclass(frozen=True, slots=True)
class TextPiece:
    """One token of the text."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A tool call begins; its arguments follow."""

    index: int
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class ArgumentsPiece:
    """One token of the arguments of the call ``index``."""

    index: int
    text: str


Piece = TextPiece | CallPiece | ArgumentsPiece


def split(text: str) -> list[str]:
    """The tokens of a text."""
    return _TOKEN.findall(text)


def pieces(answer: Answer) -> Iterator[Piece]:
    """What a stream sends of an answer, one token at a time."""
    for token in split(answer.text):
        yield TextPiece(token)
    for index, call in enumerate(answer.calls):
        yield CallPiece(index, call.id, call.name)
        for token in split(call.arguments):
            yield ArgumentsPiece(index, token)


def prompt_tokens(request: ChatRequest) -> int:
    """What the request costs."""
    total = sum(len(split(orjson.dumps(tool.parameters).decode())) + 1 for tool in request.tools)
    for message in request.messages:
        total += _MESSAGE_OVERHEAD + len(split(message.text))
        total += sum(1 + len(split(call.arguments)) for call in message.calls)
    return total
