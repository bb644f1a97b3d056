"""What is changed on a card after its outcome was shown?

A failed turn's button goes once another try was accepted; questions that may come next are added under an answer.
Neither is owed to anybody: each is tried a few times, and given up. The button goes once more when the try begins,
because the process may have died in between; where that fails too, a second press leads to the same message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from mainstay.channels.feishu.buttons import kept_suggestions
from mainstay.channels.feishu.client import Refused
from mainstay.channels.feishu.courier import Courier
from mainstay.channels.feishu.machine import Action, backoff
from mainstay.channels.feishu.model import Delivery, FeishuSettings
from mainstay.errors import StorageUnavailable
from mainstay.messages import Message

__all__ = ["Courtesies"]

_TRIES: Final = 8


class Courtesies:
    """Changes of one channel's finished cards.

    Args:
        settings: of the channel.
        courier: writes the cards.
        suggest: what the person may want to say next; see `mainstay.messages.Suggester`.
    """

    def __init__(
        self,
        settings: FeishuSettings,
        courier: Courier,
        suggest: Callable[[Message, str], Awaitable[Sequence[str]]],
    ) -> None:
        self._settings = settings
        self._courier = courier
        self._suggest = suggest

    async def withdraw(self, turn_id: str) -> None:
        """Take the button from the failed turn's card, if the platform lets us."""
        await self._try(lambda: self._courier.withdraw(turn_id))

    async def suggest(self, delivery: Delivery) -> None:
        """Add what may be said next under an answer that was shown without it."""
        texts = kept_suggestions(await self._suggest(delivery.message, delivery.text))
        if texts:
            await self._try(lambda: self._courier.suggest(delivery.turn_id, texts))

    async def _try(self, change: Callable[[], Awaitable[None]]) -> None:
        for failures in range(1, _TRIES + 1):
            at_least_s = 0.0
            try:
                await change()
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
