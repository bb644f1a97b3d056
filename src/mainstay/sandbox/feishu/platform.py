"""What does the platform answer to this call?

Authorization, limits, the operation, and the form of every answer. No I/O and no time of its own, so that a test
can ask it anything at any moment.
"""

import random
from collections import deque

from mainstay.sandbox.feishu.model import ApiReply, ApiRequest, Json, Moment, Refusal
from mainstay.sandbox.feishu.operations import OPERATIONS, Call, bot_info
from mainstay.sandbox.feishu.tenant import Tenant

__all__ = ["Platform"]

_TOKEN = "/open-apis/auth/v3/tenant_access_token/internal"  # noqa: S105  a path
_ENDPOINT = "/callback/ws/endpoint"
_CALLS = 50_000


class Platform:
    """The API of one tenant."""

    def __init__(self, tenant: Tenant, rng: random.Random) -> None:
        self.tenant = tenant
        self._rng = rng
        self.calls: deque[tuple[float, str, str, int, int]] = deque(maxlen=_CALLS)
        """(real monotonic time, method, path, HTTP status, code) of every call, newest last."""

    def refuse(self, request: ApiRequest, now: Moment) -> ApiReply | None:
        """The answer, if the call is not authorized."""
        if request.path in {_TOKEN, _ENDPOINT}:
            return None
        try:
            self.tenant.tokens.check(request.bearer, now)
        except Refusal as why:
            return self.no(request, why, now)
        return None

    def call(self, request: ApiRequest, now: Moment) -> ApiReply:
        """Do what is asked, and answer."""
        refused = self.refuse(request, now)
        if refused is not None:
            return refused
        try:
            return self._do(request, now)
        except Refusal as why:
            return self.no(request, why, now)

    def no(self, request: ApiRequest, why: Refusal, now: Moment) -> ApiReply:
        """The error answer, logged."""
        log_id = self._log_id(now)
        body: Json = {"code": why.code, "msg": why.message, "error": {"log_id": log_id}}
        return self._reply(request, why.status, body, {**why.headers, "X-Tt-Logid": log_id}, now)

    def _do(self, request: ApiRequest, now: Moment) -> ApiReply:
        headers = {"X-Tt-Logid": self._log_id(now)}
        if request.path == _TOKEN and request.method == "POST":
            body = {"code": 0, "msg": "ok", **self.tenant.tokens.issue(request.body, self.tenant.options, now)}
            return self._reply(request, 200, body, headers, now)
        if request.path == _ENDPOINT and request.method == "POST":
            data = self.tenant.connections.endpoint(request.body, self.tenant.options)
            return self._reply(request, 200, {"code": 0, "msg": "", "data": data}, headers, now)
        for method, pattern, operation in OPERATIONS:
            match = pattern.fullmatch(request.path)
            if match and method == request.method:
                self.tenant.limits.count(f"{method} {pattern.pattern}", self.tenant.options, now)
                found = operation(Call(self.tenant, request, match.groups(), now))
                self.tenant.limits.succeeded(now)
                body = {"code": 0, "msg": "success", "data": found or {}}
                if operation is bot_info:
                    body = {"code": 0, "msg": "ok", "bot": found}
                return self._reply(request, 200, body, headers, now)
        return self.no(request, Refusal(99991404, "404 page not found", status=404), now)

    def _reply(
        self, request: ApiRequest, status: int, body: Json, headers: dict[str, str], now: Moment
    ) -> ApiReply:
        reply = ApiReply(status=status, body=body, headers=headers)
        self.calls.append((now.real_s, request.method, request.path, status, reply.code))
        return reply

    def _log_id(self, now: Moment) -> str:
        return f"{now.at:%Y%m%d%H%M%S}{self._rng.getrandbits(72):018X}"
