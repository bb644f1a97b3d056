"""How is a server reached that has a URL?

Over streamable HTTP by the SDK's own transport, on a client that adds what it leaves open: an answer in one piece
has a greatest size, and the goodbye to a server that does not answer does not hold up the end of the service.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx2
from mcp.client.streamable_http import streamable_http_client

from mainstay.agents.mcp.link import LONGEST_MESSAGE_BYTES
from mainstay.agents.mcp.model import McpSettings
from mainstay.certificates import trusted
from mainstay.units import format_size

__all__ = ["UrlLink"]

_GOODBYE_S: Final = 2.0
_SILENT_S: Final = 300.0
"""A stream that says nothing for so long is opened again."""


class UrlLink:
    """One session with the server; see `mainstay.agents.mcp.link.Link`. Nothing tells when it has ended."""

    def __init__(self, settings: McpSettings) -> None:
        self.ended = asyncio.Event()
        self._settings = settings
        self._transport = _Transport()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Any, None]:  # the SDK does not export the type of its streams
        """See `mainstay.agents.mcp.link.Link.open`."""
        settings = self._settings
        headers = {name: value.reveal() for name, value in settings.headers.items()}
        silent_s = max(_SILENT_S, 2 * settings.timeout)
        async with (
            httpx2.AsyncClient(
                headers={"Accept-Encoding": "identity"} | headers,
                timeout=httpx2.Timeout(settings.connect_timeout, read=silent_s),
                transport=self._transport,
            ) as http,
            streamable_http_client(
                settings.url, http_client=http, max_sse_event_size=LONGEST_MESSAGE_BYTES
            ) as streams,
        ):
            yield streams

    def why(self) -> str:
        """See `mainstay.agents.mcp.link.Link.why`."""
        status = self._transport.refused_with
        return f"it answered with HTTP {status}" if status else ""


class _TooLong(httpx2.StreamError):
    """An answer that is not read to its end."""


class _Transport(httpx2.AsyncHTTPTransport):
    """``refused_with``: the status of the last answer, if it was a refusal."""

    def __init__(self) -> None:
        super().__init__(verify=trusted(), trust_env=False, limits=httpx2.Limits(max_connections=None))
        self.refused_with = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "DELETE":
            return await self._goodbye(request)
        if request.method == "POST":
            self.refused_with = 0
        response = await super().handle_async_request(request)
        if request.method == "POST" and response.status_code >= 400:
            self.refused_with = response.status_code
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream)
        return response

    async def _goodbye(self, request: httpx2.Request) -> httpx2.Response:
        """In a time of its own, because nobody cuts this wait short; what comes with the status is not read."""
        async with asyncio.timeout(_GOODBYE_S):
            response = await super().handle_async_request(request)
            await response.aclose()
        return httpx2.Response(response.status_code)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LONGEST_MESSAGE_BYTES
        async for piece in self._stream:
            left -= len(piece)
            if left < 0:
                raise _TooLong(f"it sent a message of more than {format_size(LONGEST_MESSAGE_BYTES)}")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
