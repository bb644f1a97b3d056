"""What the breaker refuses never leaves the process, and an unchanged SDK fails at once, with the reason."""

import asyncio
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from tests.recovery.transport.conftest import Maker, Peer, wire

from mainstay.errors import Category
from mainstay.recovery.breaker.model import BreakerSettings, State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.classify import classify
from mainstay.recovery.model import TRAITS, Failure
from mainstay.recovery.transport.guard import GuardTransport
from mainstay.recovery.transport.model import CallSeen
from mainstay.recovery.transport.refusal import REFUSED
from mainstay.testing.provider import served_provider

pytestmark = pytest.mark.anyio

HELLO: Any = [{"role": "user", "content": "hello"}]


def opened(category: Category, seconds: float = 30) -> Breaker:
    breaker = Breaker("provider")
    breaker.open_for(seconds, Failure(category=category, message="the reason"))
    return breaker


async def by_openai(guard: GuardTransport, url: str) -> None:
    http = httpx2.AsyncClient(transport=guard)
    async with openai.AsyncOpenAI(base_url=url, api_key="x", http_client=http) as client:
        await client.chat.completions.create(model="m", messages=HELLO)


async def by_openai_stream(guard: GuardTransport, url: str) -> None:
    http = httpx2.AsyncClient(transport=guard)
    async with openai.AsyncOpenAI(base_url=url, api_key="x", http_client=http) as client:
        await client.chat.completions.create(model="m", messages=HELLO, stream=True)


async def by_anthropic(guard: GuardTransport, url: str) -> None:
    http = httpx2.AsyncClient(transport=guard)
    async with anthropic.AsyncAnthropic(base_url=url, api_key="x", http_client=http) as client:
        await client.messages.create(model="m", max_tokens=9, messages=HELLO)


async def by_google(guard: GuardTransport, url: str) -> None:
    options = genai.types.HttpOptions(base_url=url, httpx_async_client=httpx2.AsyncClient(transport=guard))
    async with genai.Client(api_key="x", http_options=options).aio as client:
        await client.models.generate_content(model="m", contents="hello")


SDKS = [by_openai, by_openai_stream, by_anthropic, by_google]
CATEGORIES = [
    category for category, traits in TRAITS.items() if traits.counts and category is not Category.DATABASE
]


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("ask", SDKS)
async def test_an_sdk_fails_at_once_with_the_failure_that_opened_the_breaker(
    ask: Callable[[GuardTransport, str], Any], category: Category
) -> None:
    seen: list[CallSeen] = []
    async with wire({}) as server:
        guard = GuardTransport(httpx2.AsyncHTTPTransport(), breaker=opened(category), on_call=seen.append)
        with pytest.raises(Exception, match="the reason") as raised:
            await ask(guard, server.url)
        assert server.targets == []
    failure = classify(raised.value)
    assert failure.category is category
    assert 0 < (failure.retry_after_s or 0) <= 30
    assert "not sent: provider is left alone for" in failure.message
    (call,) = seen
    assert (call.refused, call.status, call.category) == (True, None, category)


async def test_the_response_of_nobody_is_complete_and_says_so(client: Maker) -> None:
    guarded = client(breaker=opened(Category.RATE_LIMIT, 1.5))
    response = await guarded.get("http://127.0.0.1:1/v1?key=secret")
    assert isinstance(response, guarded.library.Response)
    assert (response.status_code, response.headers[REFUSED]) == (429, "true")
    assert response.headers["retry-after"] == "2"
    assert 1000 < int(response.headers["retry-after-ms"]) <= 1500
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    assert b"not sent: provider is left alone" in await guarded.read("http://127.0.0.1:1/", b"never sent")
    assert guarded.guard.counts.refused == guarded.guard.counts.calls == 2


async def test_while_a_probe_is_under_way_no_wait_is_named(client: Maker, half_open: Callable[[], Breaker]) -> None:
    breaker = half_open()
    with breaker.permit():
        response = await client(breaker=breaker).get("http://127.0.0.1:1/")
    assert response.status_code == 503
    assert "retry-after" not in response.headers


async def test_a_breaker_that_is_open_for_slowness_stands_for_an_overloaded_provider(client: Maker) -> None:
    breaker = Breaker("provider", BreakerSettings(min_calls=1), slow_after_s=1)
    permit = breaker.permit()
    permit.first_token_s = 2
    permit.succeed()
    response = await client(breaker=breaker).get("http://127.0.0.1:1/")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "overloaded")


async def test_of_fifty_concurrent_calls_through_an_open_breaker_none_reaches_the_provider() -> None:
    async with served_provider() as provider:
        guard = GuardTransport(httpx2.AsyncHTTPTransport(), breaker=opened(Category.OVERLOADED))
        http = httpx2.AsyncClient(transport=guard)
        async with openai.AsyncOpenAI(base_url=provider.url, api_key=provider.token, http_client=http) as client:
            calls = [client.chat.completions.create(model="m", messages=HELLO) for _ in range(50)]
            results = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(result) for result in results} == {openai.InternalServerError}
    assert provider.record.total == 0
    assert guard.counts.refused == 50


async def test_half_open_exactly_one_of_a_hundred_concurrent_calls_reaches_the_provider(
    half_open: Callable[[], Breaker],
) -> None:
    breaker = half_open()
    async with served_provider() as provider:
        http = httpx2.AsyncClient(transport=GuardTransport(httpx2.AsyncHTTPTransport(), breaker=breaker))
        async with openai.AsyncOpenAI(base_url=provider.url, api_key=provider.token, http_client=http) as client:
            calls = [client.chat.completions.create(model="m", messages=HELLO) for _ in range(100)]
            results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, BaseException) for result in results) == 99
    assert provider.record.total == 1
    assert breaker.state is State.CLOSED


async def test_half_open_exactly_one_of_twenty_threads_reaches_the_provider(
    half_open: Callable[[], Breaker],
) -> None:
    breaker, refused, on = half_open(), asyncio.Event(), asyncio.Event()
    loop, statuses = asyncio.get_running_loop(), list[int]()

    def seen(call: CallSeen) -> None:
        statuses.append(call.status or 0)
        if len(statuses) == 19:
            loop.call_soon_threadsafe(refused.set)

    async def late(peer: Peer) -> None:
        await on.wait()
        await peer.json({})

    async with wire({"/": late}) as server, asyncio.timeout(20):
        guard = GuardTransport(httpx2.HTTPTransport(), breaker=breaker, on_call=seen)
        with httpx2.Client(transport=guard) as http:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(20):
                    tasks.create_task(asyncio.to_thread(http.get, f"{server.url}/"))
                await refused.wait()
                on.set()
    assert sorted(statuses) == [0] * 19 + [200]
    assert server.targets == ["/"]
    assert breaker.state is State.CLOSED
