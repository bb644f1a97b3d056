"""A platform that does to its connections what no platform should, and a bot that is connected to it.

The sandbox is the platform that behaves; this one is told by the test what to do, frame by frame.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from tests.channels.feishu.conftest import DEADLINE_S, eventually, serve
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as serve_sockets
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Handshake
from websockets.http11 import Response as Refusal

from mainstay.bus import Bus
from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.connection.connections import Connections
from mainstay.channels.feishu.connection.frame import CONTROL, DATA, Frame, decode, encode
from mainstay.channels.feishu.connection.sqlite import Chats
from mainstay.channels.feishu.intake import Intake
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.press import Told
from mainstay.channels.feishu.presses import Pressed
from mainstay.channels.feishu.tables import HEAD
from mainstay.clock import Clock, SystemClock
from mainstay.errors import StorageUnavailable
from mainstay.events import Event
from mainstay.guard import Unguarded
from mainstay.messages import Message
from mainstay.settings import Secret
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage

APP, SERVICE = "cli_0123456789abcdef", 33554678


async def nothing(_: str) -> bool:
    return False


@dataclass
class Gate:
    """A platform with one app.

    Attributes:
        config: what the bot is told about its own timing.
        answers: what is said instead of the address, first come first served.
        handshakes: headers with which connections are refused, first come first served.
        pongs: whether pings are answered.
        open: the sockets that are open now; ``most`` is how many there ever were at once.
        came: what the bot has sent over them, but for pings.
        history: what was said in every chat, oldest first, but for those that have their own in ``histories``.
    """

    url: str = ""
    origin: str = ""
    config: object = None
    answers: list[Response] = field(default_factory=list)
    handshakes: list[dict[str, str]] = field(default_factory=list)
    pongs: bool = True
    open: list[ServerConnection] = field(default_factory=list)
    most: int = 0
    asked: int = 0
    opened: int = 0
    pings: int = 0
    closed_with: list[int] = field(default_factory=list)
    came: list[Frame] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    histories_asked: list[dict[str, str]] = field(default_factory=list)
    history_code: int = 0

    async def endpoint(self, request: Request) -> Response:
        self.asked += 1
        if self.answers:
            return self.answers.pop(0)
        given = await request.json()
        assert given == {"AppID": APP, "AppSecret": "secret"}
        url = f"{self.url}/ws/v2?device_id={self.asked}&service_id={SERVICE}&ticket=t{self.asked}"
        return JSONResponse({"code": 0, "msg": "", "data": {"URL": url, "ClientConfig": self.config}})

    async def token(self, request: Request) -> Response:
        now = {"date": formatdate(usegmt=True)}
        return JSONResponse({"code": 0, "msg": "ok", "tenant_access_token": "t-1", "expire": 7200}, headers=now)

    async def messages(self, request: Request) -> Response:
        self.histories_asked.append(dict(request.query_params))
        if self.history_code:
            return JSONResponse({"code": self.history_code, "msg": "no"}, 400)
        items = self.histories.get(request.query_params["container_id"], self.history)
        start, size = (int(request.query_params.get(name, "0")) for name in ("page_token", "page_size"))
        data = {"has_more": len(items) > start + size, "page_token": str(start + size)}
        return JSONResponse({"code": 0, "data": data | {"items": items[::-1][start : start + size]}})

    async def admit(self, connection: ServerConnection, request: Handshake) -> Refusal | None:
        if not self.handshakes:
            return None
        refusal = connection.respond(403, "no")
        refusal.headers.update(self.handshakes.pop(0))
        return refusal

    async def hold(self, socket: ServerConnection) -> None:
        self.open.append(socket)
        self.opened += 1
        self.most = max(self.most, len(self.open))
        try:
            async for message in socket:
                assert isinstance(message, bytes)
                frame = decode(message)
                if frame.method == CONTROL:
                    assert (frame.service, frame.header("type")) == (SERVICE, "ping")
                    self.pings += 1
                    if self.pongs:
                        await self.pong(socket)
                else:
                    self.came.append(frame)
        except ConnectionClosed:
            pass
        finally:
            self.open.remove(socket)
            self.closed_with.append(socket.close_code or 0)

    async def pong(self, socket: ServerConnection) -> None:
        payload = None if self.config is None else json.dumps(self.config).encode()
        headers = (("type", "pong"),)
        await socket.send(encode(Frame(service=SERVICE, method=CONTROL, headers=headers, payload=payload)))

    async def until(self, condition: Callable[[], bool]) -> None:
        async def holds() -> bool:
            return condition()

        await eventually(holds)

    async def connected(self, count: int = 1) -> ServerConnection:
        """The newest connection, once there have been so many."""
        await self.until(lambda: self.opened >= count and bool(self.open))
        return self.open[-1]

    async def acknowledged(self, frame_id: str) -> Frame:
        found: list[Frame] = []

        def there() -> bool:
            found[:] = [each for each in self.came if each.header("message_id") == frame_id]
            return bool(found)

        await self.until(there)
        [frame] = found
        return frame


@dataclass
class Connected:
    """A bot with long connections, and what came through them."""

    gate: Gate
    storage: Storage
    settings: FeishuSettings
    stack: AsyncExitStack
    events: list[Event] = field(default_factory=list)
    accepted: list[Message] = field(default_factory=list)
    pressed: list[Any] = field(default_factory=list)
    answered: list[Pressed] = field(default_factory=list)
    storing: asyncio.Event | None = None
    full: bool = False
    unstorable: set[str] = field(default_factory=set)
    odd: str = ""
    clock: Clock = field(default_factory=SystemClock)

    async def accept(self, message: Message) -> bool:
        if self.storing is not None:
            await self.storing.wait()
        if self.full or message.external_id in self.unstorable:
            self.unstorable.discard(message.external_id)
            raise StorageUnavailable("the disk is full")
        if message.external_id == self.odd:
            raise ZeroDivisionError("a bug")
        new = all(message.turn_id != known.turn_id for known in self.accepted)
        self.accepted.append(message)
        return new

    async def press(self, event: object) -> Pressed:
        if self.storing is not None:
            await self.storing.wait()
        self.pressed.append(event)
        return Pressed(told=Told.TRYING, turn_id="t1")

    async def connect(self, **changes: object) -> Connections:
        """Be connected until the test ends, or until `stop`."""
        settings = replace(self.settings, **changes)
        bus, clock, http = Bus(), self.clock, httpx2.AsyncClient(trust_env=False)
        self.stack.push_async_callback(http.aclose)
        bus.subscribe_all(self.events.append)
        chats = Chats(self.storage, "feishu")
        intake = Intake(
            "feishu",
            settings,
            bus=bus,
            clock=clock,
            accept=self.accept,
            recalled=nothing,
            edited=nothing,
            answered_before=nothing,
            pressed=self.press,
            answered=self.answered.append,
            bot=lambda: Bot(open_id="ou_bot", name="Mainstay"),
            heard=chats.note,
        )
        client = FeishuClient(settings, http=http, clock=clock, guard=Unguarded(), on_error=lambda *_: None)
        with suppress(Refused):
            await client.renew()  # as the channel does first
        made = Connections(
            "feishu", settings, http=http, client=client, chats=chats, intake=intake, bus=bus, clock=clock
        )
        self.chats = chats
        self.task = asyncio.get_running_loop().create_task(made.run())
        self.stack.push_async_callback(self.stop)
        return made

    async def stop(self) -> None:
        self.task.cancel()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait({self.task})

    def seen(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if type(event) is kind]

    async def until(self, kind: type[Event], count: int = 1) -> None:
        await self.gate.until(lambda: len(self.seen(kind)) >= count)


def frame(frame_id: str, payload: bytes, *, kind: str = "event", total: int = 1, number: int = 0) -> bytes:
    headers = (
        ("type", kind),
        ("message_id", frame_id),
        ("sum", str(total)),
        ("seq", str(number)),
        ("trace_id", "x"),
    )
    return encode(Frame(seq_id=number, service=SERVICE, method=DATA, headers=headers, payload=payload))


def event(message_id: str = "om_1", *, kind: str = "im.message.receive_v1", **message: object) -> bytes:
    said = {
        "message_id": message_id,
        "chat_id": "oc_1",
        "chat_type": "p2p",
        "message_type": "text",
        "content": '{"text":"hello"}',
        "create_time": "1767225600000",
    }
    sender = {"sender_id": {"open_id": "ou_1"}, "sender_type": "user"}
    head = {"event_id": f"e_{message_id}", "event_type": kind, "app_id": APP, "token": "of the console"}
    return json.dumps(
        {"schema": "2.0", "header": head, "event": {"sender": sender, "message": said | message}}
    ).encode()


@asynccontextmanager
async def gated() -> AsyncIterator[Gate]:
    gate = Gate()
    routes = [
        Route("/callback/ws/endpoint", gate.endpoint, methods=["POST"]),
        Route("/open-apis/auth/v3/tenant_access_token/internal", gate.token, methods=["POST"]),
        Route("/open-apis/im/v1/messages", gate.messages),
    ]
    app = Starlette(routes=routes)
    paths = [(route.path, app) for route in routes]
    async with (
        serve(paths) as gate.origin,
        serve_sockets(
            gate.hold, "127.0.0.1", 0, process_request=gate.admit, ping_interval=None, close_timeout=0.1
        ) as server,
    ):
        gate.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield gate


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("migrated") / "feishu.db"
    upgrade(f"sqlite:///{file}", ["mainstay.channels.feishu"])
    return file


@pytest.fixture
async def bot(tmp_path: Path, migrated: Path) -> AsyncIterator[Connected]:
    """Not connected yet; quick to give up and to try again."""
    url = f"sqlite:///{shutil.copy(migrated, tmp_path)}"
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(gated())
        settings = FeishuSettings(
            mode="subscription",
            app_id=APP,
            app_secret=Secret("secret"),
            domain=gate.origin,
            reconnect_base=0.01,
            reconnect_cap=0.05,
            rejected_retry=0.1,
            ping_interval=0.2,
            pong_timeout=0.1,
            backfill_after=3600.0,
            retry_base=0.01,
            body_limit=4096,
        )
        storage = Storage(StorageSettings(url=url, synchronous="normal"), clock=SystemClock())
        await storage.open({"feishu": HEAD})
        stack.push_async_callback(storage.close)
        yield Connected(gate, storage, settings, stack)
