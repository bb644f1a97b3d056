"""Which long connections does the app have, and which of them gets this event?

An app may have 50. Each event goes to one of them, taken at random, as to a cluster. One that ended without a
CLOSE may be taken for alive for a while longer (`Options.stale_s`): what is sent to it is lost until it is sent
again. What is written down here is what the judge of a client reads.

Three things are documented nowhere, and are decided here: a ticket is good for one connection, a refused handshake
has HTTP 403, and by default nothing is stale.
"""

import json
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mainstay.sandbox.feishu.model import App, Json, Moment, Options, Refusal
from mainstay.sandbox.feishu.trouble import HandshakeFault, Illness
from mainstay.sandbox.model import ConnectionSeen, EventSent

__all__ = ["MOST", "SERVICE_ID", "Line", "Registry", "client_config"]

MOST = 50
SERVICE_ID = 33554678
_TICKETS = 1000
_KEPT = 1000
_NOTES, _EVENTS = 1000, 20_000
_TOO_MANY = 1000040350


@dataclass(slots=True, kw_only=True)
class Line:
    """One connection, and what went over it.

    Attributes:
        id: the ``device_id`` of its address.
        ready: the handshake is over.
        refused: why the handshake did not succeed.
        stale_until_s: platform time up to which it gets events although it has ended.
    """

    id: str
    opened_at_s: float
    ready: bool = False
    closed_at_s: float | None = None
    close_code: int | None = None
    closed_by: Literal["", "bot", "platform", "nobody"] = ""
    stale_until_s: float = 0.0
    refused: str = ""
    illness: Illness = "none"
    pings: deque[float] = field(default_factory=lambda: deque(maxlen=_NOTES))
    events: deque[EventSent] = field(default_factory=lambda: deque(maxlen=_EVENTS))
    oddities: deque[str] = field(default_factory=lambda: deque(maxlen=_NOTES))

    def seen(self) -> ConnectionSeen:
        """What the judge reads."""
        return ConnectionSeen(
            id=self.id,
            ready=self.ready,
            opened_at_s=self.opened_at_s,
            closed_at_s=self.closed_at_s,
            refused=self.refused,
            illness=self.illness,
            close_code=self.close_code,
            closed_by=self.closed_by,
            pings=tuple(self.pings),
            events=tuple(self.events),
            oddities=tuple(self.oddities),
        )

    def takes_events(self, now: Moment) -> bool:
        """Whether the platform takes it for alive."""
        return self.ready and (self.closed_at_s is None or self.stale_until_s > now.platform_s)

    def answered(self, event: EventSent, answer: str, seconds: float) -> None:
        """What became of an event that was sent here."""
        for index in range(len(self.events) - 1, -1, -1):
            if self.events[index].frame_id == event.frame_id:
                self.events[index] = replace(event, answer=answer, seconds=seconds)
                return


class Registry:
    """The tickets that were given out, and every connection that was made with them."""

    def __init__(self, app: App, rng: random.Random) -> None:
        self._app = app
        self._rng = rng
        self._tickets: dict[str, str] = {}
        self._lines: list[Line] = []
        self.url = ""
        """Where the connections are taken."""

    def endpoint(self, body: Json, options: Options) -> Json:
        """``POST /callback/ws/endpoint``: where to connect. Raises Refusal 10003 or 10014, with HTTP 200."""
        if body.get("AppID") != self._app.app_id:
            raise Refusal(10003, "invalid param", status=200)
        if body.get("AppSecret") != self._app.app_secret:
            raise Refusal(10014, "app secret invalid", status=200)
        device_id = str(self._rng.randrange(7_000_000_000_000_000_000, 7_999_999_999_999_999_999))
        ticket = f"{self._rng.getrandbits(128):032x}"
        self._tickets[ticket] = device_id
        while len(self._tickets) > _TICKETS:
            del self._tickets[next(iter(self._tickets))]
        query = f"fpid=493&aid=552564&device_id={device_id}&access_key={self._rng.getrandbits(128):032x}"
        url = f"{self.url}?{query}&service_id={SERVICE_ID}&ticket={ticket}"
        return {"URL": url, "ClientConfig": json.loads(client_config(options))}

    def judge(self, query: Mapping[str, str]) -> HandshakeFault | None:
        """Why this handshake fails, if it does: the ticket is no good, or it is one connection too many."""
        ticket = query.get("ticket", "")
        if ticket not in self._tickets or self._tickets.pop(ticket) != query.get("device_id"):
            return HandshakeFault(message="invalid ticket")
        if len(self.alive()) >= MOST:
            return HandshakeFault(message="the number of connections exceeds the limit", autherrcode=_TOO_MANY)
        return None

    def open(self, query: Mapping[str, str], now: Moment) -> Line:
        """A connection with this address begins its handshake."""
        line = Line(id=query.get("device_id", ""), opened_at_s=now.real_s)
        self._lines.append(line)
        while len(self._lines) > _KEPT:
            ended = next((each for each in self._lines if each.closed_at_s is not None), None)
            if ended is None:
                break
            self._lines.remove(ended)
        return line

    def refuse(self, line: Line, fault: HandshakeFault, now: Moment) -> None:
        """Its handshake has failed."""
        line.refused = f"{fault.status or f'HTTP {fault.http}'} {fault.message}"
        line.closed_at_s, line.closed_by = now.real_s, "platform"

    def close(
        self, line: Line, code: int, by: Literal["bot", "platform", "nobody"], now: Moment, stale_s: float
    ) -> None:
        """It has ended; one that ended by nobody's will is taken for alive for ``stale_s`` more."""
        line.closed_at_s, line.close_code, line.closed_by = now.real_s, code, by
        if by == "nobody":
            line.stale_until_s = now.platform_s + stale_s

    def alive(self) -> list[Line]:
        """Those that have not ended."""
        return [each for each in self._lines if each.closed_at_s is None]

    def choose(self, now: Moment) -> Line | None:
        """The one that gets the next event, if there is any."""
        taken = [each for each in self._lines if each.takes_events(now)]
        return self._rng.choice(taken) if taken else None

    def seen(self) -> list[ConnectionSeen]:
        """Every connection, oldest first."""
        return [each.seen() for each in self._lines]


def client_config(options: Options) -> str:
    """What the endpoint and each pong tell the client about its own timing, in seconds."""
    return json.dumps(
        {
            "ReconnectCount": options.reconnect_count,
            "ReconnectInterval": options.reconnect_interval_s,
            "ReconnectNonce": options.reconnect_nonce_s,
            "PingInterval": options.ping_interval_s,
        }
    )
