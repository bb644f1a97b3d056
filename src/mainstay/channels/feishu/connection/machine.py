"""What is the next step of one long connection?

`Link` is asked for it again and again (`Link.step`), and told what became of it. It goes round: ask for the
address, connect, ping until it is lost, wait, ask again; there is no state without a next step, and no failure
after which it is not tried again. What is random is drawn from ``chance`` (0 to 1).

The rules, and whose they are:

- What lasted is opened again at once; else there is a delay between nothing and a limit that doubles ("full
  jitter"), so that many clients of a platform that comes back do not come back together. The platform's
  ReconnectInterval can only make that limit shorter.
- A ping is judged by its pong. The second follows the first as soon as that has had its time, so that a half-open
  connection is found within two intervals from when it was last good: one until the first ping, half of one for
  each of the two.
- Wrong credentials are tried again, too, but slowly: an app can be repaired in the developer console. Tickets that
  are refused again and again are shown like them, and tried like the rest: whoever gave them took the credentials.
- A quiet connection is a good one. It is given up only on evidence (`Link.suspect`).
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qs, urlsplit

import orjson

from mainstay.channels.feishu.connection.model import (
    Ask,
    ClientConfig,
    ConnectionSettings,
    Drop,
    Endpoint,
    Failure,
    FailureKind,
    Open,
    Ping,
    Step,
    Wait,
)

__all__ = ["Link", "Phase", "merge", "read_endpoint", "read_handshake"]

SETTLED_S: Final = 10.0
"""A connection that lasted so long was a good one."""

_MOST_MISSED: Final = 2
_MOST_TICKETS: Final = 3
_LONGEST_INTERVAL_S: Final = 600.0
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

_REJECTED: Final = {10003, 10014, 10015}
_AUTH_FAILED: Final = "514"
_CROWDED: Final = 1000040350


class Phase(StrEnum):
    """Where a link is on its way round."""

    WAITING = "waiting"
    ASKING = "asking"
    ADDRESSED = "addressed"
    OPENING = "opening"
    OPEN = "open"


class Link:
    """One connection, again and again.

    After `Ask` it is told `told` or `failed`; after `Open`, `opened` or `failed`; once open, `pong` whenever there
    is one, and `lost` when the connection has ended, whoever ended it.
    """

    def __init__(self, settings: ConnectionSettings, chance: Callable[[], float], now_s: float) -> None:
        self._settings = settings
        self._chance = chance
        self._due_s = now_s
        self._failures = self._tickets = self._short = 0
        self._opened_s = self._pinged_s = self._pong_due_s = 0.0
        self._missed = 0
        self._awaiting = False
        self._suspicion = ""
        self.config = ClientConfig()
        self.phase = Phase.WAITING

    @property
    def ping_interval_s(self) -> float:
        """The time from one ping to the next."""
        return min(self._settings.ping_interval, self.config.ping_interval_s or _LONGEST_INTERVAL_S)

    @property
    def retry_at_s(self) -> float:
        """When it is tried next, while it waits."""
        return self._due_s

    def step(self, now_s: float) -> Step:
        """What to do now."""
        match self.phase:
            case Phase.WAITING if now_s >= self._due_s:
                self.phase = Phase.ASKING
                return Ask()
            case Phase.WAITING:
                return Wait(self._due_s)
            case Phase.ADDRESSED:
                self.phase = Phase.OPENING
                return Open()
            case Phase.ASKING | Phase.OPENING:
                return Wait(None)
            case Phase.OPEN:
                return self._keep(now_s)

    def _keep(self, now_s: float) -> Ping | Drop | Wait:
        if self._suspicion:
            return Drop(self._suspicion)
        if self._awaiting:
            if now_s < self._pong_due_s:
                return Wait(self._pong_due_s)
            self._missed += 1
            if self._missed >= _MOST_MISSED:
                self._suspicion = "half-open: two pings in a row had no pong"
                return Drop(self._suspicion)
        elif now_s < self._pinged_s + self.ping_interval_s:
            return Wait(self._pinged_s + self.ping_interval_s)
        self._awaiting = True
        self._pinged_s = now_s
        self._pong_due_s = now_s + min(self._settings.pong_timeout, self.ping_interval_s / 2)
        return Ping()

    def told(self, config: object) -> None:
        """The platform has said where to connect to."""
        self.phase = Phase.ADDRESSED
        self.config = merge(self.config, config)

    def opened(self, now_s: float) -> None:
        """There is a connection; the first ping goes out at once."""
        self.phase = Phase.OPEN
        self._failures = self._tickets = self._missed = 0
        self._awaiting = False
        self._suspicion = ""
        self._opened_s = now_s
        self._pinged_s = now_s - self.ping_interval_s

    def pong(self, config: object) -> None:
        """It is alive, and may have been told something about how to behave."""
        if self.phase is Phase.OPEN:
            self._awaiting = False
            self._missed = 0
        self.config = merge(self.config, config)

    def suspect(self, reason: str) -> None:
        """There is evidence that it only looks alive."""
        if self.phase is Phase.OPEN:
            self._suspicion = self._suspicion or reason

    def failed(self, failure: Failure, now_s: float) -> Failure:
        """There is no connection; returns what that means, which may be more than one try has shown."""
        self._failures += 1
        if failure.kind is FailureKind.REJECTED:
            delay_s = self._settings.rejected_retry * (0.5 + 0.5 * self._chance())
        else:
            delay_s = self._backoff(self._failures)
        self._wait(now_s + delay_s)
        self._tickets = self._tickets + 1 if failure.kind is FailureKind.TICKET else 0
        if self._tickets >= _MOST_TICKETS:
            failure = Failure(FailureKind.REJECTED, failure.reason)
        return failure

    def lost(self, now_s: float) -> None:
        """The connection has ended."""
        self._short = 0 if now_s - self._opened_s >= SETTLED_S else self._short + 1
        self._wait(now_s + (self._backoff(self._short) if self._short else 0.0))

    def _wait(self, until_s: float) -> None:
        self.phase = Phase.WAITING
        self._due_s = until_s

    def _backoff(self, failures: int) -> float:
        base_s, cap_s = self._settings.reconnect_base, self._settings.reconnect_cap
        if self.config.reconnect_interval_s is not None:
            cap_s = min(cap_s, max(base_s, self.config.reconnect_interval_s))
        return self._chance() * min(cap_s, base_s * 2.0 ** min(failures - 1, 30))


def merge(known: ClientConfig, told: object) -> ClientConfig:
    """Field by field: what is missing, or makes no sense, stays what it was."""
    said = told if isinstance(told, Mapping) else {}
    return ClientConfig(
        ping_interval_s=_interval(said.get("PingInterval")) or known.ping_interval_s,
        reconnect_interval_s=_interval(said.get("ReconnectInterval")) or known.reconnect_interval_s,
    )


def _interval(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 1 <= value <= _LONGEST_INTERVAL_S else None


def read_endpoint(http_status: int, body: bytes) -> Endpoint | Failure:
    """What the platform's answer to the question for an address means."""
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    code = answer.get("code") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(code, int):
        return Failure(FailureKind.TRANSIENT, f"HTTP {http_status} that is not the platform's")
    if code != 0 or http_status != 200:
        return Failure(_kind(code), _said(code, f"HTTP {http_status}", answer.get("msg")))
    data = answer.get("data")
    url = data.get("URL") if isinstance(data, dict) else None
    service = _service(url) if isinstance(url, str) else None
    if not isinstance(data, dict) or not isinstance(url, str) or service is None:
        return Failure(FailureKind.TRANSIENT, "an answer without an address that can be used")
    return Endpoint(url=url, service=service, config=data.get("ClientConfig"))


def read_handshake(http_status: int, headers: Mapping[str, str]) -> Failure:
    """What it means that the platform did not open the connection. The names of the headers are in lower case."""
    status, said = headers.get("handshake-status", ""), headers.get("handshake-msg")
    code = _number(headers.get("handshake-autherrcode", ""))
    kind = _kind(code)
    if kind is FailureKind.TRANSIENT and status == _AUTH_FAILED:
        kind = FailureKind.TICKET
    return Failure(kind, _said(code or _number(status), f"handshake refused, HTTP {http_status}", said))


def _kind(code: int) -> FailureKind:
    if code in _REJECTED:
        return FailureKind.REJECTED
    return FailureKind.CROWDED if code == _CROWDED else FailureKind.TRANSIENT


def _said(code: int, where: str, message: object) -> str:
    if code == _CROWDED:
        where = f"too many connections: the app has as many as it may have; end other services that use it; {where}"
    said = " ".join(message.split())[:150] if isinstance(message, str) else ""
    return f"code {code}, {where}: {said or 'without a word'}"


def _service(url: str) -> int | None:
    """The number of the service, from an address that can be used; None if it can not.

    Without TLS only on this machine: the ticket goes there, and what people say comes from there.
    """
    try:
        parts = urlsplit(url)
        local = parts.scheme == "ws" and parts.hostname in _LOOPBACK
    except ValueError:
        return None
    if not parts.hostname or not (parts.scheme == "wss" or local):
        return None
    service = _number(parse_qs(parts.query).get("service_id", [""])[0])
    return service if 0 < service < 2**31 else None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
