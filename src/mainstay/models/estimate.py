"""How many tokens is a request, when nobody has counted them?

A quarter of its bytes in UTF-8, and four for each message: its role and its borders. English prose is about a token
in 4 bytes, Chinese in 3, JSON and program text in 3, so that the estimate is up to a third too low there, and
rarely off by more than a factor of two. Pictures and files are not seen at all: no agent here sends any.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from pydantic_ai.messages import ModelMessage, ModelRequest, ToolCallPart, ToolReturnPart
from pydantic_ai.models import ModelRequestParameters

__all__ = ["input_tokens"]

_BYTES_PER_TOKEN: Final = 4
_MESSAGE_TOKENS: Final = 4


def input_tokens(messages: Sequence[ModelMessage], parameters: ModelRequestParameters) -> int:
    """The tokens that a model takes in, by the rule above."""
    size = sum(len(text.encode("utf-8", "replace")) for text in _texts(messages, parameters))
    return size // _BYTES_PER_TOKEN + _MESSAGE_TOKENS * len(messages)


def _texts(messages: Sequence[ModelMessage], parameters: ModelRequestParameters) -> Iterator[str]:
    for message in messages:
        if isinstance(message, ModelRequest) and message.instructions:
            yield message.instructions
        for part in message.parts:
            match part:
                case ToolCallPart():
                    yield part.tool_name
                    yield part.args_as_json_str()
                case ToolReturnPart():
                    yield part.model_response_str()
                case _:
                    yield str(getattr(part, "content", ""))
    for tool in parameters.function_tools:
        yield tool.name
        yield tool.description or ""
        yield json.dumps(tool.parameters_json_schema)
