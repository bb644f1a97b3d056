"""How is one misbehaving model served over HTTP?

One application is one model's listener, under uvicorn. ``refuse`` and ``cut`` reset the TCP connection itself:
ASGI has no word for that, so the transport is taken from uvicorn's request cycle, whose ``receive`` this is.
"""

import asyncio
import contextlib
import hmac
import socket
import struct
from collections.abc import Iterable
from typing import assert_never, cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainstay.clock import Clock
from mainstay.sandbox.provider.faults import FaultPlan
from mainstay.sandbox.provider.model import ApiError, ProviderSettings, Rejected
from mainstay.sandbox.provider.record import Call, ProviderRecord
from mainstay.sandbox.provider.request import parse
from mainstay.sandbox.provider.responder import respond
from mainstay.sandbox.provider.script import (
    Abort,
    Body,
    End,
    Head,
    Pace,
    Silence,
    Step,
    failing,
    listing,
    opening,
    script,
)
from mainstay.sandbox.provider.tokens import prompt_tokens
from mainstay.sandbox.provider.wire import Completion
from mainstay.units import format_size

__all__ = ["provider_app"]

_READ_PAST_LIMIT = 8


def provider_app(
    name: str,
    *,
    faults: FaultPlan,
    record: ProviderRecord,
    clock: Clock,
    token: str | None,
    settings: ProviderSettings | None = None,
) -> ASGIApp:
    """The application: ``/v1/chat/completions`` and ``/v1/models``.

    Args:
        name: the model that is listed; requests may name any.
        faults: asked once for each valid request for a completion; an invalid one does not use a fault up.
        record: where each request for a completion is written down.
        clock: dates answers and records.
        token: the API key that clients must send; None lets everybody in.
        settings: speed and limits.
    """
    provider = _Provider(name, faults, record, clock, token, settings or ProviderSettings())
    return Starlette(
        routes=[
            Route("/v1/chat/completions", _Endpoint(provider.complete), methods=["POST"]),
            Route("/v1/models", _Endpoint(provider.models), methods=["GET"]),
        ],
        exception_handlers={404: _no_such_path, 405: _wrong_method},
    )


class _Endpoint:
    """Keeps Starlette from reading the request itself: a fault may have to strike before."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _Left(Exception):
    """The client closed the connection before it had sent its request."""


class _Provider:
    def __init__(
        self,
        name: str,
        faults: FaultPlan,
        record: ProviderRecord,
        clock: Clock,
        token: str | None,
        settings: ProviderSettings,
    ) -> None:
        self._name = name
        self._faults = faults
        self._record = record
        self._clock = clock
        self._token = token
        self._settings = settings

    async def complete(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for a completion, and write it down."""
        call = self._record.opened(self._clock.now())
        started = self._clock.monotonic()
        try:
            steps = await self._steps(call, scope, receive)
            await self._perform(steps, call, receive, send)
        except _Left:
            pass
        finally:
            if call.ending == "open":
                call.ending = "disconnected"
            call.seconds = self._clock.monotonic() - started
            self._record.ended(call)

    async def models(self, scope: Scope, receive: Receive, send: Send) -> None:
        """List the one model; meets the lasting faults that strike before an answer, and uses none up."""
        call = Call(number=0, at=self._clock.now())
        fault = self._faults.lasting()
        steps = None if fault is None else opening(fault)
        if steps is None:
            steps = listing(self._name)
        try:
            self._authorise(scope)
        except Rejected as rejected:
            steps = failing(rejected.error, "rejected")
        await self._perform(steps, call, receive, send)

    async def _steps(self, call: Call, scope: Scope, receive: Receive) -> Iterable[Step]:
        try:
            async with asyncio.timeout(self._settings.hang_limit_s):
                body = await _read(receive, self._settings.body_limit_bytes)
            self._authorise(scope)
            request = parse(body)
        except TimeoutError:
            return failing(ApiError(status=408, message="The request did not arrive in time."), "rejected")
        except Rejected as rejected:
            return failing(rejected.error, "rejected")
        fault = self._faults.take()
        call.describe(request)
        call.prompt_tokens = prompt_tokens(request)
        call.fault = "" if fault is None else fault.name
        completion = Completion(
            id=f"chatcmpl-{request.digest}-{call.number}",
            provider=self._name,
            created=int(call.at.timestamp()),
            request=request,
            answer=respond(request),
            answers_as=self._settings.answers_as,
        )
        return script(completion, fault)

    def _authorise(self, scope: Scope) -> None:
        if self._token is None:
            return
        given = next((value for key, value in scope["headers"] if key == b"authorization"), b"")
        if not hmac.compare_digest(given, b"Bearer " + self._token.encode()):
            raise Rejected(ApiError(status=401, message="The API key is not correct.", code="invalid_api_key"))

    async def _perform(self, steps: Iterable[Step], call: Call, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as tasks:
            leaving = tasks.create_task(_disconnected(receive))
            playing = tasks.create_task(self._play(steps, call, send))
            await asyncio.wait((leaving, playing), return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                call.ending = "disconnected"
                playing.cancel()
            elif call.ending == "open":
                call.ending = "faulted"
                _reset(receive)
                await leaving
            leaving.cancel()

    async def _play(self, steps: Iterable[Step], call: Call, send: Send) -> None:
        """Perform the steps; the call is still open afterwards if the connection has to be reset."""
        for step in steps:
            match step:
                case Head(status, headers):
                    call.status = status
                    await send(_head(status, headers))
                case Pace(tokens):
                    await asyncio.sleep(tokens / self._settings.tokens_per_second)
                case Body(data, tokens, usage):
                    await send(_body(data, more=True))
                    call.tokens_sent += tokens
                    call.usage_told = call.usage_told or usage
                case Silence(pings):
                    await self._keep_silent(send, pings=pings)
                case Abort():
                    return
                case End(data, ending):
                    await send(_body(data, more=False))
                    call.ending = ending
                case _:
                    assert_never(step)

    async def _keep_silent(self, send: Send, *, pings: bool) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.hang_limit_s):
                while pings:
                    await asyncio.sleep(self._settings.ping_interval_s)
                    await send(_body(b": ping\n\n", more=True))
                await asyncio.Event().wait()


async def _read(receive: Receive, limit: int) -> bytes:
    """The whole body; what is over the limit is read for a while, or the client would never see the answer."""
    body, more = bytearray(), True
    while more and len(body) <= limit * _READ_PAST_LIMIT:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Left
        body += message.get("body", b"")
        more = message.get("more_body", False)
    if len(body) > limit:
        raise Rejected(ApiError(status=413, message=f"The request is larger than {format_size(limit)}."))
    return bytes(body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _head(status: int, headers: tuple[tuple[str, str], ...]) -> Message:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http.response.start", "status": status, "headers": encoded}


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}


def _reset(receive: Receive) -> None:
    """Drop the connection with a TCP reset, as a provider that dies does, instead of closing it in good order."""
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise RuntimeError("the sandbox's provider must be served by uvicorn, with no middleware around `receive`")
    connection = cast("asyncio.WriteTransport", transport)
    no_linger = struct.pack("ii", 1, 0)
    connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    connection.abort()


async def _no_such_path(_request: Request, _error: Exception) -> Response:
    return _error_response(ApiError(status=404, message="There is no such path here: the API is under /v1."))


async def _wrong_method(_request: Request, error: Exception) -> Response:
    headers = tuple((error.headers or {}).items()) if isinstance(error, HTTPException) else ()
    return _error_response(ApiError(status=405, message="This path does not take this method.", headers=headers))


def _error_response(error: ApiError) -> Response:
    return JSONResponse(error.as_json(), status_code=error.status, headers=dict(error.headers))
