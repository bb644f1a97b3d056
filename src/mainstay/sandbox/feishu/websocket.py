"""How does an event reach a bot by its long connection?

The gateway that a bot connects to: a WebSocket whose messages are frames (`frames`). An event goes out as one frame
or several parts, and comes back as its acknowledgement: the same headers, and a code of HTTP; the answer to a
callback is in it too. A ping is answered with the configuration of the client.
"""

import asyncio
import base64
import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from socket import socket
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from mainstay.sandbox.feishu import frames
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.frames import Frame
from mainstay.sandbox.feishu.registry import SERVICE_ID, Handshake, Line, client_config
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.sandbox.model import EventSent

__all__ = ["Gateway"]

_PATH = "/ws/v2"
_SILENT = logging.Logger("websockets", logging.CRITICAL + 1)  # what a bot does wrong is in the record


@dataclass(slots=True, kw_only=True)
class _Wire:
    """A connection that is open, its line in the record, and who waits for an acknowledgement."""

    line: Line
    socket: ServerConnection
    waiting: dict[str, asyncio.Future[dict[str, object]]] = field(default_factory=dict)


class Gateway:
    """Takes connections while `run` is running; `send` hands over events."""

    def __init__(
        self, tenant: Tenant, clock: PlatformClock, rng: random.Random, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._tenant = tenant
        self._registry = tenant.connections
        self._clock = clock
        self._rng = rng
        self._changed = changed
        self._wires: dict[ServerConnection, _Wire] = {}
        self.listening = asyncio.Event()

    async def run(self, listening: socket) -> None:
        """Take connections until cancelled."""
        self._registry.url = f"ws://127.0.0.1:{listening.getsockname()[1]}{_PATH}"
        server = await serve(
            self._serve,
            sock=listening,
            process_request=self._admit,
            ping_interval=None,
            compression=None,
            server_header=None,
            logger=_SILENT,
            close_timeout=1.0,
        )
        self.listening.set()
        async with server:
            await server.serve_forever()

    async def send(self, event_id: str, plain: bytes, *, kind: str = "event") -> tuple[str, object]:
        """Hand an event to one of the connections.

        Returns:
            The code of the acknowledgement, or what went wrong instead; and the data that came with it.
        """
        begun = self._clock.moment()
        line = self._registry.choose(begun)
        if line is None:
            return "no connection", None
        sent = EventSent(event_id=event_id, frame_id=self._uuid(), at_s=begun.real_s)
        line.events.append(sent)
        try:
            async with asyncio.timeout(self._clock.window(3.0)):
                acknowledgement = await self._exchange(line, sent.frame_id, plain, kind)
        except TimeoutError:
            answer, data = "timeout", None
        except ConnectionClosed:
            answer, data = "connection lost", None
        else:
            answer, data = str(acknowledgement.get("code")), _data(acknowledgement)
        line.answered(sent, answer, self._clock.moment().real_s - begun.real_s)
        return answer, data

    async def _exchange(self, line: Line, frame_id: str, plain: bytes, kind: str) -> dict[str, object]:
        acknowledged: asyncio.Future[dict[str, object]] = asyncio.get_running_loop().create_future()
        wire = next((each for each in self._wires.values() if each.line is line), None)
        if wire is None:
            return await acknowledged  # it is stale: the event goes nowhere
        wire.waiting[frame_id] = acknowledged
        try:
            for part in self._parts(plain, frame_id, kind):
                await wire.socket.send(frames.encode(part))
            return await acknowledged
        finally:
            del wire.waiting[frame_id]

    def _parts(self, plain: bytes, frame_id: str, kind: str) -> list[Frame]:
        count = min(self._tenant.options.event_parts, len(plain))
        size = -(-len(plain) // count)
        stamp, trace = str(self._clock.moment().ms), self._uuid()
        return [
            Frame(
                seq_id=seq,
                service=SERVICE_ID,
                method=frames.DATA,
                headers=(
                    ("timestamp", stamp),
                    ("type", kind),
                    ("message_id", frame_id),
                    ("sum", str(count)),
                    ("seq", str(seq)),
                    ("trace_id", trace),
                ),
                payload=plain[seq * size : (seq + 1) * size],
            )
            for seq in range(count)
        ]

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        query = dict(parse_qsl(urlsplit(request.path).query))
        try:
            line = self._registry.open(query, self._clock.moment())
        except Handshake as refused:
            response = connection.respond(HTTPStatus.FORBIDDEN, str(refused))
            response.headers.update(refused.headers)
            return response
        self._wires[connection] = _Wire(line=line, socket=connection)
        connection.connection_lost_waiter.add_done_callback(lambda _: self._ended(self._wires.pop(connection)))
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        wire = self._wires[connection]
        wire.line.ready = True
        self._changed()
        try:
            async for message in connection:
                await self._receive(wire, message)
        except ConnectionClosed:
            pass

    async def _receive(self, wire: _Wire, message: str | bytes) -> None:
        if isinstance(message, str):
            wire.line.oddities.append("a message of text")
            return
        try:
            frame = frames.decode(message)
        except ValueError as wrong:
            wire.line.oddities.append(f"a frame that can not be read: {wrong}")
            return
        if frame.method == frames.CONTROL and frame.header("type") == "ping":
            wire.line.pings.append(self._clock.moment().real_s)
            payload = client_config(self._tenant.options).encode()
            pong = Frame(service=frame.service, method=frames.CONTROL, headers=(("type", "pong"),), payload=payload)
            await wire.socket.send(frames.encode(pong))
        elif frame.method == frames.DATA:
            self._acknowledge(wire, frame)
        else:
            wire.line.oddities.append(f"a frame of method {frame.method} and type {frame.header('type')!r}")

    def _acknowledge(self, wire: _Wire, frame: Frame) -> None:
        waiting = wire.waiting.get(frame.header("message_id"))
        try:
            given = json.loads(frame.payload or b"")
        except ValueError:
            given = None
        if not isinstance(given, dict) or not isinstance(given.get("code"), int):
            wire.line.oddities.append("an acknowledgement that is no JSON with a code")
        elif waiting is None or waiting.done():
            wire.line.oddities.append("an acknowledgement that nobody waits for")
        else:
            waiting.set_result(given)

    def _ended(self, wire: _Wire) -> None:
        protocol = wire.socket.protocol
        for waiting in wire.waiting.values():
            if not waiting.done():
                waiting.set_exception(protocol.close_exc)
        said = protocol.close_rcvd
        by: Literal["bot", "platform", "nobody"] = "nobody" if said is None else "bot"
        if protocol.close_sent is not None and not protocol.close_rcvd_then_sent:
            by = "platform"
        code = said.code if said is not None else 1006
        self._registry.close(wire.line, code, by, self._clock.moment(), self._tenant.options.stale_s)
        self._changed()

    def _uuid(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"


def _data(acknowledgement: dict[str, object]) -> object:
    """The answer to a callback: JSON in base64; None where there is none, or it is something else."""
    data = acknowledgement.get("data")
    if not isinstance(data, str):
        return {} if data is None else None
    try:
        return json.loads(base64.b64decode(data, validate=True))
    except ValueError:
        return None
