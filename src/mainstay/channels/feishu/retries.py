"""How does the card of a failed turn lose its button, once another try was accepted?

That is a courtesy, tried a few times, and once more when the try begins, because the process may have died in
between. Where it fails all the same, a second press leads to the same message.
"""

import asyncio
from typing import Final

from mainstay.channels.feishu.client import Refused
from mainstay.channels.feishu.courier import Courier
from mainstay.channels.feishu.machine import Action, backoff
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.errors import StorageUnavailable

__all__ = ["Retries"]

_WITHDRAWALS: Final = 8


class Retries:
    """The buttons for another try on one channel's cards."""

    def __init__(self, settings: FeishuSettings, courier: Courier) -> None:
        self._settings = settings
        self._courier = courier

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
