"""What is done about a press on a card?

What leads to an answer becomes a message like every other: stored before the person is told so. An opinion is
stored, and told to whoever counts. An answer is stopped the way it is when its question is taken back.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import assert_never

from mainstay.bus import Bus
from mainstay.channels.feishu.envelope import Json
from mainstay.channels.feishu.feedback import Feedback
from mainstay.channels.feishu.press import (
    Already,
    Dropped,
    Press,
    Told,
    Vote,
    at_home,
    follow_up,
    other_try,
    read_press,
    vote_of,
)
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.feishu.writer import CardWriter
from mainstay.clock import Clock
from mainstay.events import FeedbackGiven
from mainstay.messages import Message

__all__ = ["Pressed", "Presses"]


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


class Presses:
    """The presses on one channel's cards.

    Args:
        outbox: what the cards are about.
        feedback: keeps opinions.
        clock: tells when it was pressed.
        bus: hears of opinions.
        accept: stores a message; raises StorageUnavailable.
        writer: what writes the answer to the turn of that id, if this process does.
        waiting: the message of the turn of that id, if it has no outcome yet; raises StorageUnavailable.
        stop: ends the answers to messages; raises StorageUnavailable.
        window_s: how long after its failure a turn may be tried again.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        feedback: Feedback,
        clock: Clock,
        bus: Bus,
        accept: Callable[[Message], Awaitable[bool]],
        writer: Callable[[str], CardWriter | None],
        waiting: Callable[[str], Awaitable[Message | None]],
        stop: Callable[[Sequence[Message]], Awaitable[object]],
        window_s: float,
    ) -> None:
        self._outbox = outbox
        self._feedback = feedback
        self._clock = clock
        self._bus = bus
        self._accept = accept
        self._writer = writer
        self._waiting = waiting
        self._stop = stop
        self._window_s = window_s
        self.opinions = Counter[Vote]()
        """How often this process has heard each; who changes their mind is heard again."""

    async def pressed(self, event: Json) -> Pressed:
        """Do what was pressed, if it may be done. Raises StorageUnavailable."""
        press = read_press(event)
        if press is None:
            return Pressed(told=Told.NO_MORE, dropped="press_unreadable")
        match press.wish:
            case "retry":
                return await self._retry(press)
            case "ask":
                return await self._ask(press)
            case "feedback":
                return await self._judged(press)
            case "stop":
                return await self._stopped(press)
            case _:
                assert_never(press.wish)

    async def _retry(self, press: Press) -> Pressed:
        known = await self._outbox.offered(press.turn_id)
        match other_try(press, known, now=self._clock.now(), window_s=self._window_s):
            case Dropped(reason):
                return Pressed(told=Told.NO_MORE, dropped=reason)
            case Already():
                told = Told.ALREADY
            case message:
                told = Told.TRYING if await self._accept(message) else Told.ALREADY
        return Pressed(told=told, turn_id=press.turn_id)

    async def _ask(self, press: Press) -> Pressed:
        known = await self._outbox.offered(press.turn_id)
        match follow_up(press, known, now=self._clock.now()):
            case Dropped(reason):
                return Pressed(told=Told.OVER, dropped=reason)
            case message:
                return Pressed(told=Told.ASKING if await self._accept(message) else Told.ALREADY)

    async def _judged(self, press: Press) -> Pressed:
        known = await self._outbox.offered(press.turn_id)
        vote = vote_of(press, known)
        if isinstance(vote, Dropped):
            return Pressed(told=Told.OVER, dropped=vote.reason)
        before = await self._feedback.give(press.turn_id, press.person, vote)
        if known is not None and before != vote:
            self.opinions[vote] += 1
            channel = known.message.channel
            self._bus.emit(FeedbackGiven(turn_id=press.turn_id, channel=channel, vote=vote, before=before))
        return Pressed(told=Told.THANKS)

    async def _stopped(self, press: Press) -> Pressed:
        writer = self._writer(press.turn_id)  # none while another process writes, or until one goes on
        message = writer.message if writer else await self._waiting(press.turn_id)
        if message is None:
            return Pressed(told=Told.OVER, dropped="press_too_late")
        if not at_home(press, message, writer.card_message_id if writer else ""):
            return Pressed(told=Told.OVER, dropped="press_elsewhere")
        if press.person != message.sender_id:
            return Pressed(told=Told.NOT_YOURS, dropped="press_not_theirs")
        await self._stop([message])
        return Pressed(told=Told.STOPPING)
