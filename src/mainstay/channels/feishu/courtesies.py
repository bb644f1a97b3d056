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
from mainstay.channels.feishu.model import Delivery, FeishuSettings, Via
from mainstay.errors import StorageUnavailable
from mainstay.messages import Message, Outcome

__all__ = ["Courtesies"]

_TRIES: Final = 8


class Courtesies:
    """Changes of one channel's finished cards.

    Args:
        settings: of the channel.
        courier: writes the cards.
        suggest: what the person may want to say next; see `mainstay.messages.Suggester`.
        broke: told of a bug, where it was, and of which turn.
    """

    def __init__(
        self,
        settings: FeishuSettings,
        courier: Courier,
        suggest: Callable[[Message, str], Awaitable[Sequence[str]]],
        *,
        broke: Callable[[Exception, str, str], None],
    ) -> None:
        self._settings = settings
        self._courier = courier
        self._suggest = suggest
        self._broke = broke
        self._withdrawing: set[str] = set()
        self._tasks: asyncio.TaskGroup | None = None

    def run_in(self, tasks: asyncio.TaskGroup | None) -> None:
        """From now on changes are made there; None: none is begun."""
        self._tasks = tasks

    def withdraw(self, turn_id: str) -> None:
        """Have the button taken from the failed turn's card, if the platform lets us; no turn has no id."""
        if turn_id and turn_id not in self._withdrawing and self._tasks is not None:
            self._withdrawing.add(turn_id)
            self._tasks.create_task(self._withdrawn(turn_id), name=f"withdraw {turn_id}")

    async def _withdrawn(self, turn_id: str) -> None:
        try:
            await self._try(lambda: self._courier.withdraw(turn_id))
        except Exception as error:  # noqa: BLE001  a button that stays must not end the channel
            self._broke(error, "press", turn_id)
        finally:
            self._withdrawing.discard(turn_id)

    def shown(self, delivery: Delivery) -> None:
        """An outcome was shown: have what may be said next added under an answer that was shown without it."""
        wanted = delivery.outcome is Outcome.ANSWERED and delivery.via is Via.CARD and not delivery.suggestions
        if wanted and self._tasks is not None:
            self._tasks.create_task(self._suggested(delivery), name=f"suggest {delivery.turn_id}")

    async def _suggested(self, delivery: Delivery) -> None:
        try:
            texts = kept_suggestions(await self._suggest(delivery.message, delivery.text))
            if texts:
                await self._try(lambda: self._courier.suggest(delivery.turn_id, texts))
        except Exception as error:  # noqa: BLE001  what is only offered must not end the channel
            self._broke(error, "suggestions", delivery.turn_id)

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
