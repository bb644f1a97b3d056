"""Which cards does nobody finish any more, and what do they say?

A card outlives its turn where what was stored about the turn can not be read any more, or where its outcome has
become a dead letter. It would promise an answer for ever; so it is closed with a line that says how it is, under
what is stored of the answer. That is tried when the channel starts, whenever something becomes a dead letter, and
seldom besides; once it was written, or can never be, the card is forgotten.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from mainstay.bus import Bus
from mainstay.channels.feishu.client import Refused
from mainstay.channels.feishu.courier import Courier
from mainstay.channels.feishu.machine import Action
from mainstay.channels.feishu.model import Card
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.errors import Category, StorageUnavailable
from mainstay.events import CardClosed, DeadLettered, ErrorSeen

__all__ = ["Leftovers"]

_LOOK_EVERY_S: Final = 3600.0
_LATER: Final = (Action.WAIT, Action.PRESSED, Action.QUOTA, Action.REFRESH, Action.CONFIGURE)


class Leftovers:
    """Closes what is left of one channel's cards, until it is cancelled.

    Args:
        name: of the channel.
        has_ended: whether nobody works on the turn of this id, nor will; raises StorageUnavailable.
    """

    def __init__(
        self,
        name: str,
        *,
        outbox: Outbox,
        courier: Courier,
        bus: Bus,
        has_ended: Callable[[str], Awaitable[bool]],
    ) -> None:
        self._name = name
        self._outbox = outbox
        self._courier = courier
        self._bus = bus
        self._has_ended = has_ended
        self._wake = asyncio.Event()
        bus.subscribe(DeadLettered, lambda _: self._wake.set())

    async def run(self) -> None:
        """Look, and look again."""
        while True:
            self._wake.clear()
            try:
                for turn_id in await self._outbox.turns_with_cards_left():
                    await self._look(turn_id)
            except StorageUnavailable as error:
                self._bus.emit(
                    ErrorSeen(category=Category.DATABASE, message=str(error), where=f"{self._name}.cards")
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_EVERY_S):
                    await self._wake.wait()

    async def _look(self, turn_id: str) -> None:
        if not await self._has_ended(turn_id):
            return
        left = await self._outbox.cards_left(turn_id)  # asked now: it may have ended with an outcome
        for number, card in enumerate(left, start=1):
            if not await self._is_done_with(card, goes_on=any(each.message_id for each in left[number:])):
                return
            await self._outbox.forget_card(card)

    async def _is_done_with(self, card: Card, *, goes_on: bool) -> bool:
        try:
            await self._courier.close(card, goes_on=goes_on)
        except Refused as refused:
            return refused.refusal.action not in _LATER
        self._bus.emit(CardClosed(turn_id=card.turn_id))
        return True
