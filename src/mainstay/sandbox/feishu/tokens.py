"""Which access tokens are valid?

A token is good for two hours. Asked for one with less than half an hour left, the platform gives a new one, and
both are valid; asked earlier, it gives the same one again.
"""

import random

from mainstay.sandbox.feishu.model import App, Json, Moment, Options, Refusal

__all__ = ["Tokens"]

_RENEW_S = 1800.0


class Tokens:
    """The tenant access tokens of the bot."""

    def __init__(self, app: App, rng: random.Random) -> None:
        self._app = app
        self._rng = rng
        self._ends: dict[str, float] = {}

    def issue(self, body: Json, options: Options, now: Moment) -> Json:
        """``POST /auth/v3/tenant_access_token/internal``: flat, with no ``data``. Raises Refusal 10003 or 10014."""
        if body.get("app_id") != self._app.app_id:
            raise Refusal(10003, "invalid param", status=200)
        if body.get("app_secret") != self._app.app_secret:
            raise Refusal(10014, "app secret invalid", status=200)
        self._ends = {token: end for token, end in self._ends.items() if end > now.platform_s}
        token, end = max(self._ends.items(), key=lambda item: item[1], default=("", now.platform_s))
        if end - now.platform_s < min(_RENEW_S, options.token_expire_s / 4):
            token, end = f"t-{self._rng.getrandbits(128):032x}", now.platform_s + options.token_expire_s
            self._ends[token] = end
        return {"tenant_access_token": token, "expire": int(end - now.platform_s)}

    def check(self, bearer: str, now: Moment) -> None:
        """Raises Refusal 99991661 (none given) or 99991663 (unknown, expired or revoked)."""
        if not bearer:
            raise Refusal(
                99991661,
                "Missing access token for authorization. Please make a request with token attached.",
            )
        if self._ends.get(bearer, 0.0) <= now.platform_s:
            raise Refusal(
                99991663,
                "Invalid access token for authorization. Please make a request with token attached.",
            )

    def revoke(self) -> int:
        """Every token given out is invalid from now on; returns how many there were."""
        count = len(self._ends)
        self._ends.clear()
        return count
