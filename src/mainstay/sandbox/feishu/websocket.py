"""How does an event reach a bot by its long connection?

The gateway that a bot connects to: a WebSocket whose messages are frames (`frames`). An event goes out as one frame
or several parts, and comes back as its acknowledgement: the same headers, and a code of HTTP; the answer to a
callback is in it too. A ping is answered with the configuration of the client. All of this goes wrong on command
(`trouble`).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from socket import socket
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ProtocolError
from websockets.frames import Close
from websockets.http11 import Request, Response

from mainstay.sandbox.feishu import acks, frames, trouble
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.frames import Frame
from mainstay.sandbox.feishu.model import Json
from mainstay.sandbox.feishu.registry import SERVICE_ID, Line, client_config
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.sandbox.feishu.trouble import HandshakeFault, Illness, Trouble
from mainstay.sandbox.model import EventSent

__all__ = ["Gateway"]

_PATH = "/ws/v2"
_WINDOW_S = 3.0
_HANDSHAKE_S = 600.0
_CLOSE_S = 1.0
_ABNORMAL = 1006
_SILENT = logging.Logger("websockets", logging.CRITICAL + 1)  # what a bot does wrong is in the record


@dataclass(slots=True, kw_only=True)
class _Wire:
    """A connection, its line in the record, and the events on it that wait for their acknowledgement."""

    line: Line
    socket: ServerConnection
    kicked: bool = False
    waiting: dict[str, tuple[Frame, asyncio.Future[Json | None]]] = field(default_factory=dict)


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
        self._cleared = asyncio.Event()
        self.trouble = Trouble()
        self.listening = asyncio.Event()

    async def run(self, listening: socket) -> None:
        """Take connections until cancelled."""
        self._registry.url = f"ws://127.0.0.1:{listening.getsockname()[1]}{_PATH}"
        server = await serve(
            self._serve,
            sock=listening,
            process_request=self._admit,
            open_timeout=_HANDSHAKE_S,
            ping_interval=None,
            close_timeout=_CLOSE_S,
            compression=None,
            server_header=None,
            logger=_SILENT,
        )
        self.listening.set()
        async with server:
            try:
                await server.serve_forever()
            finally:
                self._cleared.set()  # else a handshake that hangs would be waited for

    async def send(self, event_id: str, plain: bytes, *, kind: str = "event") -> tuple[str, object]:
        """Hand an event to one of the connections.

        Returns:
            The code of the acknowledgement, or what went wrong instead; and the data that came with it.
        """
        begun = self._clock.moment()
        line = self._registry.choose(begun)
        if line is None:
            return "no connection", None
        frame = self._frame(plain, kind)
        sent = EventSent(event_id=event_id, frame_id=frame.header("message_id"), at_s=begun.real_s)
        line.events.append(sent)
        data: object = None
        try:
            async with asyncio.timeout(self._clock.window(_WINDOW_S)):
                acknowledgement = await self._exchange(line, frame)
        except TimeoutError:
            answer = "timeout"
        except ConnectionClosed:
            answer = "connection lost"
        else:
            answer, data = str(acknowledgement["code"]), acks.answer(acknowledgement)
        line.answered(sent, answer, self._clock.moment().real_s - begun.real_s)
        return answer, data

    def fall_ill(self, how: Illness, connection_id: str = "") -> int:
        """Let this open connection, or all of them, be like this from now on; returns how many."""
        wires = self._chosen(connection_id)
        for wire in wires:
            wire.line.illness = how
            if how == "half-open":
                wire.socket.transport.pause_reading()
            else:
                wire.socket.transport.resume_reading()
        return len(wires)

    async def kick(self, code: int, reason: str = "", connection_id: str = "") -> int:
        """End this open connection, or all of them; with 1006 without a CLOSE. Returns how many.

        Raises:
            ValueError: if there is no such code.
        """
        try:
            if code != _ABNORMAL:
                Close(code, reason).check()
        except ProtocolError:
            raise ValueError(f"a connection can not be closed with {code}") from None
        wires = self._chosen(connection_id)
        for wire in wires:
            wire.kicked = True
            if code == _ABNORMAL:
                wire.socket.transport.abort()
            else:
                await wire.socket.close(code, reason)
        return len(wires)

    async def write(self, message: bytes | str, connection_id: str = "") -> int:
        """Send this message as it is over this open connection, or over all; returns over how many."""
        wires = self._chosen(connection_id)
        for wire in wires:
            async with asyncio.timeout(self._clock.window(_WINDOW_S)):
                await wire.socket.send(message)
        return len(wires)

    def clear(self) -> None:
        """End all trouble; handshakes that hang go on."""
        self.trouble.clear()
        self.fall_ill("none")
        self._cleared.set()
        self._cleared = asyncio.Event()

    def _chosen(self, connection_id: str) -> list[_Wire]:
        ready = [each for each in self._wires.values() if each.line.ready]
        found = [each for each in ready if connection_id in {"", each.line.id}]
        if connection_id and not found:
            raise KeyError(connection_id)
        return found

    async def _exchange(self, line: Line, event: Frame) -> Json:
        """The payload of the acknowledgement. Raises ConnectionClosed."""
        loop = asyncio.get_running_loop()
        wire = next((each for each in self._wires.values() if each.line is line), None)
        if wire is None or line.illness in {"half-open", "quiet"}:
            unheard: asyncio.Future[Json] = loop.create_future()
            return await unheard  # what is stale, or ill, is taken for alive
        spoil = self.trouble.spoil()
        parts = trouble.parts(event, self._tenant.options.event_parts)
        acknowledged: asyncio.Future[Json | None] = loop.create_future()
        wire.waiting[event.header("message_id")] = (event, acknowledged)
        try:
            for message in trouble.spoilt(event, spoil) if spoil else map(frames.encode, parts):
                await wire.socket.send(message)
            given = await acknowledged
        finally:
            del wire.waiting[event.header("message_id")]
        if given is None:
            raise wire.socket.protocol.close_exc
        if spoil is not None and spoil.how == "acknowledgement-lost":
            await asyncio.Event().wait()
        return given

    def _frame(self, plain: bytes, kind: str) -> Frame:
        headers = (
            ("timestamp", str(self._clock.moment().ms)),
            ("type", kind),
            ("message_id", self._uuid()),
            ("sum", "1"),
            ("seq", "0"),
            ("trace_id", self._uuid()),
        )
        return Frame(service=SERVICE_ID, method=frames.DATA, headers=headers, payload=plain)

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        query = dict(parse_qsl(urlsplit(request.path).query))
        fault = self.trouble.handshake() or self._registry.judge(query)
        line = self._registry.open(query, self._clock.moment())
        self._wires[connection] = _Wire(line=line, socket=connection)
        connection.connection_lost_waiter.add_done_callback(lambda _: self._ended(self._wires.pop(connection)))
        if fault is not None and fault.hang:
            await self._cleared.wait()
            return None
        if fault is not None:
            self._registry.refuse(line, fault, self._clock.moment())
            return _refusal(connection, fault)
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
        oddities = wire.line.oddities
        if isinstance(message, str):
            oddities.append("a message of text")
            return
        try:
            frame = frames.decode(message)
        except ValueError as wrong:
            oddities.append(f"a frame that can not be read: {wrong}")
            return
        if frame.method == frames.CONTROL and frame.header("type") == "ping":
            await self._pong(wire, frame)
        elif frame.method == frames.DATA:
            self._acknowledged(wire, frame)
        else:
            oddities.append(f"a frame of method {frame.method} and type {frame.header('type')!r}")

    async def _pong(self, wire: _Wire, ping: Frame) -> None:
        wire.line.pings.append(self._clock.moment().real_s)
        if wire.line.illness == "no-pongs":
            return
        options = self._tenant.options
        payload = (client_config(options) if options.pong is None else options.pong).encode()
        pong = Frame(service=ping.service, method=frames.CONTROL, headers=(("type", "pong"),), payload=payload)
        try:
            async with asyncio.timeout(self._clock.window(_WINDOW_S)):
                await wire.socket.send(frames.encode(pong))
        except TimeoutError:
            wire.line.oddities.append("a pong that it did not read")

    def _acknowledged(self, wire: _Wire, frame: Frame) -> None:
        frame_id, oddities = frame.header("message_id"), wire.line.oddities
        event, waiting = wire.waiting.get(frame_id, (None, None))
        try:
            given = acks.code(frame)
        except ValueError:
            oddities.append("an acknowledgement that is no JSON with a code")
            return
        if event is None or waiting is None or waiting.done():
            known = any(each.frame_id == frame_id for each in wire.line.events)
            oddities.append(f"an acknowledgement of {frame_id} {'too many or too late' if known else 'unasked'}")
            return
        if wrong := acks.changed(frame, event):
            oddities.append(f"an acknowledgement with other headers: {', '.join(wrong)}")
        waiting.set_result(given)

    def _ended(self, wire: _Wire) -> None:
        if wire.line.refused:
            return
        protocol = wire.socket.protocol
        for _, waiting in wire.waiting.values():
            if not waiting.done():
                waiting.set_result(None)
        said = protocol.close_rcvd
        by: Literal["bot", "platform", "nobody"] = "nobody" if said is None else "bot"
        if wire.kicked or (protocol.close_sent is not None and not protocol.close_rcvd_then_sent):
            by = "platform"
        code = said.code if said is not None else _ABNORMAL
        self._registry.close(wire.line, code, by, self._clock.moment(), self._tenant.options.stale_s)
        self._changed()

    def _uuid(self) -> str:
        return f"{self._rng.getrandbits(128):032x}"


def _refusal(connection: ServerConnection, fault: HandshakeFault) -> Response:
    response = connection.respond(HTTPStatus(fault.http), fault.message)
    response.headers.update(fault.headers)
    return response
