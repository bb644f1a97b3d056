"""How does an event reach a bot by its webhook?

Sealed and signed as the documentation has it, by an HTTP request that has to be answered in 3 s. A webhook has
proved before that it is the app's: it has answered with the challenge.
"""

import asyncio
import json
import random
from collections.abc import Callable

import httpx2

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.crypto import encrypt, sign, sign_older
from mainstay.sandbox.feishu.model import Json
from mainstay.sandbox.feishu.tenant import Tenant

__all__ = ["Webhook", "Wire"]

_WINDOW_S = 3.0
_CONNECT_S = 2.0
_CHALLENGE_S = 1.0
_JSON = {"Content-Type": "application/json; charset=utf-8"}

Wire = tuple[bytes, dict[str, str]]
"""A request: its body and its headers."""


class Webhook:
    """The one that is subscribed, if there is one."""

    def __init__(self, tenant: Tenant, clock: PlatformClock, http: httpx2.AsyncClient, rng: random.Random) -> None:
        self._tenant = tenant
        self._clock = clock
        self._http = http
        self._rng = rng
        self.url = ""
        self.card_url = ""

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
        self.url, self.card_url = url, card_url or self.card_url
        return ""

    def unsubscribe(self) -> None:
        """Nothing is sent to it any more."""
        self.url = self.card_url = ""

    def wire(self, body: Json) -> Wire:
        """The request that carries this event."""
        plain = json.dumps(body, ensure_ascii=False).encode()
        if not self._tenant.options.encrypt:
            return plain, _JSON
        sealed = self._seal(plain)
        return sealed, self._signed(sign, self._tenant.app.encrypt_key, sealed)

    async def send(self, wire: Wire) -> str:
        """Hand an event over; returns the HTTP status, or what went wrong instead."""
        if not self.url:
            return "nobody is subscribed"
        content, headers = wire
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

    async def press(self, body: Json) -> tuple[int, object]:
        """Hand a press on a card over; returns the HTTP status (0: none) and the answer's JSON."""
        wire, headers = self.wire(body) if "schema" in body else self._older_wire(body)
        try:
            async with asyncio.timeout(self._clock.window(_WINDOW_S)):
                answer = await self._http.post(self.card_url or self.url, content=wire, headers=headers)
        except (TimeoutError, httpx2.HTTPError) as error:
            return 0, f"{type(error).__name__}"
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, None

    def _older_wire(self, body: Json) -> Wire:
        """A press in its older form: in the clear, and signed with the token."""
        plain = json.dumps(body).encode()
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
