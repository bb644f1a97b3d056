"""How does a failed turn get another try?

A press becomes a message like every other: accepted once, answered in a card of its own. Then the card of the
failed turn loses its button. That is a courtesy, tried a few times, and once more when the try begins, because the
process may have died in between. Where it fails all the same, a second press leads to the same message.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from mainstay.channels.feishu.client import Refused
from mainstay.channels.feishu.courier import Courier
from mainstay.channels.feishu.envelope import Json
from mainstay.channels.feishu.machine import Action, backoff
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.press import Already, Dropped, Told, other_try, read_press
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.clock import Clock
from mainstay.errors import StorageUnavailable
from mainstay.messages import Message

__all__ = ["Pressed", "Retries"]

_WITHDRAWALS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Pressed:
    """What came of a press.

    Attributes:
        told: what the person is told.
        dropped: why it led to nothing, to be counted; empty if it led to something.
        turn_id: the failed turn whose card is to lose its button; empty if none is.
    """

    told: Told
    dropped: str = ""
    turn_id: str = ""


class Retries:
    """The other tries of one channel's turns."""

    def __init__(
        self,
        settings: FeishuSettings,
        *,
        outbox: Outbox,
        courier: Courier,
        clock: Clock,
        accept: Callable[[Message], Awaitable[bool]],
        window_s: float,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._courier = courier
        self._clock = clock
        self._accept = accept
        self._window_s = window_s

    async def pressed(self, event: Json) -> Pressed:
        """Accept another try, if there can be one. Raises StorageUnavailable."""
        press = read_press(event)
        if press is None:
            return Pressed(told=Told.NO_MORE, dropped="press_unreadable")
        known = await self._outbox.offered(press.turn_id)
        match other_try(press, known, now=self._clock.now(), window_s=self._window_s):
            case Dropped(reason):
                return Pressed(told=Told.NO_MORE, dropped=reason)
            case Already():
                told = Told.ALREADY
            case message:
                told = Told.TRYING if await self._accept(message) else Told.ALREADY
        return Pressed(told=told, turn_id=press.turn_id)

    async def withdraw(self, turn_id: str) -> None:
        """Take the button from the failed turn's card, if the platform lets us."""
        for failures in range(1, _WITHDRAWALS + 1):
            at_least_s = 0.0
            try:
                await self._courier.withdraw(turn_id)
            except StorageUnavailable:
                pass
            except Refused as refused:
                if refused.refusal.action not in (Action.WAIT, Action.PRESSED):
                    return
                at_least_s = refused.refusal.wait_s
            else:
                return
            base_s, cap_s = self._settings.retry_base, self._settings.retry_cap
            await asyncio.sleep(backoff(failures, base_s=base_s, cap_s=cap_s, at_least_s=at_least_s))
