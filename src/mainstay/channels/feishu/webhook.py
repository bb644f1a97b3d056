"""May this request pass, and when is it acknowledged?

Verified first, stored second, acknowledged last; nobody is answered here. With an Encrypt Key everything must be
encrypted and signed; without one the Verification Token must be right; with both, both must hold. The one request
that the platform does not sign is url_verification, which must then prove itself by the encryption or the token.
The one that it can not encrypt is a press in its older form, which is signed with the Verification Token.

What arrives unsigned gets the same refusal whatever is wrong with it: an answer that told bad padding from bad
content would let a stranger decrypt what he has recorded, block by block.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from starlette.background import BackgroundTask
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from mainstay.bus import Bus
from mainstay.channels.feishu import crypto
from mainstay.channels.feishu.envelope import Envelope, Json, MalformedEvent, open_envelope, read_object, text_at
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.parse import Ignored, parse_legacy, parse_message
from mainstay.channels.feishu.press import PRESSES, Told, answer
from mainstay.channels.feishu.retries import Pressed
from mainstay.clock import Clock
from mainstay.errors import StorageUnavailable
from mainstay.events import MessageRefused, WebhookRejected
from mainstay.messages import Message, turn_id_of

__all__ = ["Webhook"]


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
        accept: stores a message; raises StorageUnavailable.
        recalled: told the turn_id of a message that was taken back.
        pressed: decides what comes of a press; raises StorageUnavailable.
        answered: told what came of a press once the platform has our answer, and not before: until then it refuses
            every change of that card.
        bot: who the bot is, once that is known.
    """

    def __init__(
        self,
        name: str,
        settings: FeishuSettings,
        *,
        bus: Bus,
        clock: Clock,
        accept: Callable[[Message], Awaitable[bool]],
        recalled: Callable[[str], object],
        pressed: Callable[[Json], Awaitable[Pressed]],
        answered: Callable[[Pressed], object],
        bot: Callable[[], Bot | None],
    ) -> None:
        self._name = name
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._accept = accept
        self._recalled = recalled
        self._pressed = pressed
        self._answered = answered
        self._bot = bot
        self.dropped: Counter[str] = Counter()
        """What was not answered, by event type or reason."""

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
            response = await self._in_time(envelope, deadline)
        except ClientDisconnect:
            return
        except Rejected as rejected:
            response = self._reject(rejected.status, rejected.reason)
        except MalformedEvent:
            response = self._reject(400, "malformed")
        await response(scope, receive, send)

    async def _in_time(self, envelope: Envelope, deadline: float) -> Response:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._take(envelope)
        except StorageUnavailable:
            refused = self._refuse("it could not be stored")
        except TimeoutError:
            refused = self._refuse(f"not stored within {self._settings.ack_timeout:g} s")
        # a press comes once: nobody but the person can repeat it
        return JSONResponse(answer(Told.NOT_NOW)) if envelope.type in PRESSES else refused

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

    async def _take(self, envelope: Envelope) -> Response:
        if envelope.type == "url_verification":
            return JSONResponse({"challenge": envelope.challenge})
        if envelope.type == "im.message.recalled_v1":
            message_id = text_at(envelope.event, "message_id")
            self._recalled(turn_id_of(self._name, self._settings.app_id, "message", message_id))
            return JSONResponse({})
        if envelope.type in PRESSES:
            return await self._press(envelope)
        parsed = self._parse(envelope)
        if isinstance(parsed, Message):
            await self._accept(parsed)
            return JSONResponse({})
        if parsed is None:
            self._count(envelope.type)
            return JSONResponse({})
        self._count(parsed.reason)
        if parsed.later:
            return self._refuse("the bot's own open_id is not known yet, so a mention can not be told")
        return JSONResponse({})

    async def _press(self, envelope: Envelope) -> Response:
        pressed = await self._pressed(envelope.event)
        if pressed.dropped:
            self._count(pressed.dropped)
        return JSONResponse(answer(pressed.told), background=BackgroundTask(self._follow_up, pressed))

    async def _follow_up(self, pressed: Pressed) -> None:
        self._answered(pressed)

    def _parse(self, envelope: Envelope) -> Message | Ignored | None:
        """None: not a message."""
        settings, now = self._settings, self._clock.now()
        match envelope.type:
            case "im.message.receive_v1":
                return parse_message(
                    envelope.event,
                    channel=self._name,
                    app_id=settings.app_id,
                    bot=self._bot(),
                    answer_all=settings.answer_all,
                    now=now,
                )
            case "message":
                sent_at = datetime.fromtimestamp(envelope.created_s, UTC) if envelope.created_s else now
                return parse_legacy(
                    envelope.event,
                    channel=self._name,
                    app_id=settings.app_id,
                    answer_all=settings.answer_all,
                    sent_at=sent_at,
                )
            case _:
                return None

    def _count(self, kind: str) -> None:
        """Bounded, because the names come from outside."""
        self.dropped[kind if kind in self.dropped or len(self.dropped) < 100 else "other"] += 1

    def _reject(self, status: int, reason: str) -> Response:
        self._bus.emit(WebhookRejected(channel=self._name, reason=reason, status=status))
        headers = {"allow": "POST"} if status == 405 else None
        return JSONResponse({"error": reason}, status_code=status, headers=headers)

    def _refuse(self, reason: str) -> Response:
        """Not acknowledged: the platform delivers it again after 15 s, 5 min, 1 h and 6 h."""
        self._bus.emit(MessageRefused(channel=self._name, reason=reason))
        return JSONResponse({"error": "try again"}, status_code=503, headers={"retry-after": "15"})


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
