"""May this request pass, and when is it acknowledged?

Verified first, stored second, acknowledged last; nobody is answered here. With an Encrypt Key everything must be
encrypted and signed; without one the Verification Token must be right; with both, both must hold. The one request
that the platform does not sign is url_verification, which must then prove itself by the encryption or the token.
The one that it can not encrypt is a press in its older form, which is signed with the Verification Token.

What arrives unsigned gets the same refusal whatever is wrong with it: an answer that told bad padding from bad
content would let a stranger decrypt what he has recorded, block by block.
"""

import asyncio
from collections.abc import Callable

from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mainstay.bus import Bus
from mainstay.channels.feishu import crypto
from mainstay.channels.feishu.envelope import Envelope, Json, MalformedEvent, open_envelope, read_object, text_at
from mainstay.channels.feishu.intake import Again, Intake, Taken
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.press import PRESSES
from mainstay.clock import Clock
from mainstay.events import WebhookRejected

__all__ = ["Webhook", "webhook_path"]


def webhook_path(name: str, path: str) -> str:
    """The bot named ``feishu`` has the plain path; a further one its name in it: ``/webhook/NAME/event``."""
    return path if name == "feishu" else path.replace("/webhook/", f"/webhook/{name}/", 1)


class Rejected(Exception):
    """The request is turned away. ``reason`` is one of our own words, never the sender's."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Webhook:
    """The two addresses that the platform calls; `event` and `card` are ASGI applications.

    Both take everything: a mix-up in the console is to lose nobody's message, and no press.

    Args:
        name: of the channel.
        settings: of the channel.
        bus: hears of what is turned away.
        clock: tells how old a request is.
        intake: takes what has passed.
    """

    def __init__(self, name: str, settings: FeishuSettings, *, bus: Bus, clock: Clock, intake: Intake) -> None:
        self._name = name
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._intake = intake

    async def event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """``POST /webhook/event``."""
        await self._serve(scope, receive, send, for_cards=False)

    async def card(self, scope: Scope, receive: Receive, send: Send) -> None:
        """``POST /webhook/card``: also presses in their older form, which come to no other address."""
        await self._serve(scope, receive, send, for_cards=True)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, *, for_cards: bool) -> None:
        deadline = asyncio.get_running_loop().time() + self._settings.ack_timeout
        try:
            envelope = await self._verified(Request(scope, receive), deadline, for_cards=for_cards)
            response = await self._taken(envelope, deadline)
        except ClientDisconnect:
            return
        except Rejected as rejected:
            response = self._reject(rejected.status, rejected.reason)
        except MalformedEvent:
            response = self._reject(400, "malformed")
        await response(scope, receive, send)

    async def _taken(self, envelope: Envelope, deadline: float) -> Response:
        if envelope.type == "url_verification":
            return JSONResponse({"challenge": envelope.challenge})
        match await self._intake.take(envelope, deadline):
            case Taken(answer=answer, afterwards=afterwards):
                return JSONResponse(answer, background=BackgroundTask(_call, afterwards))
            case Again():
                return JSONResponse({"error": "try again"}, status_code=503, headers={"retry-after": "15"})

    async def _verified(self, request: Request, deadline: float, *, for_cards: bool) -> Envelope:
        try:
            async with asyncio.timeout_at(deadline):
                body = await self._body(request)
        except TimeoutError:
            raise Rejected(408, "too slow") from None
        press = self._older_press(request, body) if for_cards else None
        if press is not None:
            return press
        encrypted = bool(self._settings.encrypt_key)
        envelope = self._decrypted(request, body) if encrypted else open_envelope(read_object(body))
        token = self._settings.verification_token
        if token and not crypto.same(envelope.token, token.reveal()):
            raise Rejected(401, "wrong verification token")
        if envelope.type == "url_verification":
            return envelope
        if not encrypted:
            self._check_age(envelope.created_s)
        if not crypto.same(envelope.app_id, self._settings.app_id):
            raise Rejected(403, "event of another app")
        return envelope

    async def _body(self, request: Request) -> bytes:
        """The raw bytes: what is signed is not what JSON would give back."""
        if request.method != "POST":
            raise Rejected(405, "not a POST")
        media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
            raise Rejected(415, "not JSON")
        limit = self._settings.body_limit
        stated = request.headers.get("content-length", "0")
        if stated.isascii() and stated.isdigit() and (len(stated) > 15 or int(stated) > limit):
            raise Rejected(413, "too large")
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise Rejected(413, "too large")
        return bytes(body)

    def _decrypted(self, request: Request, body: bytes) -> Envelope:
        key = self._settings.encrypt_key.reveal()
        if self._signed(request, body, key):
            self._check_age(_number(request.headers.get("x-lark-request-timestamp", "")))
            return open_envelope(read_object(_plain(key, read_object(body))))
        challenge = self._unsigned_challenge(body, key)
        if challenge is None:
            raise Rejected(401, "wrong signature")
        return challenge

    def _older_press(self, request: Request, body: bytes) -> Envelope | None:
        """A press in its older form: nothing but the event, and as signature a SHA-1 with the token in it."""
        token, headers = self._settings.verification_token.reveal(), request.headers
        expected = crypto.older_signature(
            headers.get("x-lark-request-timestamp", ""), headers.get("x-lark-request-nonce", ""), token, body
        )
        if not token or not crypto.same(headers.get("x-lark-signature", ""), expected):
            return None
        self._check_age(_number(headers.get("x-lark-request-timestamp", "")))
        event, key = read_object(body), self._settings.encrypt_key
        if key and "encrypt" in event:
            event = read_object(_plain(key.reveal(), event))
        return Envelope(type=PRESSES[1], token=token, app_id=self._settings.app_id, event=event)

    def _signed(self, request: Request, body: bytes, key: str) -> bool:
        headers = request.headers
        expected = crypto.signature(
            headers.get("x-lark-request-timestamp", ""), headers.get("x-lark-request-nonce", ""), key, body
        )
        return crypto.same(headers.get("x-lark-signature", ""), expected)

    def _unsigned_challenge(self, body: bytes, key: str) -> Envelope | None:
        try:
            data = read_object(body)
            if "encrypt" in data:
                envelope = open_envelope(read_object(_plain(key, data)))
            elif self._settings.verification_token:
                envelope = open_envelope(data)
            else:
                return None
        except ValueError:
            return None
        return envelope if envelope.type == "url_verification" else None

    def _check_age(self, created_s: float | None) -> None:
        age_s = self._clock.now().timestamp() - created_s if created_s is not None else None
        if age_s is None or not -self._settings.clock_skew <= age_s <= self._settings.freshness:
            raise Rejected(401, "stale, or without a time")

    def _reject(self, status: int, reason: str) -> Response:
        self._bus.emit(WebhookRejected(channel=self._name, reason=reason, status=status))
        headers = {"allow": "POST"} if status == 405 else None
        return JSONResponse({"error": reason}, status_code=status, headers=headers)


async def _call(afterwards: Callable[[], object]) -> None:
    """On the loop: what is no coroutine would be run in a thread."""
    afterwards()


def _plain(key: str, sealed: Json) -> bytes:
    """What is sealed in a body. Raises MalformedEvent, whatever is wrong with it."""
    try:
        return crypto.decrypt(key, text_at(sealed, "encrypt"))
    except ValueError:
        raise MalformedEvent("not encrypted with our key") from None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
