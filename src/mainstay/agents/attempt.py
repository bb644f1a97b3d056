"""How is one model asked once?

Opens the stream, passes on what the person may see, and ends either with the complete response or with an error. A
stream that breaks off, an empty answer and a filtered one are errors too.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings as RequestSettings
from pydantic_ai.usage import RequestUsage

from mainstay.agents.characters import Characters, whole
from mainstay.agents.thinking import ThoughtFilter, without_thoughts
from mainstay.errors import Category
from mainstay.models.cost import Tokens, UsageBook
from mainstay.recovery.call.model import Alive, Done, Item, Piece
from mainstay.recovery.classify import classify
from mainstay.recovery.model import AttemptError

__all__ = ["ChatModel", "ask"]

_UNBILLED = frozenset(Category) - {Category.TIMEOUT, Category.CANCELLED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A configured model, ready to be asked.

    Attributes:
        name: the configured name.
        requires_finish_reason: see `mainstay.models.model.ModelSettings`.
        streams: whether answers come in pieces.
    """

    name: str
    model: Model
    settings: RequestSettings
    requires_finish_reason: bool
    streams: bool = True


def ask(
    chat: ChatModel, messages: Sequence[ModelMessage], parameters: ModelRequestParameters, book: UsageBook
) -> AsyncGenerator[Piece[str, ModelResponse], None]:
    """One response, in pieces or at once; the consumption is entered in the book however it ends."""
    return (_streamed if chat.streams else _whole)(chat, messages, parameters, book)


async def _whole(
    chat: ChatModel, messages: Sequence[ModelMessage], parameters: ModelRequestParameters, book: UsageBook
) -> AsyncGenerator[Piece[str, ModelResponse], None]:
    try:
        response = await model_request(
            chat.model, messages, model_settings=chat.settings, model_request_parameters=parameters
        )
    except BaseException as error:
        if classify(error).category not in _UNBILLED:
            book.add(chat.name, None)
        raise
    book.add(chat.name, _counted(response.usage))
    complete = _complete(response, chat)
    text = "".join(part.content for part in complete.parts if isinstance(part, TextPart))
    yield Item(text, len(text)) if text else Alive()
    yield Done(complete)


async def _streamed(
    chat: ChatModel, messages: Sequence[ModelMessage], parameters: ModelRequestParameters, book: UsageBook
) -> AsyncGenerator[Piece[str, ModelResponse], None]:
    stream: StreamedResponse | None = None
    characters, thoughts = Characters(), ThoughtFilter()
    try:
        async with model_request_stream(
            chat.model, messages, model_settings=chat.settings, model_request_parameters=parameters
        ) as stream:
            async for event in stream:
                match event:
                    case (
                        PartStartEvent(part=TextPart(content=text))
                        | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                    ):
                        shown = thoughts.feed(characters.feed(text))
                        yield Item(shown, len(shown)) if shown else Alive()
                    case PartStartEvent() | PartDeltaEvent():
                        yield Alive()
                    case _:
                        pass  # the library may add events at any time
            response = stream.get()
        if rest := thoughts.feed(characters.feed("", end=True)) + thoughts.end():
            yield Item(rest, len(rest))
        complete = _complete(response, chat)
    except BaseException as error:
        if stream is not None or classify(error).category not in _UNBILLED:
            book.add(chat.name, _tokens(stream))
        raise
    book.add(chat.name, _tokens(stream))
    yield Done(complete)


def _tokens(stream: StreamedResponse | None) -> Tokens | None:
    """What the provider counted; None if it has not said."""
    return _counted(stream.usage) if stream is not None else None


def _counted(usage: RequestUsage) -> Tokens | None:
    if not (usage.input_tokens or usage.output_tokens):
        return None
    return Tokens(usage.input_tokens, usage.output_tokens)


def _complete(response: ModelResponse, chat: ChatModel) -> ModelResponse:
    """The response without thoughts in its text, if it is one.

    Raises:
        AttemptError: if it was filtered, cut off, or says nothing.
    """
    reason = response.finish_reason
    if reason == "content_filter":
        raise AttemptError(Category.CONTENT_FILTER, "the provider's content filter stopped the answer")
    if reason == "error":
        raise AttemptError(Category.SERVER_ERROR, "the provider ended the answer with an error")
    if chat.requires_finish_reason and "finish_reason" not in (response.provider_details or {}):
        raise AttemptError(Category.MALFORMED, "the stream ended without a finish reason: the answer is cut off")
    if reason == "length" and response.tool_calls:
        raise AttemptError(Category.MALFORMED, "the answer was cut by length in the middle of a tool call")
    parts = [_cleaned(part) for part in response.parts]
    said = any(isinstance(part, TextPart) and part.content.strip() for part in parts)
    if not said and not response.tool_calls:
        raise AttemptError(Category.MALFORMED, "the answer is empty")
    return replace(response, parts=[part for part in parts if not isinstance(part, TextPart) or part.content])


def _cleaned(part: ModelResponsePart) -> ModelResponsePart:
    match part:
        case TextPart(content=text):
            return replace(part, content=without_thoughts(whole(text)))
        case ThinkingPart(content=text):
            return replace(part, content=whole(text))
        case ToolCallPart(args=str(text)):
            return replace(part, args=whole(text))
        case _:
            return part
