import asyncio
from contextlib import AsyncExitStack

import httpx2
import pytest

from mainstay.testing.provider import served_provider

pytestmark = pytest.mark.anyio


async def test_calls_that_are_open_at_the_end_are_cut_off_and_recorded() -> None:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(served_provider())
        provider.faults.inject("hang")
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(ask(provider.url, provider.token))
            while provider.record.total == 0:  # noqa: ASYNC110  the other side of a socket has no event
                await asyncio.sleep(0.001)
            await stack.aclose()
        assert isinstance(asking.result(), httpx2.TransportError)
        assert (await provider.ended(1)).ending == "disconnected"


async def ask(url: str, token: str) -> Exception | None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    try:
        async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
            await http.post(f"{url}/chat/completions", json=body)
    except httpx2.TransportError as error:
        return error
    return None
