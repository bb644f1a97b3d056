"""Official SDKs that are left as they are, behind a guard, against providers that misbehave.

What the SDK raises, that the other side sees it leave where it was the limit that ended the wait, and what the
breaker is told.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from google import genai
from tests.recovery.transport.conftest import NO_BODY, NO_HEADERS, PATIENT, Peer, wire

from mainstay.errors import Category
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.transport.guard import GuardTransport
from mainstay.sandbox.provider.faults import FAULTS
from mainstay.testing.provider import served_provider

pytestmark = pytest.mark.anyio

HELLO: Any = [{"role": "user", "content": "hello"}]

GOOD = (1, 0)
BAD = (1, 1)
NOTHING = (0, 0)

OPENAI: dict[str, tuple[tuple[type[Exception] | None, tuple[int, int]], ...]] = {
    # fault: what is raised, and (calls, failures) of the breaker; for a whole answer, and for a stream
    "": ((None, GOOD), (None, GOOD)),
    "rate-limit": ((openai.RateLimitError, BAD),) * 2,
    "quota": ((openai.RateLimitError, BAD),) * 2,
    "auth": ((openai.AuthenticationError, NOTHING),) * 2,
    "forbidden": ((openai.PermissionDeniedError, NOTHING),) * 2,
    "server-error": ((openai.InternalServerError, BAD),) * 2,
    "overloaded": ((openai.InternalServerError, BAD),) * 2,
    "refuse": ((openai.APIConnectionError, BAD),) * 2,
    "hang": ((openai.APITimeoutError, BAD),) * 2,
    "hang-first-token": ((openai.APITimeoutError, BAD),) * 2,
    "stall": ((openai.APITimeoutError, BAD),) * 2,
    "cut": ((openai.APIConnectionError, BAD),) * 2,
    # What ends in good order was read to its end: that half an answer is none is for who understands it.
    "truncate": ((None, GOOD), (None, GOOD)),
    "malformed": ((json.JSONDecodeError, GOOD), (json.JSONDecodeError, NOTHING)),
    "error-after-200": ((None, BAD), (openai.APIError, BAD)),
}
LIMITS = {"hang": NO_HEADERS, "hang-first-token": NO_BODY, "stall": NO_BODY}
"""Of those that the client has to leave."""


async def by_openai(url: str, key: str, library: Any, guard: GuardTransport, *, stream: bool) -> None:  # noqa: ANN401
    http = library.AsyncClient(transport=guard)
    async with openai.AsyncOpenAI(base_url=url, api_key=key, http_client=http, max_retries=0) as client:
        answer = await client.chat.completions.create(model="m", messages=HELLO, stream=stream)
        if stream:
            async for _ in answer:
                pass


async def by_blocking_openai(url: str, key: str, library: Any, guard: GuardTransport, *, stream: bool) -> None:  # noqa: ANN401
    def ask() -> None:
        http = library.Client(transport=guard)
        with openai.OpenAI(base_url=url, api_key=key, http_client=http, max_retries=0) as client:
            answer = client.chat.completions.create(model="m", messages=HELLO, stream=stream)
            if stream:
                for _ in answer:
                    pass

    await asyncio.to_thread(ask)


def test_the_table_of_faults_is_complete() -> None:
    assert set(OPENAI) == {"", *FAULTS}


@pytest.mark.parametrize("library", [httpx2, httpx], ids=lambda library: library.__name__)
@pytest.mark.parametrize("ask", [by_openai, by_blocking_openai])
@pytest.mark.parametrize("fault", OPENAI)
async def test_each_fault_of_the_provider_is_what_openai_s_sdk_has_for_it_and_is_told_to_the_breaker(
    fault: str,
    ask: Callable[..., Awaitable[None]],
    library: Any,  # noqa: ANN401
) -> None:
    async with served_provider() as provider:
        for number, (expected, told) in enumerate(OPENAI[fault], start=1):
            breaker = Breaker("provider")
            inner = library.HTTPTransport() if ask is by_blocking_openai else library.AsyncHTTPTransport()
            guard = GuardTransport(inner, breaker=breaker, limits=LIMITS.get(fault, PATIENT))
            if fault:
                provider.faults.inject(fault, times=1)
            raised: Exception | None = None
            try:
                await ask(provider.url, provider.token, library, guard, stream=number == 2)
            except Exception as error:  # noqa: BLE001  what it is is what the test is about
                raised = error
            assert type(raised) is (expected or type(None))
            call, state = await provider.ended(number), breaker.snapshot()
            assert (state.calls, state.failures) == told
            assert call.ending == ("disconnected" if fault in LIMITS else "faulted" if fault else "finished")


async def test_the_retries_of_an_sdk_end_where_the_breaker_opens() -> None:
    breaker = Breaker("provider", BreakerSettings(min_calls=1))
    async with served_provider() as provider:
        provider.faults.inject("overloaded")
        http = httpx2.AsyncClient(transport=GuardTransport(httpx2.AsyncHTTPTransport(), breaker=breaker))
        async with openai.AsyncOpenAI(base_url=provider.url, api_key=provider.token, http_client=http) as client:
            with pytest.raises(openai.InternalServerError, match="not sent: provider is left alone"):
                await client.chat.completions.create(model="m", messages=HELLO)
    assert provider.record.total == 1
    assert breaker.snapshot().refused == 1


# Anthropic, as its API writes; the sandbox's provider speaks OpenAI's language only.

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
START = {"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}


def event(value: dict[str, Any]) -> bytes:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n".encode()


async def complete(peer: Peer) -> None:
    if b'"stream": true' not in peer.body and b'"stream":true' not in peer.body:
        await peer.json(MESSAGE)
        return
    await peer.head()
    stop = event({"type": "message_stop"})
    await peer.piece(event(START) + stop[:9])
    await peer.piece(stop[9:])
    await peer.end()


async def overloaded(peer: Peer) -> None:
    await peer.json(OVERLOADED, status=529)


async def limited(peer: Peer) -> None:
    error = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    await peer.json(error, status=429, retry_after="9", anthropic_ratelimit_requests_remaining="0")


async def overloaded_in_the_stream(peer: Peer) -> None:
    await peer.head()
    await peer.piece(event(START))
    await peer.piece(event(OVERLOADED))
    await peer.left()


async def cut(peer: Peer) -> None:
    await peer.head()
    await peer.piece(event(START))
    peer.reset()


async def stalled(peer: Peer) -> None:
    await peer.head()
    await peer.piece(event(START))
    await peer.left()


async def silent(peer: Peer) -> None:
    await peer.left()


async def by_anthropic(url: str, guard: GuardTransport, *, stream: bool) -> None:
    http = httpx2.AsyncClient(transport=guard)
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", http_client=http, max_retries=0) as client:
        answer = await client.messages.create(model="m", max_tokens=9, messages=HELLO, stream=stream)
        if stream:
            async for _ in answer:
                pass


async def by_blocking_anthropic(url: str, guard: GuardTransport, *, stream: bool) -> None:
    def ask() -> None:
        http = httpx2.Client(transport=guard)
        with anthropic.Anthropic(base_url=url, api_key="x", http_client=http, max_retries=0) as client:
            answer = client.messages.create(model="m", max_tokens=9, messages=HELLO, stream=stream)
            if stream:
                for _ in answer:
                    pass

    await asyncio.to_thread(ask)


@pytest.mark.parametrize(
    ("answer", "stream", "expected", "category"),
    [
        (complete, False, None, None),
        (complete, True, None, None),
        (overloaded, False, "OverloadedError", Category.OVERLOADED),
        (overloaded, True, "OverloadedError", Category.OVERLOADED),
        (limited, True, "RateLimitError", Category.RATE_LIMIT),
        (overloaded_in_the_stream, True, "APIStatusError", Category.OVERLOADED),
        (cut, True, "ReadError", Category.CONNECTION),
        (stalled, True, "ReadTimeout", Category.TIMEOUT),
        (silent, False, "APITimeoutError", Category.TIMEOUT),
        (silent, True, "APITimeoutError", Category.TIMEOUT),
    ],
)
@pytest.mark.parametrize("blocking", [False, True])
async def test_anthropic_s_sdk_is_guarded_too(
    answer: Callable[[Peer], Awaitable[None]],
    stream: bool,
    expected: str | None,
    category: Category | None,
    blocking: bool,
) -> None:
    breaker, gone = Breaker("provider"), asyncio.Event()

    async def watched(peer: Peer) -> None:
        await answer(peer)
        gone.set()

    transport = httpx2.HTTPTransport() if blocking else httpx2.AsyncHTTPTransport()
    limits = {silent: NO_HEADERS, stalled: NO_BODY}.get(answer, PATIENT)
    guard = GuardTransport(transport, breaker=breaker, limits=limits)
    raised: Exception | None = None
    async with wire({"/v1/messages": watched}) as server:
        try:
            await (by_blocking_anthropic if blocking else by_anthropic)(server.url, guard, stream=stream)
        except Exception as error:  # noqa: BLE001  what it is is what the test is about
            raised = error
        async with asyncio.timeout(20):
            await gone.wait()
    assert (type(raised).__name__ if raised else None) == expected
    state = breaker.snapshot()
    assert (state.calls, state.failures) == ((1, 1) if category else (1, 0))
    assert (state.failure.category if state.failure else None) == category
    if answer is limited:
        assert guard.limits_seen is not None
        assert (guard.limits_seen.retry_after_s, guard.limits_seen.by_name["requests"].remaining) == (9.0, 0)


# Google's, for both of its ways to take a client

ANSWER = {"candidates": [{"content": {"role": "model", "parts": [{"text": "hello"}]}, "finishReason": "STOP"}]}


async def candidate(peer: Peer) -> None:
    if "streamGenerateContent" not in peer.target:
        await peer.json(ANSWER)
        return
    await peer.head()
    await peer.piece(f"data: {json.dumps(ANSWER)}\r\n\r\n".encode())
    await peer.end()


async def half_a_candidate(peer: Peer) -> None:
    await peer.head()
    await peer.piece(f"data: {json.dumps(ANSWER)}\r\n\r\n".encode())
    peer.reset()


async def exhausted(peer: Peer) -> None:
    error = {"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}
    await peer.json(error, status=429)


@pytest.mark.parametrize(
    ("answer", "stream", "expected", "told"),
    [
        (candidate, False, None, GOOD),
        (candidate, True, None, GOOD),
        (exhausted, False, "ClientError", BAD),
        (exhausted, True, "ClientError", BAD),
        (half_a_candidate, True, "ReadError", BAD),
        (silent, False, "ReadTimeout", BAD),
    ],
)
async def test_google_s_sdk_is_guarded_too(
    answer: Callable[[Peer], Awaitable[None]], stream: bool, expected: str | None, told: tuple[int, int]
) -> None:
    breaker = Breaker("provider")
    limits = NO_HEADERS if answer is silent else PATIENT
    guard = GuardTransport(httpx2.AsyncHTTPTransport(), breaker=breaker, limits=limits)
    paths = [f"/v1/models/m:{name}" for name in ("generateContent", "streamGenerateContent")]
    raised: Exception | None = None
    async with wire(dict.fromkeys(paths, answer)) as server:
        options = genai.types.HttpOptions(base_url=server.url, async_client_args={"transport": guard})
        async with genai.Client(api_key="x", http_options=options).aio as client:
            try:
                if stream:
                    async for _ in await client.models.generate_content_stream(model="m", contents="hello"):
                        pass
                else:
                    await client.models.generate_content(model="m", contents="hello")
            except Exception as error:  # noqa: BLE001  what it is is what the test is about
                raised = error
    assert (type(raised).__name__ if raised else None) == expected
    state = breaker.snapshot()
    assert (state.calls, state.failures) == told
