"""What became of a message, and what becomes of it?"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from mainstay.channels.console.answers import Answers
from mainstay.channels.console.model import (
    ConsoleSettings,
    Ended,
    Forgotten,
    Open,
    Seen,
    Standing,
    Told,
    inbox_key,
    shown_id,
)
from mainstay.channels.outbox.model import Stored, body_of
from mainstay.channels.outbox.sqlite import Outcomes
from mainstay.channels.seam import Service
from mainstay.inbox.model import State
from mainstay.messages import Finished, Message, Outcome, turn_id_of

__all__ = ["Following"]


class Following:
    """Follows the messages of one channel. Everything raises StorageUnavailable."""

    def __init__(
        self, name: str, settings: ConsoleSettings, service: Service, *, answers: Answers, outcomes: Outcomes
    ) -> None:
        self._name = name
        self._settings = settings
        self._service = service
        self._answers = answers
        self._outcomes = outcomes

    async def standing(self, message_id: str) -> Standing | None:
        """What became of it; None if it was never accepted, or is forgotten altogether."""
        turn_id = self.turn_id(message_id)
        if (stored := await self._outcomes.find(turn_id)) is not None:
            return self._ended(stored)
        entry = await self._service.find(turn_id)
        if entry is None:
            return None
        match entry.state:
            case State.QUEUED | State.RUNNING:
                return Open("queued" if entry.state is State.QUEUED else "running")
            case State.DEAD:
                return Ended(_dead(message_id, entry.reason))
            case State.FINISHED:  # since it was looked for above, or long ago
                stored = await self._outcomes.find(turn_id)
                return self._ended(stored) if stored is not None else Forgotten()

    async def compare(self, message: Message) -> Literal["new", "same", "other"]:
        """Whether its id is known, and was that of another message; what is forgotten counts as the same."""
        known = None
        if (stored := await self._outcomes.find(message.turn_id)) is not None:
            known = stored.message
        elif (entry := await self._service.find(message.turn_id)) is None:
            return "new"
        elif entry.message:
            known = Message.from_json(entry.message)
        is_same = known is None or replace(known, sent_at=message.sent_at) == message
        return "same" if is_same else "other"

    def so_far(self, message_id: str) -> str:
        """The text of the answer that is being made here."""
        said = self._answers.so_far(self.turn_id(message_id))
        return said.text if said is not None else ""

    async def follow(self, message_id: str, seen: Seen) -> AsyncGenerator[Told | None, None]:
        """What there is to be told, to who has seen this much; None when nothing was for a while.

        The last one is ``finished``, unless the service stops before.
        """
        loop = asyncio.get_running_loop()
        told_at_s = loop.time()
        with self._answers.reading(self.turn_id(message_id)) as live:
            while not self._answers.closed:
                changed = live.changed
                for told in list(live.said.since(seen)):
                    seen = told.seen
                    yield told
                    told_at_s = loop.time()
                if not live.working:
                    standing = await self.standing(message_id)
                    if isinstance(standing, Ended):
                        yield Told(name="finished", data=standing.body, seen=seen)
                        return
                    if not isinstance(standing, Open):
                        return
                quiet_until_s = told_at_s + self._settings.heartbeat
                look_at_s = quiet_until_s if live.working else loop.time() + self._settings.look_interval
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(min(quiet_until_s, look_at_s)):
                        await changed.wait()
                if loop.time() >= quiet_until_s:
                    told_at_s = loop.time()
                    yield None

    def turn_id(self, message_id: str) -> str:
        """The turn of a message; the bot is the channel itself."""
        return turn_id_of(self._name, self._name, *inbox_key(message_id))

    async def asked_turn_id(self, message_id: str) -> str:
        """The turn by which it is taken back: of another try, that of what was said."""
        turn_id = self.turn_id(message_id)
        entry = await self._service.find(turn_id)
        return Message.from_json(entry.message).asked_turn_id if entry is not None and entry.message else turn_id

    def _ended(self, stored: Stored) -> Ended:
        message, now = stored.message, self._service.clock.now()
        about = {"message_id": shown_id(message), "conversation": message.chat_id}
        seconds = (stored.created_at - message.sent_at).total_seconds()
        in_time = (now - stored.created_at).total_seconds() <= self._service.retry_window_s
        again = replace(message.again(), sent_at=now) if stored.body.get("retryable") and in_time else None
        return Ended({**about, **stored.body, "seconds": round(seconds, 3)}, again)


def _dead(message_id: str, reason: str) -> dict[str, object]:
    final = Finished(outcome=Outcome.FAILED, notice=f"This message was never answered: {reason}")
    return {"message_id": message_id, **body_of(final)}
