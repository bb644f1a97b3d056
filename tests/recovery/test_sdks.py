"""What the SDKs and pydantic-ai make of a provider's answer says the same as the answer itself."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from pydantic import BaseModel
from pydantic_ai import direct
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider
from tests.recovery.recorded import Recorded, recorded

from mainstay.errors import Category
from mainstay.recovery.classify import classify

pytestmark = pytest.mark.anyio

Ask = Callable[[httpx2.AsyncClient, bool], Awaitable[None]]
QUESTION: Any = [{"role": "user", "content": "?"}]


def sdk_of_openai(http: httpx2.AsyncClient) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="x", base_url="http://test/v1", max_retries=0, http_client=http)


def sdk_of_anthropic(http: httpx2.AsyncClient) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(api_key="x", base_url="http://test", max_retries=0, http_client=http)


def sdk_of_google(http: httpx2.AsyncClient) -> genai.Client:
    unused = httpx2.Client(transport=httpx2.MockTransport(lambda request: httpx2.Response(500)))
    options = genai.types.HttpOptions(base_url="http://test", httpx_async_client=http, httpx_client=unused)
    return genai.Client(api_key="x", http_options=options)


async def drained(stream: AsyncIterable[object]) -> None:
    async for _ in stream:
        pass


async def openai_chat(http: httpx2.AsyncClient, stream: bool) -> None:
    chat: Any = sdk_of_openai(http).chat.completions
    await drained(await chat.create(model="m", messages=QUESTION, stream=stream))


async def openai_responses(http: httpx2.AsyncClient, stream: bool) -> None:
    responses: Any = sdk_of_openai(http).responses
    await drained(await responses.create(model="m", input="?", stream=stream))


async def anthropic_messages(http: httpx2.AsyncClient, stream: bool) -> None:
    messages: Any = sdk_of_anthropic(http).messages
    await drained(await messages.create(model="m", max_tokens=1, messages=QUESTION, stream=stream))


async def google_content(http: httpx2.AsyncClient, stream: bool) -> None:
    models = sdk_of_google(http).aio.models
    if not stream:
        await models.generate_content(model="m", contents="?")
    await drained(await models.generate_content_stream(model="m", contents="?"))


def pydantic_ai(model: Callable[[httpx2.AsyncClient], Model]) -> Ask:
    async def ask(http: httpx2.AsyncClient, stream: bool) -> None:
        request = [ModelRequest.user_text_prompt("?")]
        if not stream:
            await direct.model_request(model(http), request)
        async with direct.model_request_stream(model(http), request) as response:
            await drained(response)

    return ask


SDKS: dict[str, tuple[Ask, tuple[str, ...]]] = {
    "openai's chat": (openai_chat, ("openai", "openrouter", "azure")),
    "openai's responses": (openai_responses, ("openai", "azure")),
    "anthropic": (anthropic_messages, ("anthropic",)),
    "google-genai": (google_content, ("gemini",)),
    "pydantic-ai on openai's chat": (
        pydantic_ai(lambda http: OpenAIChatModel("m", provider=OpenAIProvider(openai_client=sdk_of_openai(http)))),
        ("openai", "openrouter", "azure"),
    ),
    "pydantic-ai on openai's responses": (
        pydantic_ai(
            lambda http: OpenAIResponsesModel("m", provider=OpenAIProvider(openai_client=sdk_of_openai(http)))
        ),
        ("openai", "azure"),
    ),
    "pydantic-ai on anthropic": (
        pydantic_ai(
            lambda http: AnthropicModel("m", provider=AnthropicProvider(anthropic_client=sdk_of_anthropic(http)))
        ),
        ("anthropic",),
    ),
    "pydantic-ai on google-genai": (
        pydantic_ai(lambda http: GoogleModel("m", provider=GoogleProvider(client=sdk_of_google(http)))),
        ("gemini",),
    ),
}


def answering(respond: Callable[[], httpx2.Response]) -> httpx2.AsyncClient:
    """The HTTP library of all these SDKs, with one answer in the network's place."""
    return httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: respond()))


async def raised(ask: Ask, respond: Callable[[], httpx2.Response], *, stream: bool) -> Exception:
    async with answering(respond) as http:
        try:
            await ask(http, stream)
        except Exception as error:  # noqa: BLE001  what it is, is the question
            return error
    pytest.fail("the SDK took this for an answer")


def refusals() -> list[object]:
    """Every recorded answer with an error's status, for every SDK that may get it."""
    return [
        pytest.param(ask, each.values[1], id=f"{name} at {each.id}")
        for name, (ask, providers) in SDKS.items()
        for each in recorded(*providers)
        if (each.values[1].status or 0) >= 400
    ]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("ask", "answer"), refusals())
async def test_a_refusal_means_the_same_through_the_sdk(ask: Ask, answer: Recorded, stream: bool) -> None:
    def respond() -> httpx2.Response:
        return httpx2.Response(answer.status or 0, headers=answer.headers, json=answer.body)

    failure = classify(await raised(ask, respond, stream=stream))
    assert (failure.category, failure.retry_after_s, failure.traits) == answer.expected()
    assert failure.status == answer.status
    assert failure.nonsense == ()


def in_streams() -> list[object]:
    """The errors that came after HTTP 200, for every SDK of their provider.

    Gemini's were recorded before a stream began; its SDK takes the same object inside of one.
    """
    return [
        pytest.param(ask, each.values[1], id=f"{name} at {each.id}")
        for name, (ask, providers) in SDKS.items()
        for each in recorded(*providers)
        if isinstance(each.values[1].body, dict) and isinstance(each.values[1].body.get("error"), dict)
        if each.values[1].status == 200 or providers == ("gemini",)
    ]


@pytest.mark.parametrize(("ask", "answer"), in_streams())
async def test_an_error_inside_a_stream_means_the_same_through_the_sdk(ask: Ask, answer: Recorded) -> None:
    def respond() -> httpx2.Response:
        event = "" if answer.status != 200 else "event: error\n"
        text = f"{event}data: {json.dumps(answer.body)}\n\n"
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text=text)

    failure = classify(await raised(ask, respond, stream=True))
    assert (failure.category, failure.retry_after_s, failure.traits) == answer.expected()


def cut() -> httpx2.Response:
    """A stream whose connection breaks after its first event."""

    async def events() -> AsyncIterator[bytes]:
        yield b'data: {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}\n\n'
        raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")

    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=events())


def garbled() -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, text="data: {no json\n\n")


@pytest.mark.parametrize(("respond", "category"), [(cut, Category.CONNECTION), (garbled, Category.MALFORMED)])
@pytest.mark.parametrize("sdk", ["openai's chat", "pydantic-ai on openai's chat"])
async def test_what_breaks_a_stream_is_told_apart(
    sdk: str, respond: Callable[[], httpx2.Response], category: Category
) -> None:
    assert classify(await raised(SDKS[sdk][0], respond, stream=True)).category is category


def finished(reason: str) -> httpx2.Response:
    message = {"role": "assistant", "content": "{"}
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return httpx2.Response(
        200, json={"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    )


class Answer(BaseModel):
    number: int


@pytest.mark.parametrize(
    ("reason", "category"),
    [
        ("length", Category.MALFORMED),
        ("content_filter", Category.CONTENT_FILTER),
        ("stop", Category.MALFORMED),  # the text is no JSON
    ],
)
async def test_a_finish_reason_that_the_sdk_raises_is_told_apart(reason: str, category: Category) -> None:
    async def parse(http: httpx2.AsyncClient, stream: bool) -> None:
        await sdk_of_openai(http).chat.completions.parse(model="m", messages=QUESTION, response_format=Answer)

    failure = classify(await raised(parse, lambda: finished(reason), stream=False))
    assert failure.category is category


async def test_a_stream_without_an_end_is_no_answer_where_the_profile_asks_for_one() -> None:
    def respond() -> httpx2.Response:
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        chunk["choices"] = [{"index": 0, "delta": {"content": "half of it"}, "finish_reason": None}]
        return httpx2.Response(
            200, headers={"content-type": "text/event-stream"}, text=f"data: {json.dumps(chunk)}\n\n"
        )

    def strict(http: httpx2.AsyncClient) -> Model:
        profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
        return OpenAIChatModel("m", provider=OpenAIProvider(openai_client=sdk_of_openai(http)), profile=profile)

    assert classify(await raised(pydantic_ai(strict), respond, stream=True)).category is Category.MALFORMED
