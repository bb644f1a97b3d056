"""Is this call one too many?

Sliding windows, and the month's quota. A call that is refused here uses nothing up; of the quota no call does that
failed for whatever reason. The month is that of the platform's time zone, which is taken to be UTC+8.
"""

import math
from collections import deque
from datetime import timedelta, timezone

from mainstay.sandbox.feishu.model import Moment, Options, Refusal

__all__ = ["Limits"]


_ZONE = timezone(timedelta(hours=8))


class Limits:
    """Every limit that the platform sets on the one bot that lives here."""

    def __init__(self) -> None:
        self._calls: dict[tuple[str, str], deque[float]] = {}
        self._month = ""
        self._used = 0

    def count(self, api: str, options: Options, now: Moment) -> None:
        """Any call but for tokens. Raises Refusal 99991403 (the month's quota) or 99991400 (too fast)."""
        if options.monthly_quota and self.used(now) >= options.monthly_quota:
            raise Refusal(99991403, "This month's API call quota has been exceeded", status=429)
        for limit, window_s in ((options.api_per_s, 1.0), (options.api_per_min, 60.0)):
            self._headroom(("api", api), limit, window_s, options, now)
        self._take(("api", api), options, now)

    def used(self, now: Moment) -> int:
        """How many of the month's calls are used."""
        month = f"{now.at.astimezone(_ZONE):%Y-%m}"
        if month != self._month:
            self._month, self._used = month, 0
        return self._used

    def succeeded(self, now: Moment) -> None:
        """A call was answered with what it asked for: one of the month's."""
        self._used = self.used(now) + 1

    def card(self, card_id: str, options: Options, now: Moment) -> None:
        """An operation on a card. Raises Refusal 99991400."""
        self._headroom(("card", card_id), options.card_per_s, 1.0, options, now)
        self._take(("card", card_id), options, now)

    def chat(self, chat_id: str, options: Options, now: Moment) -> None:
        """A message into a chat. Raises Refusal 230020."""
        self._seldom(("chat", chat_id), options.chat_per_s, options, now)

    def message(self, message_id: str, options: Options, now: Moment) -> None:
        """A change of a message. Raises Refusal 230020."""
        self._seldom(("message", message_id), options.patch_per_s, options, now)

    def _seldom(self, key: tuple[str, str], limit: int, options: Options, now: Moment) -> None:
        if self._wait(key, limit, 1.0, options, now) > 0:
            raise Refusal(230020, "This operation triggers the frequency limit.")
        self._take(key, options, now)

    def _headroom(self, key: tuple[str, str], limit: int, window_s: float, options: Options, now: Moment) -> None:
        wait_s = self._wait(key, limit, window_s, options, now)
        if wait_s > 0:
            headers = {"x-ogw-ratelimit-limit": str(limit), "x-ogw-ratelimit-reset": str(math.ceil(wait_s))}
            raise Refusal(99991400, "request trigger frequency limit", status=429, headers=headers)

    def _wait(self, key: tuple[str, str], limit: int, window_s: float, options: Options, now: Moment) -> float:
        """Seconds until there is room again; 0 when there is."""
        calls = self._calls.get(key, deque[float]())
        if len(calls) < limit:
            return 0.0
        return max(0.0, calls[-limit] + window_s - _time(options, now))

    def _take(self, key: tuple[str, str], options: Options, now: Moment) -> None:
        if len(self._calls) > 10_000:
            newest = _time(options, now) - 60.0
            self._calls = {each: calls for each, calls in self._calls.items() if calls[-1] > newest}
        kept = max(options.api_per_min, options.api_per_s) if key[0] == "api" else 100
        self._calls.setdefault(key, deque(maxlen=kept)).append(_time(options, now))


def _time(options: Options, now: Moment) -> float:
    return now.platform_s if options.scale_limits else now.real_s
