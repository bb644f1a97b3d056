"""How much, and how slowly, may a client send?"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from mainstay.asgi import ASGIApp, Receive, Scope, Send, header, respond

__all__ = ["capped"]

_CLOSE = [(b"connection", b"close")]


class _Refused(Exception):
    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


_TOO_LARGE = _Refused(413, b'{"error":"request body too large"}')
_TOO_SLOW = _Refused(408, b'{"error":"request body too slow"}')


def capped(app: ASGIApp, *, max_body_bytes: int, body_timeout_s: float) -> ASGIApp:
    """``app``, but a request with a larger body is answered 413 and one whose body takes longer 408.

    The application sees the refusal as an exception from ``receive``. It comes when more is asked for, so that an
    application with a lower limit of its own always gets to apply that first. The connection is closed: what is
    left of the body would have to be read.
    """

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        if _announced(scope) > max_body_bytes:
            await _refuse(scope, send, _TOO_LARGE)
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + body_timeout_s
        received = 0
        complete = answering = False

        async def receive_within() -> MutableMapping[str, Any]:
            nonlocal received, complete
            if complete:  # what comes now is the end of the connection, whenever that is
                return await receive()
            if received > max_body_bytes:
                raise _TOO_LARGE
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise _TOO_SLOW from None
            received += len(message.get("body", b""))
            more = bool(message.get("more_body", False)) or received > max_body_bytes
            complete = not more
            return {**message, "more_body": more}

        async def send_noting(message: MutableMapping[str, Any]) -> None:
            nonlocal answering
            answering = True
            await send(message)

        try:
            await app(scope, receive_within, send_noting)
        except _Refused as refused:
            if answering:
                raise
            await _refuse(scope, send, refused)

    return limited


def _announced(scope: Scope) -> int:
    length = header(scope, b"content-length")
    return int(length) if length and length.isdigit() else 0


async def _refuse(scope: Scope, send: Send, refused: _Refused) -> None:
    await respond(scope, send, refused.status, refused.body, headers=_CLOSE)
