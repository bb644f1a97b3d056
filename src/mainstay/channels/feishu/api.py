"""How is one call of the platform's API made?

One attempt, in its turn under the platform's limits and with a deadline; trying again belongs to those who call.
The one exception is an invalid token, which is replaced and tried once more.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import httpx2
import orjson

from mainstay.channels.feishu.access import AccessToken
from mainstay.channels.feishu.envelope import Json, text_at
from mainstay.channels.feishu.governor.calls import call_of
from mainstay.channels.feishu.governor.gate import Gate, NoTurn
from mainstay.channels.feishu.governor.model import Call
from mainstay.channels.feishu.governor.quota import Quota
from mainstay.channels.feishu.machine import Action, Refusal, classify, failed_request
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.platform_time import PlatformTime
from mainstay.channels.feishu.refused import Refused
from mainstay.clock import Clock
from mainstay.errors import Category, LeftAlone
from mainstay.guard import Guard

__all__ = ["MESSAGES", "Api"]

MESSAGES: Final = "/open-apis/im/v1/messages"

_EXPECTED: Final = (Action.REFRESH, Action.REOPEN, Action.SUPERSEDED, Action.UNTHREAD, Action.PRESSED)
_TOKEN: Final = "/open-apis/auth/v3/tenant_access_token/internal"  # noqa: S105  a path


class Api:
    """The API of the platform for one app.

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
        self.time = PlatformTime(clock)
        """The platform's, which its answers tell."""
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

    def refuse_streaming(self) -> None:
        """Raise `Refused` if nothing is to be streamed, because the month's calls are used up."""
        try:
            self._gate.refuse_streaming()
        except NoTurn as no:
            raise Refused("streaming", no.refusal) from None

    async def _hold(self, method: str, path: str, unless: asyncio.Event) -> None:
        """Wait for the turn of such a call without making it, or until ``unless``."""
        try:
            await self._gate.hold(call_of(method, path), unless)
        except NoTurn as no:
            raise Refused(path, no.refusal) from None

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
        if isinstance(code, int):
            self.time.heard(response.headers.get("date", ""))
        if isinstance(data, dict) and code == 0:
            return data
        if not isinstance(code, int):
            reason = f"HTTP {response.status_code} that is not the platform's"
            raise self._refused(path, failed_request(Category.SERVER_ERROR, reason))
        log_id = text_at(data, "error", "log_id") or response.headers.get("x-tt-logid", "")
        message = f"{text_at(data, 'msg')[:150]} (log_id {log_id[:40]})"
        raise self._refused(path, classify(code, response.status_code, response.headers, message))

    def _refused(self, path: str, refusal: Refusal) -> Refused:
        unread = refusal.scope and path.startswith(f"{MESSAGES}?container_id_type")
        if refusal.action not in _EXPECTED and not unread:  # to let it read is a courtesy of the app's owner
            self._on_error(refusal, path)
        return Refused(path, refusal)
