"""When does an event reach the bot?

By its webhook, or by one of its long connections, whichever the app is subscribed by. As the documentation
describes it: 3 s for an HTTP 200, or an acknowledgement with that code; else again after 15 s, 5 minutes, 1
hour and 6 hours, at least once. The first attempts in one chat are made in the order of saying, one after the
other; repeats come when they come. Callbacks (a press on a card) are tried once.
"""

import asyncio
import json
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Literal

import httpx2

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.crypto import encrypt, sign, sign_older
from mainstay.sandbox.feishu.model import Json
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.sandbox.feishu.websocket import Gateway
from mainstay.sandbox.model import Attempt, Delivery

__all__ = ["RETRIES_S", "Pusher"]

RETRIES_S = (15.0, 300.0, 3600.0, 21600.0)
_WINDOW_S = 3.0
_CONNECT_S = 2.0
_CHALLENGE_S = 1.0
_MAX_PENDING = 10_000
_KEPT = 20_000


@dataclass(slots=True, kw_only=True)
class _Event:
    event_id: str
    event_type: str
    message_id: str
    chat_id: str
    body: Json
    happened_s: float
    tried_s: float = 0.0
    wire: tuple[bytes, dict[str, str]] | None = None
    state: Literal["pending", "acknowledged", "given_up"] = "pending"
    attempts: list[Attempt] = field(default_factory=list)


class Pusher:
    """Delivers events to the one webhook that is subscribed, or by connection; `run` must be running."""

    def __init__(
        self,
        tenant: Tenant,
        clock: PlatformClock,
        http: httpx2.AsyncClient,
        rng: random.Random,
        gateway: Gateway | None = None,
    ) -> None:
        self._tenant = tenant
        self._clock = clock
        self._http = http
        self._rng = rng
        self._gateway = gateway
        self._group: asyncio.TaskGroup | None = None
        self._lanes: dict[str, deque[_Event]] = {}
        self._events: deque[_Event] = deque(maxlen=_KEPT)
        self.url = ""
        self.card_url = ""
        self.by_connection = False
        self._held: list[_Event] | None = None
        self._pending = 0

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    async def subscribe(self, url: str, card_url: str = "") -> str:
        """Ask the webhook to prove itself, as saving its address in the developer console does.

        Returns:
            Empty when it answered with the challenge within a second, and is subscribed; else what went wrong.
        """
        challenge = f"{self._rng.getrandbits(64):016x}"
        plain = json.dumps(events.verification(self._tenant.app, challenge)).encode()
        sealed = self._seal(plain) if self._tenant.options.encrypt else plain
        try:
            async with asyncio.timeout(_CHALLENGE_S):
                answer = await self._http.post(url, content=sealed, headers=_JSON)
        except TimeoutError:
            return f"{url} did not answer the challenge within {_CHALLENGE_S:g} s"
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            return f"{url} can not be reached: {type(error).__name__}"
        if answer.status_code != 200:
            return f"{url} answered the challenge with HTTP {answer.status_code}, not 200"
        try:
            given = answer.json()
        except ValueError:
            given = None
        if not isinstance(given, dict) or given.get("challenge") != challenge:
            return f"{url} did not answer with the challenge"
        self.url, self.card_url, self.by_connection = url, card_url or self.card_url, False
        return ""

    def subscribe_by_connection(self) -> None:
        """Events go to the long connections from now on, and to no webhook."""
        self.url, self.card_url, self.by_connection = "", "", True

    @property
    def subscribed(self) -> bool:
        """Whether there is anywhere to send events to."""
        return bool(self.url) or self.by_connection

    def push(self, body: Json, *, message_id: str, chat_id: str) -> str:
        """Deliver this event, after the others of its chat; returns its event_id.

        Raises:
            OverflowError: when too many wait already.
        """
        if self._pending >= _MAX_PENDING:
            raise OverflowError(f"{_MAX_PENDING} events are waiting for the webhook already")
        event_id, event_type = _identity(body)
        event = _Event(
            event_id=event_id,
            event_type=event_type,
            message_id=message_id,
            chat_id=chat_id,
            body=body,
            happened_s=self._clock.moment().platform_s,
        )
        self._events.append(event)
        self._pending += 1
        if self._held is None:
            self._enqueue(event)
        else:
            self._held.append(event)
        return event_id

    def hold(self) -> None:
        """Keep back all events that happen from now on, until `release`."""
        self._held = self._held or []

    def release(self, order: str = "as said") -> int:
        """Deliver what was kept back, late and in this order; returns how many there were.

        Raises:
            ValueError: if there is no such order.
        """
        held = self._held or []
        match order:
            case "as said":
                pass
            case "reversed":
                held.reverse()
            case "shuffled":
                self._rng.shuffle(held)
            case _:
                raise ValueError(f'order {order!r}: it must be "as said", "reversed" or "shuffled"')
        self._held = None
        for event in held:
            self._enqueue(event)
        return len(held)

    def again(self, message_id: str) -> str:
        """Deliver the message's last event once more, byte for byte; returns its event_id, or empty."""
        event = next((each for each in reversed(self._events) if each.message_id == message_id), None)
        if event is None:
            return ""
        if event.state != "pending":
            event.state = "pending"
            self._pending += 1
        self._start(self._deliver(event, retries=()))
        return event.event_id

    def deliveries(self) -> list[Delivery]:
        """What became of every event, oldest first."""
        return [
            Delivery(
                event_id=each.event_id,
                event_type=each.event_type,
                message_id=each.message_id,
                chat_id=each.chat_id,
                state=each.state,
                attempts=tuple(each.attempts),
            )
            for each in self._events
        ]

    async def callback(self, body: Json) -> tuple[int, object]:
        """A press on a card: one attempt of 3 s; returns the HTTP status (0: none) and the answer's JSON."""
        plain = json.dumps(body).encode()
        if self._gateway is not None and self.by_connection:
            code, data = await self._gateway.send(
                _event_id(body), plain, kind="event" if "schema" in body else "card"
            )
            return (int(code), data) if code.isdecimal() else (0, code)
        wire, headers = self._wire(plain) if "schema" in body else self._older_wire(plain)
        try:
            async with asyncio.timeout(self._clock.window(_WINDOW_S)):
                answer = await self._http.post(self.card_url or self.url, content=wire, headers=headers)
        except (TimeoutError, httpx2.HTTPError) as error:
            return 0, f"{type(error).__name__}"
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, None

    def _enqueue(self, event: _Event) -> None:
        lane = self._lanes.get(event.chat_id)
        if lane is not None:
            lane.append(event)
        else:
            self._lanes[event.chat_id] = deque([event])
            self._start(self._first_attempts(event.chat_id))

    async def _first_attempts(self, chat_id: str) -> None:
        lane = self._lanes[chat_id]
        while lane:
            event = lane[0]
            if not await self._attempt(event):
                self._start(self._deliver(event, retries=RETRIES_S, first=False))
            lane.popleft()
        del self._lanes[chat_id]

    async def _deliver(self, event: _Event, *, retries: tuple[float, ...], first: bool = True) -> None:
        if first and await self._attempt(event):
            return
        for delay_s in retries:
            await self._clock.sleep_until(event.tried_s + delay_s)
            if await self._attempt(event):
                return
        self._end(event, "given_up")

    def _end(self, event: _Event, state: Literal["acknowledged", "given_up"]) -> None:
        self._pending -= event.state == "pending"
        event.state = state

    async def _attempt(self, event: _Event) -> bool:
        begun = self._clock.moment()
        answer = await self._post(event)
        if answer == "200":
            self._end(event, "acknowledged")
        ended = self._clock.moment()
        event.tried_s = ended.platform_s
        event.attempts.append(Attempt(begun.platform_s - event.happened_s, answer, ended.real_s - begun.real_s))
        return answer == "200"

    async def _post(self, event: _Event) -> str:
        if self._gateway is not None and self.by_connection:
            plain = json.dumps(event.body, ensure_ascii=False).encode()
            return (await self._gateway.send(event.event_id, plain))[0]
        if not self.url:
            return "nobody is subscribed"
        if event.wire is None or self._tenant.options.resign_retries:
            event.wire = self._wire(json.dumps(event.body, ensure_ascii=False).encode())
        content, headers = event.wire
        window_s, connect_s = self._clock.window(_WINDOW_S), self._clock.window(_CONNECT_S)
        try:
            async with asyncio.timeout(window_s):
                limits = httpx2.Timeout(window_s, connect=connect_s)
                reply = await self._http.post(self.url, content=content, headers=headers, timeout=limits)
        except (TimeoutError, httpx2.TimeoutException):
            return "timeout"
        except httpx2.HTTPError as error:
            return type(error).__name__
        return str(reply.status_code)

    def _wire(self, plain: bytes) -> tuple[bytes, dict[str, str]]:
        if not self._tenant.options.encrypt:
            return plain, _JSON
        body = self._seal(plain)
        return body, self._signed(sign, self._tenant.app.encrypt_key, body)

    def _older_wire(self, plain: bytes) -> tuple[bytes, dict[str, str]]:
        """A press in its older form: in the clear, and signed with the token."""
        return plain, self._signed(sign_older, self._tenant.app.verification_token, plain)

    def _signed(self, by: Callable[[str, str, str, bytes], str], key: str, body: bytes) -> dict[str, str]:
        timestamp, nonce = str(int(self._clock.moment().at.timestamp())), str(self._rng.getrandbits(30))
        return {
            **_JSON,
            "X-Lark-Request-Timestamp": timestamp,
            "X-Lark-Request-Nonce": nonce,
            "X-Lark-Signature": by(timestamp, nonce, key, body),
        }

    def _seal(self, plain: bytes) -> bytes:
        sealed = encrypt(self._tenant.app.encrypt_key, plain, self._rng.randbytes(16))
        return json.dumps({"encrypt": sealed}).encode()

    def _start(self, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None, "run() is not running"
        self._group.create_task(work)


_JSON = {"Content-Type": "application/json; charset=utf-8"}


def _event_id(body: Json) -> str:
    header = body.get("header")
    return str(header["event_id"]) if isinstance(header, dict) else ""


def _identity(body: Json) -> tuple[str, str]:
    header = body.get("header")
    if isinstance(header, dict):
        return str(header["event_id"]), str(header["event_type"])
    return str(body["uuid"]), "message"
