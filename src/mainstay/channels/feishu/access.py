"""Which access token is sent, and when is another to be had?

It is fetched by one task however many want it: who comes meanwhile shares the result, also a failure. It is renewed
while the old one is still good for half an hour; and an app that the platform does not accept is not tried again at
once, however many calls there are.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from mainstay.channels.feishu.machine import Action
from mainstay.channels.feishu.refused import Refused
from mainstay.clock import Clock

__all__ = ["AccessToken"]

_RENEW_BEFORE_S: Final = 1800.0


class AccessToken:
    """The token of one app.

    Args:
        fetch: asks the platform; returns a token and for how many seconds it is good. Raises `Refused`.
        pause_s: how long an app that was not accepted is not tried again.
    """

    def __init__(self, fetch: Callable[[], Awaitable[tuple[str, float]]], *, clock: Clock, pause_s: float) -> None:
        self._fetch = fetch
        self._clock = clock
        self._pause_s = pause_s
        self._value = ""
        self._good_until_s = 0.0
        self._renew_before_s = _RENEW_BEFORE_S
        self._fetching = asyncio.Lock()
        self._rounds = 0
        self._failure: Refused | None = None
        self._rejected_until_s = 0.0

    @property
    def value(self) -> str:
        """What is sent; empty when there is none."""
        return self._value

    @property
    def left_s(self) -> float:
        """How long it is still good; 0.0 when there is none."""
        return max(0.0, self._good_until_s - self._clock.monotonic()) if self._value else 0.0

    @property
    def renew_in_s(self) -> float:
        """When `renew` will have something to do."""
        return max(0.0, self.left_s - self._renew_before_s)

    def drop(self, value: str) -> None:
        """The platform does not take this one any more."""
        if self._value == value:
            self._value = ""

    async def renew(self) -> None:
        """Get one, unless there is one that is good for a while yet. Raises `Refused`."""
        rounds_before = self._rounds
        async with self._fetching:
            failed = self._failure
            if failed is not None and self._rounds != rounds_before:
                raise Refused(failed.what, failed.refusal)
            if self.renew_in_s:
                return
            left_s = self._rejected_until_s - self._clock.monotonic()
            if failed is not None and left_s > 0:
                raise Refused(failed.what, replace(failed.refusal, wait_s=left_s))
            try:
                self._value, expire_s = await self._fetch()
            except Refused as refused:
                self._failure = refused
                if refused.refusal.action is Action.CONFIGURE:
                    self._rejected_until_s = self._clock.monotonic() + self._pause_s
                raise
            finally:
                self._rounds += 1
            self._failure = None
            self._good_until_s = self._clock.monotonic() + expire_s
            self._renew_before_s = min(_RENEW_BEFORE_S, expire_s / 2)
