"""Can a person see that a message was seen, and what became of it?

By reactions under the message itself: one when it is accepted, which gives way to another when its outcome is
shown. They are a courtesy: one task shows them, one after another; what there is no room or no call for is left out
and counted, and nothing that goes wrong with them reaches an answer. But what was shown is taken away again, or it
would say for ever that somebody is on it: that is no courtesy any more.
"""

import asyncio
from collections import Counter
from typing import Final

from mainstay.bus import Bus
from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.machine import Action
from mainstay.channels.feishu.marks import Marks
from mainstay.errors import StorageUnavailable
from mainstay.events import DeadLettered, OutcomeDelivered
from mainstay.messages import Message, Outcome

__all__ = ["Receipts"]

SEEN: Final = "OnIt"
_ENDED: Final = {Outcome.ANSWERED: "DONE", Outcome.FAILED: "ERROR", Outcome.CANCELLED: ""}
_WAITING: Final = 200


class Receipts:
    """The reactions of one channel."""

    def __init__(self, *, client: FeishuClient, marks: Marks, bus: Bus) -> None:
        self._client = client
        self._marks = marks
        self._steps: asyncio.Queue[Message | str] = asyncio.Queue(_WAITING)
        self._behind = True
        self.dropped: Counter[str] = Counter()
        """What was not shown, by reason: full, refused."""
        bus.subscribe(OutcomeDelivered, lambda event: self._over(event.turn_id))
        bus.subscribe(DeadLettered, lambda event: self._over(event.turn_id))

    def seen(self, message: Message) -> None:
        """A message was accepted."""
        if message.kind == "message" and not self._put(message):
            self.dropped["full"] += 1

    def _over(self, turn_id: str) -> None:
        self._behind = not self._put(turn_id) or self._behind

    def _put(self, step: Message | str) -> bool:
        try:
            self._steps.put_nowait(step)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self) -> None:
        """Show them, until cancelled; first what an earlier process did not get to."""
        while True:
            try:
                if self._behind and self._steps.empty():
                    self._behind = False
                    for turn_id in await self._marks.ended_unseen():
                        self._over(turn_id)
                step = await self._steps.get()
                await (self._ended(step) if isinstance(step, str) else self._seen(step))
            except (Refused, StorageUnavailable, ValueError, TypeError, KeyError):
                self.dropped["refused"] += 1

    async def _seen(self, message: Message) -> None:
        reaction_id = await self._client.react(message.external_id, SEEN)
        await self._marks.receipt_shown(message.external_id, reaction_id)
        await self._ended(message.turn_id)  # if another worker was quicker to answer it

    async def _ended(self, turn_id: str) -> None:
        found = await self._marks.outcome_of(turn_id)
        if found is None:
            return
        message, outcome = Message.from_json(found[0]), found[1]
        for message_id in [each for each, _ in message.parts] or [message.target_id]:
            try:
                await self._replace(message_id, _ENDED[outcome])
            except Refused:  # not at the cost of those that were answered together with it
                self.dropped["refused"] += 1

    async def _replace(self, message_id: str, emoji: str) -> None:
        """The one that said "seen" goes first: two that contradict each other say less than one."""
        reaction_id = await self._marks.receipt(message_id)
        if not reaction_id:
            return
        try:
            await self._client.unreact(message_id, reaction_id)
        except Refused as refused:
            if refused.refusal.action not in (Action.DEGRADE, Action.TERMINAL):
                raise  # else it is gone already: the answer to an earlier request was lost, or the message is
        await self._marks.receipt_gone(message_id)
        if emoji:
            await self._client.react(message_id, emoji)
