"""How is the platform's API called?

One attempt per call, with a deadline; waiting and trying again belong to those who call. The one exception is an
invalid token, which is replaced and tried once more. The token is fetched by one task however many want it, and
renewed in the background while the old one is still good for half an hour.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

import httpx2
import orjson

from mainstay.channels.feishu.card import card_message
from mainstay.channels.feishu.envelope import Json, mapping_at, text_at
from mainstay.channels.feishu.machine import Action, Pace, Refusal, classify, failed_request
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.clock import Clock
from mainstay.errors import Category, DeliveryError, LeftAlone
from mainstay.guard import Guard
from mainstay.messages import Message

__all__ = ["FeishuClient", "Refused", "Reply"]

_EXPECTED: Final = (Action.REFRESH, Action.REOPEN, Action.SUPERSEDED, Action.UNTHREAD, Action.PRESSED)
_RENEW_BEFORE_S: Final = 1800.0
_BURST: Final = 30
_HISTORY_PAGES: Final = 10
_TOKEN: Final = "/open-apis/auth/v3/tenant_access_token/internal"  # noqa: S105  a path
_CARDS: Final = "/open-apis/cardkit/v1/cards"
_MESSAGES: Final = "/open-apis/im/v1/messages"


class Refused(DeliveryError):
    """The platform did not do what was asked, or it is not known whether it did."""

    def __init__(self, what: str, refusal: Refusal) -> None:
        super().__init__(f"{what}: {refusal.reason}", retryable=refusal.action in (Action.WAIT, Action.PRESSED))
        self.refusal = refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One message of ours, as the chat's history has it."""

    message_id: str
    msg_type: str
    content: str


class FeishuClient:
    """The calls that the channel needs, for one app.

    Every method raises `Refused`; ``on_error`` hears of each, but for those that are part of how the platform is
    used (a token that was replaced just then, a stream that ended, a thread that is not possible, a card that is
    being pressed), and for calls that were not made, because the platform is left alone: it was heard of why.

    Args:
        guard: hears of calls without an answer and of answers with a status of 500 or more. What the platform
            refuses with another one says nothing about its own state.
    """

    def __init__(
        self,
        settings: FeishuSettings,
        *,
        http: httpx2.AsyncClient,
        clock: Clock,
        guard: Guard,
        on_error: Callable[[Refusal, str], None],
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._guard = guard
        self._on_error = on_error
        self._timeout = httpx2.Timeout(settings.request_timeout, connect=settings.connect_timeout)
        self._token = ""
        self._good_until_s = 0.0
        self._renew_before_s = _RENEW_BEFORE_S
        self._fetching = asyncio.Lock()
        self._rounds = 0
        self._paces = {
            name: Pace(settings.calls_per_second, _BURST) for name in ("create", "replace", "stream", "reply")
        }
        self._failure: Refusal | None = None

    @property
    def token_left_s(self) -> float:
        """How long the token is still good; 0.0 when there is none."""
        return max(0.0, self._good_until_s - self._clock.monotonic()) if self._token else 0.0

    @property
    def renew_in_s(self) -> float:
        """When `renew` will have something to do."""
        return max(0.0, self.token_left_s - self._renew_before_s)

    async def renew(self) -> None:
        """Get a token, unless there is one that is good for a while yet; who comes meanwhile shares the result."""
        rounds_before = self._rounds
        async with self._fetching:
            if self._rounds != rounds_before and self._failure is not None:
                raise Refused(_TOKEN, self._failure)
            if self.renew_in_s:
                return
            try:
                await self._fetch_token()
                self._failure = None
            except Refused as refused:
                self._failure = refused.refusal
                raise
            finally:
                self._rounds += 1

    async def _fetch_token(self) -> None:
        secret = {"app_id": self._settings.app_id, "app_secret": self._settings.app_secret.reveal()}
        data = await self._send("POST", _TOKEN, secret, token="")
        token, expire_s = text_at(data, "tenant_access_token"), data.get("expire")
        if not token or not isinstance(expire_s, int):
            raise self._refused(_TOKEN, failed_request(Category.MALFORMED, "an answer without a token"))
        self._token, self._good_until_s = token, self._clock.monotonic() + expire_s
        self._renew_before_s = min(_RENEW_BEFORE_S, expire_s / 2)

    async def bot(self) -> Bot:
        """Who we are."""
        path = "/open-apis/bot/v3/info"
        found = mapping_at(await self._call("GET", path), "bot")
        if not text_at(found, "open_id"):
            raise self._refused(path, failed_request(Category.MALFORMED, "an answer without the bot's open_id"))
        return Bot(open_id=text_at(found, "open_id"), name=text_at(found, "app_name"))

    async def create_card(self, card: str) -> str:
        """Make a card that nobody sees yet, and return its id."""
        await asyncio.sleep(self._until_turn("create"))
        return await self._wanted("POST", _CARDS, {"type": "card_json", "data": card}, "card_id")

    async def replace_card(self, card_id: str, card: str, sequence: int) -> None:
        """Write the whole card, streaming or not."""
        await asyncio.sleep(self._until_turn("replace"))
        body = {"card": {"type": "card_json", "data": card}, "sequence": sequence}
        await self._call("PUT", f"{_CARDS}/{_part(card_id)}", body)

    def until_stream(self) -> float:
        """Take a place for `stream`; returns the seconds until then, in which the text may still change."""
        return self._until_turn("stream")

    def _until_turn(self, api: str) -> float:
        return self._paces[api].reserve(self._clock.monotonic())

    async def stream(self, card_id: str, element: str, text: str, sequence: int) -> None:
        """Write one element of a streaming card; the text is the whole text so far."""
        body = {"content": text, "sequence": sequence}
        await self._call("PUT", f"{_CARDS}/{_part(card_id)}/elements/{element}/content", body)

    async def set_card(self, card_id: str, settings: str, sequence: int) -> None:
        """Open or close streaming."""
        await self._call(
            "PATCH", f"{_CARDS}/{_part(card_id)}/settings", {"settings": settings, "sequence": sequence}
        )

    async def reply_with_card(self, message: Message, card_id: str, key: str) -> str:
        """Show the card to the person, and return the id of the message that does."""
        return await self._reply(message, "interactive", card_message(card_id), key)

    async def reply_with(self, message: Message, kind: str, content: str, key: str) -> str:
        """Answer with a ``"text"`` or a ``"post"``, and return the id of the message."""
        return await self._reply(message, kind, content, key)

    async def _reply(self, message: Message, kind: str, content: str, key: str) -> str:
        """The same ``key`` (at most 50 characters) within an hour gives the same message, not a second one.

        Where a thread is not possible the answer goes to the chat, without being a reply.
        """
        await asyncio.sleep(self._until_turn("reply"))
        body: dict[str, object] = {"msg_type": kind, "content": content, "uuid": key}
        threaded = body | ({"reply_in_thread": True} if message.reply_in_thread else {})
        try:
            return await self._wanted(
                "POST", f"{_MESSAGES}/{_part(message.target_id)}/reply", threaded, "message_id"
            )
        except Refused as refused:
            if refused.refusal.action is not Action.UNTHREAD:
                raise
        body["receive_id"] = message.chat_id
        return await self._wanted("POST", f"{_MESSAGES}?receive_id_type=chat_id", body, "message_id")

    async def delete(self, message_id: str) -> None:
        """Take one of our messages back."""
        await self._call("DELETE", f"{_MESSAGES}/{_part(message_id)}")

    async def replies(self, message: Message, since: datetime) -> list[Reply]:
        """Our answers to a message, oldest first, as far back as ``since``.

        The history of a chat shows only the roots of its threads, so a message with a thread is looked up there.
        """
        asked = await self._call("GET", f"{_MESSAGES}/{_part(message.target_id)}")
        listed = mapping_at(asked, "data").get("items")
        thread_id = next((text_at(each, "thread_id") for each in _objects(listed)), "")
        query = "container_id_type=thread&container_id=" + _part(thread_id)
        if not thread_id:
            start = int(since.timestamp()) - 60
            query = f"container_id_type=chat&container_id={_part(message.chat_id)}&start_time={start}"
        return [
            Reply(
                message_id=text_at(each, "message_id"),
                msg_type=text_at(each, "msg_type"),
                content=text_at(each, "body", "content"),
            )
            for each in await self._history(query)
            if text_at(each, "parent_id") == message.target_id
            and text_at(each, "sender", "sender_type") == "app"
            and text_at(each, "sender", "id") == self._settings.app_id
            and each.get("deleted") is not True
        ]

    async def _history(self, query: str) -> list[Json]:
        found: list[Json] = []
        page = ""
        for _ in range(_HISTORY_PAGES):
            path = f"{_MESSAGES}?{query}&sort_type=ByCreateTimeAsc&page_size=50{page}"
            data = mapping_at(await self._call("GET", path), "data")
            found += _objects(data.get("items"))
            if data.get("has_more") is not True or not text_at(data, "page_token"):
                break
            page = "&page_token=" + _part(text_at(data, "page_token"))
        return found

    async def _wanted(self, method: str, path: str, body: Mapping[str, object], field: str) -> str:
        value = text_at(await self._call(method, path, body), "data", field)
        if not value:
            raise self._refused(path, failed_request(Category.MALFORMED, f"an answer without {field}"))
        return value

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Json:
        if not self.token_left_s:
            await self.renew()
        used = self._token
        try:
            return await self._send(method, path, body, token=used)
        except Refused as refused:
            if refused.refusal.action is not Action.REFRESH:
                raise
        if self._token == used:
            self._token = ""
        await self.renew()
        try:
            return await self._send(method, path, body, token=self._token)
        except Refused as refused:
            if refused.refusal.action is Action.REFRESH:
                self._on_error(refused.refusal, path)
            raise

    async def _send(self, method: str, path: str, body: Mapping[str, object] | None, *, token: str) -> Json:
        sent = {"content-type": "application/json; charset=utf-8"}
        if token:
            sent["authorization"] = f"Bearer {token}"
        try:
            with self._guard.permit():
                async with asyncio.timeout(self._settings.request_timeout):
                    response = await self._http.request(
                        method,
                        self._settings.domain + path,
                        content=orjson.dumps(body) if body is not None else None,
                        headers=sent,
                        timeout=self._timeout,
                    )
                if response.is_server_error:
                    response.raise_for_status()
        except LeftAlone as left:
            raise Refused(path, failed_request(Category.CONNECTION, str(left), wait_s=left.wait_s)) from left
        except httpx2.HTTPStatusError as error:
            response = error.response
        except (TimeoutError, httpx2.TimeoutException):
            raise self._refused(path, failed_request(Category.TIMEOUT, "no answer in time")) from None
        except httpx2.HTTPError as error:
            reason = f"no connection ({type(error).__name__})"
            raise self._refused(path, failed_request(Category.CONNECTION, reason)) from error
        return self._read(path, response)

    def _read(self, path: str, response: httpx2.Response) -> Json:
        try:
            data = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            data = None
        code = data.get("code") if isinstance(data, dict) else None
        if isinstance(data, dict) and code == 0:
            return data
        if not isinstance(code, int):
            reason = f"HTTP {response.status_code} that is not the platform's"
            raise self._refused(path, failed_request(Category.SERVER_ERROR, reason))
        log_id = text_at(data, "error", "log_id") or response.headers.get("x-tt-logid", "")
        message = f"{text_at(data, 'msg')[:150]} (log_id {log_id[:40]})"
        raise self._refused(path, classify(code, response.status_code, response.headers, message))

    def _refused(self, path: str, refusal: Refusal) -> Refused:
        if refusal.action not in _EXPECTED:
            self._on_error(refusal, path)
        return Refused(path, refusal)


def _part(text: str) -> str:
    """One part of a path or query, whatever it holds: ids come from outside."""
    return quote(text, safe="")


def _objects(items: object) -> list[Json]:
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
