"""How is one model asked once?

Opens the stream, passes on what the person may see, and ends either with the complete response or with an error. A
stream that breaks off, an empty answer, a filtered one, and one of a model that was not asked are errors too.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace

from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.exceptions import ModelConnectionError
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    PartDeltaEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.settings import ModelSettings as RequestSettings
from pydantic_ai.usage import RequestUsage

from mainstay.agents.characters import Characters, whole
from mainstay.agents.thinking import ThoughtFilter, without_thoughts
from mainstay.errors import Category
from mainstay.models.budget.machine import is_as_asked
from mainstay.models.cost import Meter, Tokens
from mainstay.recovery.call.model import Alive, Done, Item, Piece
from mainstay.recovery.classify import classify
from mainstay.recovery.model import AttemptError

__all__ = ["ChatModel", "ask"]

_NOT_SENT = frozenset({Category.INVALID_REQUEST, Category.INTERNAL})
_MOST_TOKENS = 10_000_000
"""More than any model takes in or gives out: a provider that counts so many is not believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatModel:
    """A configured model, ready to be asked.

    Attributes:
        name: the configured name.
        requires_finish_reason: see `mainstay.models.model.ModelSettings`.
        streams: whether answers come in pieces.
        allow: see `mainstay.models.budget.model.BudgetSettings`.
    """

    name: str
    model: Model
    settings: RequestSettings
    requires_finish_reason: bool
    streams: bool = True
    allow: tuple[str, ...] = ()

    def admit(self, answering: str | None) -> None:
        """Raises AttemptError unless this model, by the endpoint's name, may answer: routers choose others."""
        asked = self.model.model_name
        if not is_as_asked(asked, answering or "", self.allow):
            message = f"{asked} was asked, {answering} answers, which budget.allow does not have"
            raise AttemptError(Category.PERMISSION, message)


def ask(
    chat: ChatModel, messages: Sequence[ModelMessage], parameters: ModelRequestParameters, meter: Meter
) -> AsyncGenerator[Piece[str, ModelResponse], None]:
    """One response, in pieces or at once; the meter knows of its consumption however it ends."""
    return (_streamed if chat.streams else _whole)(chat, messages, parameters, meter)


async def _whole(
    chat: ChatModel, messages: Sequence[ModelMessage], parameters: ModelRequestParameters, meter: Meter
) -> AsyncGenerator[Piece[str, ModelResponse], None]:
    try:
        response = await model_request(
            chat.model, messages, model_settings=chat.settings, model_request_parameters=parameters
        )
    except BaseException as error:
        meter.worked = _may_have_worked(error)
        raise
    meter.worked = True
    meter.counted = _counted(response.usage)
    for part in response.parts:
        meter.heard(_characters(part))
    chat.admit(response.model_name)
    complete = _complete(response, chat)
    text = "".join(part.content for part in complete.parts if isinstance(part, TextPart))
    yield Item(text, len(text)) if text else Alive()
    yield Done(complete)


async def _streamed(
    chat: ChatModel, messages: Sequence[ModelMessage], parameters: ModelRequestParameters, meter: Meter
) -> AsyncGenerator[Piece[str, ModelResponse], None]:
    stream: StreamedResponse | None = None
    characters, thoughts = Characters(), ThoughtFilter()
    try:
        async with model_request_stream(
            chat.model, messages, model_settings=chat.settings, model_request_parameters=parameters
        ) as stream:
            meter.worked = True
            chat.admit(stream.model_name)
            async for event in stream:
                chat.admit(stream.model_name)  # some name it later than in the first chunk
                match event:
                    case (
                        PartStartEvent(part=TextPart(content=text))
                        | PartDeltaEvent(delta=TextPartDelta(content_delta=text))
                    ):
                        meter.heard(len(text))
                        shown = thoughts.feed(characters.feed(text))
                        yield Item(shown, len(shown)) if shown else Alive()
                    case PartStartEvent(part=part) | PartDeltaEvent(delta=part):
                        meter.heard(_characters(part))
                        yield Alive()
                    case _:
                        pass  # the library may add events at any time
            response = stream.get()
    except BaseException as error:
        meter.worked = meter.worked or _may_have_worked(error)
        if stream is not None and classify(error).category is Category.INTERNAL:
            message = f"an event of the stream can not be read: {type(error).__name__}: {error}"
            raise AttemptError(Category.MALFORMED, message) from error
        raise
    finally:
        if stream is not None:
            meter.counted = _counted(stream.usage)
    if rest := thoughts.feed(characters.feed("", end=True)) + thoughts.end():
        yield Item(rest, len(rest))
    yield Done(_complete(response, chat))


def _may_have_worked(error: BaseException) -> bool:
    """Whether the provider may have worked on a request to which no answer began, and charge for it.

    Not if it refused it, nor if it never got it. One that hung, or a connection that was lost after the request had
    been sent, leaves it open.
    """
    if isinstance(error, ModelConnectionError):
        return error.phase not in ("pool", "connect")
    failure = classify(error)
    if failure.status is not None and failure.status >= 400:
        return failure.category is Category.TIMEOUT
    return failure.category not in _NOT_SENT


def _characters(part: object) -> int:
    """How long a piece of content is, whatever it is."""
    match part:
        case TextPart(content=text) | ThinkingPart(content=text) | ThinkingPartDelta(content_delta=str(text)):
            return len(text)
        case ToolCallPart():
            return len(part.tool_name) + len(part.args_as_json_str() if part.args else "")
        case ToolCallPartDelta(args_delta=str(text)):
            return len(text)
        case _:
            return 0


def _counted(usage: RequestUsage) -> Tokens | None:
    """What the provider counted; None if it has not said, or nonsense."""
    tokens = Tokens(usage.input_tokens, usage.output_tokens)
    believable = all(0 <= count <= _MOST_TOKENS for count in (tokens.input, tokens.output))
    return tokens if believable and (tokens.input or tokens.output) else None


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
