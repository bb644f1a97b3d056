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
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Literal

import httpx2

from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.model import Json
from mainstay.sandbox.feishu.tenant import Tenant
from mainstay.sandbox.feishu.webhook import Webhook, Wire
from mainstay.sandbox.feishu.websocket import Gateway
from mainstay.sandbox.model import Attempt, Delivery

__all__ = ["RETRIES_S", "Pusher"]

RETRIES_S = (15.0, 300.0, 3600.0, 21600.0)
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
    wire: Wire | None = None
    state: Literal["pending", "acknowledged", "given_up"] = "pending"
    attempts: list[Attempt] = field(default_factory=list)


class Pusher:
    """Delivers events to the one webhook that is subscribed, or by connection; `run` must be running."""

    def __init__(
        self, tenant: Tenant, clock: PlatformClock, http: httpx2.AsyncClient, rng: random.Random, gateway: Gateway
    ) -> None:
        self._tenant = tenant
        self._clock = clock
        self._rng = rng
        self._gateway = gateway
        self._group: asyncio.TaskGroup | None = None
        self._lanes: dict[str, deque[_Event]] = {}
        self._events: deque[_Event] = deque(maxlen=_KEPT)
        self._held: list[_Event] | None = None
        self._pending = 0
        self.webhook = Webhook(tenant, clock, http, rng)
        self.by_connection = False

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.Event().wait()

    async def subscribe(self, url: str, card_url: str = "") -> str:
        """Events go to this webhook from now on, if it proves itself; see `Webhook.subscribe`."""
        wrong = await self.webhook.subscribe(url, card_url)
        if not wrong:
            self.by_connection = False
        return wrong

    def subscribe_by_connection(self) -> None:
        """Events go to the long connections from now on, and to no webhook."""
        self.webhook.unsubscribe()
        self.by_connection = True

    @property
    def subscribed(self) -> bool:
        """Whether there is anywhere to send events to."""
        return bool(self.webhook.url) or self.by_connection

    def push(self, body: Json, *, message_id: str, chat_id: str) -> str:
        """Deliver this event, after the others of its chat; returns its event_id.

        Raises:
            OverflowError: when too many wait already.
        """
        if self._pending >= _MAX_PENDING:
            raise OverflowError(f"{_MAX_PENDING} events are waiting already")
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
        if not self.by_connection:
            return await self.webhook.press(body)
        header = body.get("header")  # the older form has none
        event_id, kind = (str(header["event_id"]), "event") if isinstance(header, dict) else ("", "card")
        code, data = await self._gateway.send(event_id, json.dumps(body).encode(), kind=kind)
        return (int(code), data) if code.isdecimal() else (0, code)

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
        if self.by_connection:
            plain = json.dumps(event.body, ensure_ascii=False).encode()
            return (await self._gateway.send(event.event_id, plain))[0]
        if event.wire is None or self._tenant.options.resign_retries:
            event.wire = self.webhook.wire(event.body)
        return await self.webhook.send(event.wire)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None, "run() is not running"
        self._group.create_task(work)


def _identity(body: Json) -> tuple[str, str]:
    header = body.get("header")
    if isinstance(header, dict):
        return str(header["event_id"]), str(header["event_type"])
    return str(body["uuid"]), "message"
