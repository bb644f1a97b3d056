"""How does a call reach the platform?

The ASGI side of `Platform`: reads the request, lets the injected faults strike, and writes the answer.
"""

import asyncio
import json
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.faults import PlatformFault, PlatformFaults
from mainstay.sandbox.feishu.model import ApiReply, ApiRequest, Json, Refusal
from mainstay.sandbox.feishu.platform import Platform

__all__ = ["platform_app"]

_MAX_BYTES = 4 * 1024 * 1024


def platform_app(
    platform: Platform, faults: PlatformFaults, clock: PlatformClock, changed: Callable[[], None]
) -> ASGIApp:
    """The platform's API under ``/open-apis/``; ``changed`` is called after every call."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read(Request(scope, receive))
        if request is None:
            await PlainTextResponse("request too large", status_code=413)(scope, receive, send)
            return
        reply = platform.refuse(request, clock.moment())
        fault = faults.take(request.method, request.path) if reply is None else None
        if reply is None:
            reply = await _act(platform, request, fault, clock)
            changed()
        if fault is not None and fault.hold:
            await _hold(faults, receive)
        if fault is not None and fault.drop:
            await _break_off(send)
            return
        await _response(reply, fault)(scope, receive, send)

    return app


async def _read(request: Request) -> ApiRequest | None:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MAX_BYTES:
            return None
        chunks.append(chunk)
    try:
        body = json.loads(b"".join(chunks) or b"{}")
    except ValueError:
        body = {}
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    return ApiRequest(
        method=request.method,
        path=request.url.path,
        query=dict(request.query_params),
        bearer=bearer.strip() if scheme.lower() == "bearer" else "",
        body=body if isinstance(body, dict) else {},
    )


async def _act(
    platform: Platform, request: ApiRequest, fault: PlatformFault | None, clock: PlatformClock
) -> ApiReply:
    if fault is None:
        return platform.call(request, clock.moment())
    await asyncio.sleep(fault.delay_s)
    if fault.code or fault.status:
        why = Refusal(fault.code, fault.message, status=fault.status or 400, headers=fault.headers)
        return platform.no(request, why, clock.moment())
    return platform.call(request, clock.moment())


def _response(reply: ApiReply, fault: PlatformFault | None) -> Response:
    if fault is not None and fault.status and not fault.code:
        page = f"<html><body>HTTP {fault.status}</body></html>"
        return Response(page, fault.status, fault.headers, media_type="text/html")
    body: Json = reply.body
    content = json.dumps(body, ensure_ascii=False)
    return Response(content, reply.status, dict(reply.headers), media_type="application/json; charset=utf-8")


async def _hold(faults: PlatformFaults, receive: Receive) -> None:
    """Wait for the release, or for the caller to go away."""

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    released = faults.released
    faults.held += 1
    try:
        async with asyncio.TaskGroup() as group:
            ends = {group.create_task(gone()), group.create_task(released.wait())}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for each in ends:
                each.cancel()
    finally:
        faults.held -= 1


async def _break_off(send: Send) -> None:
    """Promise more than is sent: the server closes the connection, and the caller has half an answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"code":', "more_body": True})
