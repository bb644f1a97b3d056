"""How is the platform's API called?

One attempt per call, in its turn under the platform's limits and with a deadline; trying again belongs to those who
call. The one exception is an invalid token, which is replaced and tried once more.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote

import httpx2
import orjson

from mainstay.channels.feishu.access import AccessToken
from mainstay.channels.feishu.card import card_message
from mainstay.channels.feishu.envelope import Json, mapping_at, text_at
from mainstay.channels.feishu.governor.calls import call_of
from mainstay.channels.feishu.governor.gate import Gate, NoTurn
from mainstay.channels.feishu.governor.model import Call
from mainstay.channels.feishu.governor.quota import Quota
from mainstay.channels.feishu.machine import Action, Refusal, classify, failed_request
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.refused import Refused
from mainstay.clock import Clock
from mainstay.errors import Category, LeftAlone
from mainstay.guard import Guard
from mainstay.messages import Message

__all__ = ["REACTIONS", "FeishuClient", "Refused", "Reply"]

REACTIONS: Final = "/reactions"

_EXPECTED: Final = (Action.REFRESH, Action.REOPEN, Action.SUPERSEDED, Action.UNTHREAD, Action.PRESSED)
_HISTORY_PAGES: Final = 10
_MISSED_PAGES: Final = 2
_TOKEN: Final = "/open-apis/auth/v3/tenant_access_token/internal"  # noqa: S105  a path
_CARDS: Final = "/open-apis/cardkit/v1/cards"
_MESSAGES: Final = "/open-apis/im/v1/messages"


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
    being pressed), and for calls that were not made, because the platform is left alone or has no place for them:
    it was heard of why.

    Args:
        guard: hears of calls without an answer and of answers with a status of 500 or more. What the platform
            refuses with another one says nothing about its own state.
        gate: where calls wait for their turn; by default one of its own, which remembers no month.
    """

    def __init__(
        self,
        settings: FeishuSettings,
        *,
        http: httpx2.AsyncClient,
        clock: Clock,
        guard: Guard,
        on_error: Callable[[Refusal, str], None],
        gate: Gate | None = None,
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._gate = gate or Gate(settings, quota=Quota(settings.monthly_quota), clock=clock)
        self._guard = guard
        self._on_error = on_error
        self._timeout = httpx2.Timeout(settings.request_timeout, connect=settings.connect_timeout)
        self._token = AccessToken(self._fetch_token, clock=clock, pause_s=settings.retry_cap)
        self._calls: Counter[tuple[str, str]] = Counter()

    @property
    def calls(self) -> Mapping[tuple[str, str], int]:
        """How often each API was called, and how it went: ``ok``, the error's category, or ``held back``."""
        return self._calls

    @property
    def token_left_s(self) -> float:
        """How long the token is still good; 0.0 when there is none."""
        return self._token.left_s

    @property
    def renew_in_s(self) -> float:
        """When `renew` will have something to do."""
        return self._token.renew_in_s

    async def renew(self) -> None:
        """See `AccessToken.renew`."""
        await self._token.renew()

    async def _fetch_token(self) -> tuple[str, float]:
        secret = {"app_id": self._settings.app_id, "app_secret": self._settings.app_secret.reveal()}
        data = await self._send(call_of("POST", _TOKEN), "POST", _TOKEN, secret, token="")
        token, expire_s = text_at(data, "tenant_access_token"), data.get("expire")
        if not token or not isinstance(expire_s, int):
            raise self._refused(_TOKEN, failed_request(Category.MALFORMED, "an answer without a token"))
        return token, expire_s

    async def bot(self) -> Bot:
        """Who we are."""
        path = "/open-apis/bot/v3/info"
        found = mapping_at(await self._call("GET", path), "bot")
        if not text_at(found, "open_id"):
            raise self._refused(path, failed_request(Category.MALFORMED, "an answer without the bot's open_id"))
        return Bot(open_id=text_at(found, "open_id"), name=text_at(found, "app_name"))

    async def create_card(self, card: str) -> str:
        """Make a card that nobody sees yet, and return its id."""
        return await self._wanted("POST", _CARDS, {"type": "card_json", "data": card}, "card_id")

    async def replace_card(self, card_id: str, card: str, sequence: int) -> None:
        """Write the whole card, streaming or not."""
        body = {"card": {"type": "card_json", "data": card}, "sequence": sequence}
        await self._call("PUT", f"{_CARDS}/{_part(card_id)}", body)

    def refuse_streaming(self) -> None:
        """Raise `Refused` if nothing is to be streamed, because the month's calls are used up."""
        try:
            self._gate.refuse_streaming()
        except NoTurn as no:
            raise Refused("streaming", no.refusal) from None

    async def until_stream(self, card_id: str, unless: asyncio.Event) -> None:
        """Wait for the turn of this card's next `stream`, or until ``unless``; the text may change meanwhile."""
        path = _content(card_id, "any")
        try:
            await self._gate.hold(call_of("PUT", path), unless)
        except NoTurn as no:
            raise Refused(path, no.refusal) from None

    async def stream(self, card_id: str, element: str, text: str, sequence: int) -> None:
        """Write one element of a streaming card; the text is the whole text so far."""
        body = {"content": text, "sequence": sequence}
        await self._call("PUT", _content(card_id, element), body)

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
        body: dict[str, object] = {"msg_type": kind, "content": content, "uuid": key}
        if not message.target_id:
            return await self._say(message.chat_id, body)
        threaded = body | ({"reply_in_thread": True} if message.reply_in_thread else {})
        try:
            path = f"{_MESSAGES}/{_part(message.target_id)}/reply"
            return await self._wanted("POST", path, threaded, "message_id", chat_id=message.chat_id)
        except Refused as refused:
            if refused.refusal.action is not Action.UNTHREAD:
                raise
        return await self._say(message.chat_id, body)

    async def _say(self, chat_id: str, body: dict[str, object]) -> str:
        body["receive_id"] = chat_id
        path = f"{_MESSAGES}?receive_id_type=chat_id"
        return await self._wanted("POST", path, body, "message_id", chat_id=chat_id)

    async def message(self, message_id: str) -> list[Json]:
        """A message as it is now; of forwarded ones also those that are in it."""
        found = await self._call("GET", f"{_MESSAGES}/{_part(message_id)}")
        return _objects(mapping_at(found, "data").get("items"))

    async def react(self, message_id: str, emoji: str) -> str:
        """Show this reaction under a message, and return its id."""
        path = f"{_MESSAGES}/{_part(message_id)}{REACTIONS}"
        return await self._wanted("POST", path, {"reaction_type": {"emoji_type": emoji}}, "reaction_id")

    async def unreact(self, message_id: str, reaction_id: str) -> None:
        """Take a reaction of ours away."""
        await self._call("DELETE", f"{_MESSAGES}/{_part(message_id)}{REACTIONS}/{_part(reaction_id)}")

    async def delete(self, message_id: str) -> None:
        """Take one of our messages back."""
        await self._call("DELETE", f"{_MESSAGES}/{_part(message_id)}")

    async def replies(self, message: Message, since: datetime) -> list[Reply]:
        """Our answers to a message, oldest first, as far back as ``since``.

        The history of a chat shows only the roots of its threads, so a message with a thread is looked up there.
        """
        asked = await self.message(message.target_id) if message.target_id else []
        thread_id = next((text_at(each, "thread_id") for each in asked), "")
        query = f"container_id_type=thread&container_id={_part(thread_id)}" if thread_id else _chat(message, since)
        return await self._said(query, parent_id=message.target_id)

    async def said_to_chat(self, message: Message, since: datetime) -> list[Reply]:
        """What we have said in the message's chat and not as a reply, because a thread was not possible."""
        return await self._said(_chat(message, since), parent_id="")

    async def _said(self, query: str, *, parent_id: str) -> list[Reply]:
        return [
            Reply(
                message_id=text_at(each, "message_id"),
                msg_type=text_at(each, "msg_type"),
                content=text_at(each, "body", "content"),
            )
            for each in await self._history(query)
            if text_at(each, "parent_id") == parent_id
            and text_at(each, "sender", "sender_type") == "app"
            and text_at(each, "sender", "id") == self._settings.app_id
            and each.get("deleted") is not True
        ]

    async def said_since(self, container_id: str, since: datetime, *, in_thread: bool) -> list[Json]:
        """What was said in a chat or a thread, oldest first; of very much only the latest.

        A thread can not be asked for a time, so that older messages may be among them.
        """
        kind = "thread" if in_thread else "chat"
        query = f"container_id_type={kind}&container_id={_part(container_id)}"
        if not in_thread:
            query += f"&start_time={int(since.timestamp())}"
        return (await self._history(query, "ByCreateTimeDesc", pages=_MISSED_PAGES))[::-1]

    async def _history(
        self, query: str, sort_type: str = "ByCreateTimeAsc", *, pages: int = _HISTORY_PAGES
    ) -> list[Json]:
        found: list[Json] = []
        page = ""
        for _ in range(pages):
            path = f"{_MESSAGES}?{query}&sort_type={sort_type}&page_size=50{page}"
            data = mapping_at(await self._call("GET", path), "data")
            found += _objects(data.get("items"))
            if data.get("has_more") is not True or not text_at(data, "page_token"):
                break
            page = "&page_token=" + _part(text_at(data, "page_token"))
        return found

    async def _wanted(
        self, method: str, path: str, body: Mapping[str, object], field: str, *, chat_id: str = ""
    ) -> str:
        value = text_at(await self._call(method, path, body, chat_id=chat_id), "data", field)
        if not value:
            raise self._refused(path, failed_request(Category.MALFORMED, f"an answer without {field}"))
        return value

    async def _call(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, chat_id: str = ""
    ) -> Json:
        """``chat_id``: where a message goes, if it is one; the chat's limit is known by it."""
        call = call_of(method, path, chat_id=chat_id)
        if not self._token.left_s:
            await self._token.renew()
        used = self._token.value
        try:
            return await self._send(call, method, path, body, token=used)
        except Refused as refused:
            if refused.refusal.action is not Action.REFRESH:
                raise
        self._token.drop(used)
        await self._token.renew()
        try:
            return await self._send(call, method, path, body, token=self._token.value)
        except Refused as refused:
            if refused.refusal.action is Action.REFRESH:
                self._on_error(refused.refusal, path)
            raise

    async def _send(
        self, call: Call, method: str, path: str, body: Mapping[str, object] | None, *, token: str
    ) -> Json:
        """In its turn; the gate and the counters learn how it went."""
        try:
            async with self._gate.turn(call) as ticket:
                try:
                    data = await self._request(method, path, body, token=token)
                except Refused as refused:
                    self._gate.learn(call, ticket, refused.refusal)
                    self._calls[call.api, refused.refusal.category] += 1
                    raise
                self._gate.learn(call, ticket, None)
                self._calls[call.api, "ok"] += 1
                return data
        except NoTurn as no:
            self._calls[call.api, "held back"] += 1
            raise Refused(path, no.refusal) from None

    async def _request(self, method: str, path: str, body: Mapping[str, object] | None, *, token: str) -> Json:
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
            raise NoTurn(failed_request(Category.CONNECTION, str(left), wait_s=left.wait_s)) from left
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
        unread = refusal.scope and path.startswith(
            f"{_MESSAGES}?container_id_type"
        )  # a courtesy of the app's owner
        if refusal.action not in _EXPECTED and not unread:
            self._on_error(refusal, path)
        return Refused(path, refusal)


def _chat(message: Message, since: datetime) -> str:
    start = int(since.timestamp()) - 60
    return f"container_id_type=chat&container_id={_part(message.chat_id)}&start_time={start}"


def _content(card_id: str, element: str) -> str:
    return f"{_CARDS}/{_part(card_id)}/elements/{element}/content"


def _part(text: str) -> str:
    """One part of a path or query, whatever it holds: ids come from outside."""
    return quote(text, safe="")


def _objects(items: object) -> list[Json]:
    return [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
