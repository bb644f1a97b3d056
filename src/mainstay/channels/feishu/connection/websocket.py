"""How is one connection opened, kept and closed?

`Slot.run` does what its `Link` says, and has never more than one socket. While that is open, one task reads, one
pings, and every event has a task of its own, so that none waits for another to be stored. All of them end with the
connection; what was not acknowledged by then the platform delivers again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final, NoReturn, assert_never

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mainstay.bus import Bus
from mainstay.channels.feishu.connection.frame import CONTROL, Frame, encode
from mainstay.channels.feishu.connection.http import ask
from mainstay.channels.feishu.connection.inbound import Came, Inbound, Pong
from mainstay.channels.feishu.connection.machine import Link, read_handshake
from mainstay.channels.feishu.connection.model import (
    Ask,
    Drop,
    Endpoint,
    Failure,
    FailureKind,
    Open,
    Ping,
    Wait,
)
from mainstay.channels.feishu.intake import Intake
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.clock import Clock
from mainstay.events import ConnectionLost, ConnectionOpened, ConnectionRefused

__all__ = ["Slot"]

_CLOSE_S: Final = 1.0
_MOST_AT_ONCE: Final = 1000
_BYTES_AT_ONCE: Final = 32 * 1024 * 1024
_SILENT: Final = logging.Logger("websockets", logging.CRITICAL + 1)  # it would write down addresses and messages


class _Lost(Exception):
    """The connection has ended, or is of no use any more."""


class Slot:
    """One place for a connection, which is filled again and again.

    Args:
        number: of the slot, from 1.
        name: of the channel.
        settings: of the channel.
        http: for the question where to connect to.
        intake: takes events.
        bus: hears of everything that becomes of the connection.
        clock: for deadlines, and for what is shown.
        chance: draws a number from 0 to 1.
        opened: told of an open connection: when it was last good before (None: never), and how many seconds ago
            that was, or the slot was made.
        heard: told of every event that came.
        rejected: counts what nobody can make sense of.
    """

    def __init__(
        self,
        number: int,
        name: str,
        settings: FeishuSettings,
        *,
        http: httpx2.AsyncClient,
        intake: Intake,
        bus: Bus,
        clock: Clock,
        chance: Callable[[], float],
        opened: Callable[[datetime | None, float], object],
        heard: Callable[[], object],
        rejected: Counter[str],
    ) -> None:
        self._number = number
        self._name = name
        self._settings = settings
        self._http = http
        self._intake = intake
        self._bus = bus
        self._clock = clock
        self._opened = opened
        self._heard = heard
        self._rejected = rejected
        self._chance = chance
        self._link = Link(settings, chance, clock.monotonic())
        self._endpoint: Endpoint | None = None
        self._woken = asyncio.Event()
        self._good_s = clock.monotonic()
        self._at_once = self._bytes_at_once = 0
        self.failure: Failure | None = None
        """Why it is not open; None while it is, and before the first try."""
        self.since: datetime | None = None
        """Since when it is open; None while it is not."""
        self.good_at: datetime | None = None
        """When the platform last showed that it hears us."""
        self.last_event_at: datetime | None = None
        self.last_pong_at: datetime | None = None
        self.last_reason = (0.0, "")
        """When it was last closed or refused, and why."""
        self.openings = 0

    async def run(self) -> NoReturn:
        """Be connected, until cancelled; then say so to the platform. It can be run again."""
        self._link = Link(self._settings, self._chance, self._clock.monotonic())
        while True:
            match self._link.step(self._clock.monotonic()):
                case Wait(until_s):
                    await self._sleep(until_s)
                case Ask():
                    await self._ask()
                case Open():
                    await self._connect()
                case Ping() | Drop() as step:
                    raise AssertionError(f"{step} without a connection")
                case never:
                    assert_never(never)

    def closed_for(self, now_s: float) -> float:
        """For how many seconds it has been of no use; 0.0 while it is open."""
        return 0.0 if self.since else now_s - self._good_s

    @property
    def quiet_since(self) -> datetime | None:
        """Since when it is open and has brought no event; None while it is not open."""
        return max(self.since, self.last_event_at or self.since) if self.since else None

    def suspect(self, reason: str) -> None:
        """There is evidence that nothing comes over it: it is replaced."""
        self._link.suspect(reason)
        self._woken.set()

    async def _ask(self) -> None:
        match await ask(self._settings, self._http):
            case Endpoint() as endpoint:
                self._endpoint = endpoint
                self._link.told(endpoint.config)
            case Failure() as failure:
                self._failed(failure)

    async def _connect(self) -> None:
        assert self._endpoint is not None
        endpoint, self._endpoint = self._endpoint, None
        try:
            socket = await connect(
                endpoint.url,
                compression=None,
                proxy=None,
                open_timeout=self._settings.connect_timeout,
                close_timeout=_CLOSE_S,
                ping_interval=None,
                max_size=4 * self._settings.body_limit,
                logger=_SILENT,
            )
        except InvalidStatus as refused:
            headers = {key.lower(): value for key, value in refused.response.headers.raw_items()}
            self._failed(read_handshake(refused.response.status_code, headers))
        except Exception as error:  # noqa: BLE001  the border: whatever a server does instead of a handshake
            reason = "in time" if isinstance(error, TimeoutError) else f"({type(error).__name__})"
            self._failed(Failure(FailureKind.TRANSIENT, f"no connection {reason}"))
        else:
            await self._stay(socket, endpoint.service)

    def _failed(self, failure: Failure) -> None:
        now_s, known = self._clock.monotonic(), self.failure
        self.failure = failure = self._link.failed(failure, now_s)
        self.last_reason = (now_s, failure.reason)
        if known is None or (known.kind, known.reason) != (failure.kind, failure.reason):
            retry_s = self._link.retry_at_s - now_s
            self._bus.emit(
                ConnectionRefused(
                    channel=self._name,
                    connection=self._number,
                    kind=failure.kind.value,
                    reason=failure.reason,
                    retry_s=retry_s,
                )
            )

    async def _stay(self, socket: ClientConnection, service: int) -> None:
        began_s, reason = self._clock.monotonic(), "it ended"
        # of the last one nobody is left, and who never began took nothing back
        self._at_once = self._bytes_at_once = 0
        self._is_open(began_s)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._read(socket, tasks))
                tasks.create_task(self._keep(socket, service))
        except* _Lost as group:
            reason = str(group.exceptions[0])
        finally:
            self.since = None
            await socket.close()
        now_s = self._clock.monotonic()
        self.failure = Failure(FailureKind.TRANSIENT, reason)
        self.last_reason = (now_s, reason)
        self._link.lost(now_s)
        lasted_s = now_s - began_s
        self._bus.emit(
            ConnectionLost(channel=self._name, connection=self._number, reason=reason, lasted_s=lasted_s)
        )

    def _is_open(self, now_s: float) -> None:
        good_at, gap_s = self.good_at, now_s - self._good_s
        self._link.opened(now_s)
        self.failure = None
        self.openings += 1
        self.since = self._is_good()
        self._bus.emit(ConnectionOpened(channel=self._name, connection=self._number, gap_s=gap_s))
        self._opened(good_at, gap_s)

    def _is_good(self) -> datetime:
        self.good_at, self._good_s = self._clock.now(), self._clock.monotonic()
        return self.good_at

    async def _read(self, socket: ClientConnection, tasks: asyncio.TaskGroup) -> NoReturn:
        inbound = Inbound(
            self._name,
            self._settings,
            bus=self._bus,
            clock=self._clock,
            intake=self._intake,
            rejected=self._rejected,
        )
        while True:
            try:
                data = await socket.recv()
            except ConnectionClosed as closed:
                if closed.rcvd is not None:
                    self._is_good()  # up to its goodbye
                raise _Lost(_ended(closed)) from None
            match inbound.read(data):
                case Pong(config):
                    self._link.pong(config)
                    self.last_pong_at = self._is_good()
                    self._woken.set()
                case Came() as came:
                    self.last_event_at = self._clock.now()
                    self._heard()
                    if self._at_once == _MOST_AT_ONCE or self._bytes_at_once + len(came.payload) > _BYTES_AT_ONCE:
                        inbound.reject("too many events at once")  # without an answer: it is delivered again
                    else:
                        self._at_once += 1
                        self._bytes_at_once += len(came.payload)
                        tasks.create_task(self._take(socket, inbound, came))
                case None:
                    pass

    async def _take(self, socket: ClientConnection, inbound: Inbound, came: Came) -> None:
        deadline = asyncio.get_running_loop().time() + self._settings.ack_timeout
        try:
            acknowledgement, afterwards = await inbound.take(came, deadline)
            await self._send(socket, acknowledgement)
        finally:
            self._at_once -= 1
            self._bytes_at_once -= len(came.payload)
        afterwards()

    async def _keep(self, socket: ClientConnection, service: int) -> NoReturn:
        ping = Frame(service=service, method=CONTROL, headers=(("type", "ping"),))
        while True:
            match self._link.step(self._clock.monotonic()):
                case Ping():
                    await self._send(socket, ping)
                case Drop(reason):
                    raise _Lost(reason)
                case Wait(until_s):
                    await self._sleep(until_s)
                case Ask() | Open() as step:
                    raise AssertionError(f"{step} beside an open connection")
                case never:
                    assert_never(never)

    async def _send(self, socket: ClientConnection, frame: Frame) -> None:
        try:
            async with asyncio.timeout(self._settings.pong_timeout):
                await socket.send(encode(frame))
        except ConnectionClosed as closed:
            raise _Lost(_ended(closed)) from None
        except TimeoutError:
            raise _Lost("it takes nothing any more") from None

    async def _sleep(self, until_s: float | None) -> None:
        """Until that moment, or until something has happened."""
        left_s = None if until_s is None else max(0.0, until_s - self._clock.monotonic())
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._woken.wait()
        self._woken.clear()


def _ended(closed: ConnectionClosed) -> str:
    if closed.rcvd is not None:
        return f"closed by the platform with {int(closed.rcvd.code)}"
    if closed.sent is not None:
        return f"closed by us with {int(closed.sent.code)}: what came was not of the protocol, or too large"
    return "it broke off without a goodbye"
