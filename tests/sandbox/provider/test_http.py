"""The faults as clients meet them, over real connections."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx2
import openai
import pytest

from mainstay.sandbox.provider.faults import FAULTS
from mainstay.testing.provider import AT_ONCE, ServedProvider, served_provider

pytestmark = pytest.mark.anyio

FIRST_FIVE = "I am the sandbox responder"
HELLO = [{"role": "user", "content": "hello there"}]
IMPATIENT_S = 0.3


def client_of(provider: ServedProvider, **changes: object) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(**{"base_url": provider.url, "api_key": provider.token, "max_retries": 0} | changes)


@pytest.fixture
async def client(provider: ServedProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(provider) as client:
        yield client


@pytest.fixture
async def http(provider: ServedProvider) -> AsyncIterator[httpx2.AsyncClient]:
    headers = {"authorization": f"Bearer {provider.token}"}
    async with httpx2.AsyncClient(base_url=provider.url, headers=headers) as http:
        yield http


async def whole(client: openai.AsyncOpenAI, text: str = "hello there", **rest: object):
    return await client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **rest)


async def stream(client: openai.AsyncOpenAI, got: list, text: str = "hello there", **rest: object) -> None:
    """Put what arrives into ``got``, so that it is there also when the stream breaks."""
    async for chunk in await whole(client, text, stream=True, **rest):
        got.append(chunk)  # noqa: PERF401  an extended list would lose them when the stream breaks


def text_of(got: list) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in got if chunk.choices)


def finish_of(got: list) -> str | None:
    return next((chunk.choices[0].finish_reason for chunk in reversed(got) if chunk.choices), None)


async def raw(provider: ServedProvider, *, streaming: bool = True) -> tuple[bytes, Exception | None]:
    """What comes over a plain connection until its end, and how it ended."""
    body = json.dumps({"model": "m", "messages": HELLO, "stream": streaming})
    reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {provider.token}\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    got = b""
    try:
        while chunk := await reader.read(65536):
            got += chunk
    except ConnectionResetError as reset:
        return got, reset
    finally:
        writer.close()
    return got, None


# What the official client raises in a call that does not stream, and in one that does. None: no error at all.
RAISED: dict[str, tuple[type[Exception] | None, type[Exception] | None]] = {
    "rate-limit": (openai.RateLimitError, openai.RateLimitError),
    "quota": (openai.RateLimitError, openai.RateLimitError),
    "auth": (openai.AuthenticationError, openai.AuthenticationError),
    "forbidden": (openai.PermissionDeniedError, openai.PermissionDeniedError),
    "server-error": (openai.InternalServerError, openai.InternalServerError),
    "overloaded": (openai.InternalServerError, openai.InternalServerError),
    "refuse": (openai.APIConnectionError, openai.APIConnectionError),
    "hang": (openai.APITimeoutError, openai.APITimeoutError),
    "hang-first-token": (openai.APITimeoutError, openai.APITimeoutError),
    "stall": (openai.APITimeoutError, openai.APITimeoutError),
    "cut": (openai.APIConnectionError, openai.APIConnectionError),
    "truncate": (None, None),
    "malformed": (json.JSONDecodeError, json.JSONDecodeError),
    "error-after-200": (None, openai.APIError),
}
MID_STREAM = ("stall", "cut", "truncate", "malformed", "error-after-200")


def test_every_fault_is_tried() -> None:
    assert tuple(RAISED) == FAULTS


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_stream_breaks_as_the_fault_says_and_the_next_one_is_whole(
    provider: ServedProvider, fault: str
) -> None:
    provider.faults.inject(fault, times=1)
    got: list = []
    async with client_of(provider, timeout=IMPATIENT_S) as client:
        if expected := RAISED[fault][1]:
            with pytest.raises(expected) as raised:
                await stream(client, got)
            assert raised.type is expected
        else:
            await stream(client, got)
        assert text_of(got) == (FIRST_FIVE if fault in MID_STREAM else "")
        assert finish_of(got) is None
        call = await provider.ended(1)
        assert (call.fault, call.tokens_sent) == (fault, 5 if fault in MID_STREAM else 0)
        assert call.ending == ("disconnected" if expected is openai.APITimeoutError else "faulted")
        assert not call.usage_told
        got.clear()
        await stream(client, got)
    assert finish_of(got) == "stop"


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_whole_answer_breaks_as_the_fault_says_and_the_next_one_is_whole(
    provider: ServedProvider, fault: str
) -> None:
    provider.faults.inject(fault, times=1)
    async with client_of(provider, timeout=IMPATIENT_S) as client:
        if expected := RAISED[fault][0]:
            with pytest.raises(expected) as raised:
                await whole(client)
            assert raised.type is expected
        else:
            answer = await whole(client)
            assert not answer.choices or answer.choices[0].finish_reason is None
        call = await provider.ended(1)
        assert call.fault == fault
        assert call.ending == ("disconnected" if expected is openai.APITimeoutError else "faulted")
        assert (await whole(client)).choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("rate-limit", 429, "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota"),
        ("auth", 401, "invalid_api_key"),
        ("forbidden", 403, "unsupported_country_region_territory"),
        ("server-error", 500, None),
        ("overloaded", 503, "server_is_overloaded"),
    ],
)
async def test_an_error_has_the_status_and_code_of_the_real_service(
    provider: ServedProvider, client: openai.AsyncOpenAI, fault: str, status: int, code: str | None
) -> None:
    provider.faults.inject(fault)
    with pytest.raises(openai.APIStatusError) as raised:
        await whole(client)
    assert (raised.value.status_code, raised.value.code) == (status, code)
    assert ("retry-after" in raised.value.response.headers) is (fault == "rate-limit")


async def test_a_rate_limit_says_how_long_to_wait_if_it_is_told_to(
    provider: ServedProvider, client: openai.AsyncOpenAI
) -> None:
    provider.faults.inject("rate-limit", times=1, retry_after_s=30)
    provider.faults.inject("rate-limit", times=1, retry_after_s=None, message="took 4290ms")
    with pytest.raises(openai.RateLimitError) as raised:
        await whole(client)
    assert raised.value.response.headers["retry-after"] == "30"
    assert raised.value.response.headers["x-ratelimit-reset-requests"] == "30s"
    with pytest.raises(openai.RateLimitError, match="took 4290ms") as raised:
        await whole(client)
    assert "retry-after" not in raised.value.response.headers


async def test_an_error_after_200_carries_the_status_in_its_body(
    provider: ServedProvider, client: openai.AsyncOpenAI
) -> None:
    provider.faults.inject("error-after-200")
    with pytest.raises(openai.APIError) as raised:
        await stream(client, [])
    assert raised.value.body["code"] == 502


@pytest.mark.parametrize("implementation", ["httptools", "h11"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_refusing_and_cutting_reset_the_connection(implementation: str, streaming: bool) -> None:
    async with served_provider(http=implementation) as provider:
        provider.faults.inject("refuse", times=1)
        provider.faults.inject("cut", times=1)
        got, end = await raw(provider, streaming=streaming)
        assert got == b""
        assert isinstance(end, ConnectionResetError)
        got, end = await raw(provider, streaming=streaming)
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert isinstance(end, ConnectionResetError)


async def test_a_truncated_stream_ends_in_good_order(provider: ServedProvider) -> None:
    provider.faults.inject("truncate", times=1)
    provider.faults.inject("truncate", times=1, done=True)
    for done in (False, True):
        got, end = await raw(provider)
        assert end is None
        assert got.endswith(b"\r\n0\r\n\r\n")
        assert (b"[DONE]" in got) is done
        assert b'"finish_reason":"stop"' not in got


@pytest.mark.parametrize(
    ("fault", "status", "text"), [("stall", 200, b"responder"), ("hang-first-token", 200, b"")]
)
async def test_pings_keep_the_socket_alive_but_bring_no_token(
    provider: ServedProvider, http: httpx2.AsyncClient, fault: str, status: int, text: bytes
) -> None:
    provider.faults.inject(fault, pings=True)
    got = b""
    async with http.stream(
        "POST", "/chat/completions", json={"model": "m", "messages": HELLO, "stream": True}
    ) as response:
        assert response.status_code == status
        async for part in response.aiter_bytes():
            got += part
            if got.count(b": ping\n\n") == 5:
                break
    assert text in got
    assert got.count(b'"content":"') == (6 if text else 0)
    assert (await provider.ended(1)).ending == "disconnected"


@pytest.mark.parametrize("fault", ["hang", "hang-first-token", "stall"])
async def test_a_call_does_not_hang_for_ever(fault: str) -> None:
    async with served_provider(settings=replace(AT_ONCE, hang_limit_s=0.05)) as provider:
        provider.faults.inject(fault)
        _, end = await raw(provider)
        assert isinstance(end, ConnectionResetError)
        assert (await provider.ended(1)).ending == "faulted"


async def test_a_client_that_leaves_is_noticed_while_tokens_flow() -> None:
    async with (
        served_provider(settings=replace(AT_ONCE, tokens_per_second=200)) as provider,
        client_of(provider) as client,
    ):
        answer = await whole(client, "2000 words", stream=True)
        async for chunk in answer:
            if "You" in (chunk.choices[0].delta.content or ""):
                break
        await answer.close()
        call = await provider.ended(1)
    assert call.ending == "disconnected"
    assert 10 < call.tokens_sent < 2000


async def test_streaming_or_not_the_answer_and_its_usage_are_the_same(
    provider: ServedProvider, client: openai.AsyncOpenAI
) -> None:
    once, got = await whole(client, "count to 50"), []
    await stream(client, got, "count to 50", stream_options={"include_usage": True})
    assert text_of(got) == once.choices[0].message.content
    assert "not an AI" in text_of(got)
    assert got[-1].choices == []
    assert all("usage" in chunk.model_fields_set for chunk in got)
    assert got[-1].usage == once.usage
    assert once.usage.completion_tokens == (await provider.ended(2)).tokens_sent
    assert once.usage.prompt_tokens == (await provider.ended(1)).prompt_tokens
    got.clear()
    await stream(client, got)
    assert not any("usage" in chunk.model_fields_set for chunk in got)
    assert [(await provider.ended(number)).usage_told for number in (1, 2, 3)] == [True, True, False]


async def test_an_answer_stops_at_the_clients_limit(client: openai.AsyncOpenAI) -> None:
    answer = await whole(client, max_tokens=5)
    assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("length", FIRST_FIVE)
    got: list = []
    await stream(client, got, max_completion_tokens=5)
    assert (finish_of(got), text_of(got)) == ("length", FIRST_FIVE)


async def test_tool_calls_arrive_in_pieces_that_fit_together(client: openai.AsyncOpenAI) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("add", "now")]
    text = 'use add with {"a": 1, "b": "x y"} and now'
    once = (await whole(client, text, tools=tools)).choices[0]
    assert once.finish_reason == "tool_calls"
    got: list = []
    await stream(client, got, text, tools=tools)
    assert finish_of(got) == "tool_calls"
    calls: dict[int, list[str]] = {}
    for chunk in got:
        for part in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(part.index, ["", "", ""])
            call[0] += part.id or ""
            call[1] += part.function.name or ""
            call[2] += part.function.arguments or ""
    assert [tuple(call) for call in calls.values()] == [
        (call.id, call.function.name, call.function.arguments) for call in once.message.tool_calls
    ]
    assert [json.loads(call[2]) for call in calls.values()] == [{"a": 1, "b": "x y"}, {}]


async def test_an_empty_answer_is_finished(client: openai.AsyncOpenAI) -> None:
    got: list = []
    await stream(client, got, "say nothing")
    assert (finish_of(got), text_of(got)) == ("stop", "")


async def test_a_poisoned_history_is_refused_and_uses_no_fault_up(
    provider: ServedProvider, client: openai.AsyncOpenAI
) -> None:
    provider.faults.inject("server-error", times=1)
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call]}, *HELLO]
    with pytest.raises(openai.BadRequestError, match="without an answer: c1"):
        await client.chat.completions.create(model="m", messages=messages)
    assert (await provider.ended(1)).ending == "rejected"
    assert [fault.name for fault in provider.faults.active()] == ["server-error"]


async def test_a_wrong_key_is_refused_and_not_told_what_is_wrong_with_it(provider: ServedProvider) -> None:
    async with client_of(provider, api_key="guess") as client:
        with pytest.raises(openai.AuthenticationError) as raised:
            await whole(client)
        assert "guess" not in str(raised.value)
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
    assert (await provider.ended(1)).ending == "rejected"


async def test_the_model_is_listed_unless_a_lasting_fault_is_in_the_way(
    provider: ServedProvider, client: openai.AsyncOpenAI
) -> None:
    provider.faults.inject("quota", times=1)
    assert [model.id async for model in client.models.list()] == ["primary"]
    assert len(provider.faults.active()) == 1
    provider.faults.inject("auth")
    with pytest.raises(openai.AuthenticationError):
        await client.models.list()
    assert provider.record.total == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/embeddings", 404), ("GET", "/chat/completions", 405), ("POST", "/models", 405)],
)
async def test_a_wrong_address_is_an_error_of_the_api(
    http: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert status != 405 or "allow" in response.headers


async def test_a_request_over_the_limit_is_refused() -> None:
    async with (
        served_provider(settings=replace(AT_ONCE, body_limit_bytes=64 * 1024)) as provider,
        httpx2.AsyncClient(base_url=provider.url, headers={"authorization": f"Bearer {provider.token}"}) as http,
    ):
        response = await http.post("/chat/completions", content=b" " * 65 * 1024)
        assert response.status_code == 413
        assert "64KiB" in response.json()["error"]["message"]
        assert (await provider.ended(1)).ending == "rejected"


async def test_a_request_without_end_is_refused_before_its_end() -> None:
    async with served_provider(settings=replace(AT_ONCE, body_limit_bytes=1024)) as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
        writer.write(b" " * 10_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        writer.close()


async def test_a_request_that_does_not_arrive_is_not_waited_for_for_ever() -> None:
    async with served_provider(settings=replace(AT_ONCE, hang_limit_s=0.05)) as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", provider.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{")
        assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()


async def test_calls_at_the_same_time_are_all_answered_and_counted(
    provider: ServedProvider, client: openai.AsyncOpenAI
) -> None:
    provider.faults.inject("overloaded", times=7)
    provider.faults.inject("cut", times=5)
    answers = await asyncio.gather(
        *(stream(client, [], f"question {number}") for number in range(40)), return_exceptions=True
    )
    assert sum(isinstance(answer, openai.InternalServerError) for answer in answers) == 7
    assert sum(isinstance(answer, openai.APIConnectionError) for answer in answers) == 5
    assert answers.count(None) == 28
    for number in range(1, 41):
        await provider.ended(number)
    summary = provider.record.as_json()
    assert (summary["total"], summary["open"]) == (40, 0)
    assert summary["endings"] == {"faulted": 12, "finished": 28}
    assert summary["faults"] == {"overloaded": 7, "cut": 5}
    assert {call.said for call in provider.record.calls} == {f"question {number}" for number in range(40)}


async def test_a_client_that_leaves_within_its_request_is_counted(provider: ServedProvider) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", provider.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
    await writer.drain()
    async with asyncio.timeout(10):
        while provider.record.total == 0:  # noqa: ASYNC110  the other side of a socket has no event
            await asyncio.sleep(0.005)
    writer.close()
    assert (await provider.ended(1)).ending == "disconnected"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_provider_may_name_another_model_than_was_asked_as_routers_do(streaming: bool) -> None:
    async with (
        served_provider(settings=replace(AT_ONCE, answers_as="other/model")) as provider,
        client_of(provider) as client,
    ):
        got = await whole(client, stream=streaming)
        named = {chunk.model async for chunk in got} if streaming else {got.model}
        assert named == {"other/model"}
        assert (await provider.ended(1)).model == "m"
