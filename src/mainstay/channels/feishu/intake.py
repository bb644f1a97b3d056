"""What is done with an event, by whichever way it came?

Who brings it has verified it, and tells the platform what `Intake.take` says: that it has been taken, which means
stored, or that it is to be delivered again. Nobody is answered here.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from mainstay.bus import Bus
from mainstay.channels.feishu.client import Refused
from mainstay.channels.feishu.envelope import Envelope, Json, text_at
from mainstay.channels.feishu.model import Bot, FeishuSettings
from mainstay.channels.feishu.parse import Following, Ignored, parse_legacy, parse_message
from mainstay.channels.feishu.press import PRESSES, Told, answer
from mainstay.channels.feishu.presses import Pressed
from mainstay.channels.feishu.stopping import asks_to_stop, stopped_by
from mainstay.channels.feishu.welcome import ARRIVALS, welcome
from mainstay.channels.feishu.wording import stopped
from mainstay.clock import Clock
from mainstay.errors import StorageUnavailable
from mainstay.events import MessageRefused
from mainstay.messages import Message, turn_id_of
from mainstay.recovery.notices import language_of

__all__ = ["Again", "Intake", "Taken"]

_RECEIVED: Final = "im.message.receive_v1"
_RECALLED: Final = "im.message.recalled_v1"
_CHANGES: Final = (_RECALLED, "im.message.updated_v1")
"""The second one is not documented; where it comes, all that is relied on is which message it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """It need not be delivered again.

    Attributes:
        answer: what the platform is to hear; empty but for a press.
        afterwards: to be called once the platform has the answer, and not before: until then it refuses every
            change of the card that was pressed.
        new: it is a message that was not known yet.
    """

    answer: Mapping[str, object] = field(default_factory=dict)
    afterwards: Callable[[], object] = lambda: None
    new: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """It was not taken: the platform delivers it again after 15 s, 5 min, 1 h and 6 h."""

    reason: str


async def _nothing(_: object) -> Sequence[Message]:
    return ()


class Intake:
    """Takes the events of one bot.

    Args:
        name: of the channel.
        settings: of the channel.
        bus: hears of what is refused.
        clock: tells when a message came that does not say it.
        accept: stores a message; raises StorageUnavailable.
        recalled: remembers by turn_id that a message was taken back; raises StorageUnavailable.
        edited: remembers by its id that a message was changed; the event of it, if it may be for the bot only now.
            Raises StorageUnavailable, and Refused where the platform can not say that now.
        answered_before: whether the turn with this id was answered; raises StorageUnavailable.
        unanswered: what has no outcome yet in a chat (`Message.chat`); raises StorageUnavailable.
        stop: ends the answers to some of these; raises StorageUnavailable.
        pressed: decides what comes of a press; raises StorageUnavailable.
        answered: told what came of a press once the platform has our answer.
        bot: who the bot is, once that is known.
        heard: told the event of each message that was taken, also if it is not to be answered.
    """

    def __init__(
        self,
        name: str,
        settings: FeishuSettings,
        *,
        bus: Bus,
        clock: Clock,
        accept: Callable[[Message], Awaitable[bool]],
        recalled: Callable[[str], Awaitable[object]],
        edited: Callable[[str], Awaitable[Json | None]],
        answered_before: Callable[[str], Awaitable[bool]],
        pressed: Callable[[Json], Awaitable[Pressed]],
        answered: Callable[[Pressed], object],
        bot: Callable[[], Bot | None],
        unanswered: Callable[[str], Awaitable[Sequence[Message]]] = _nothing,
        stop: Callable[[Sequence[Message]], Awaitable[object]] = _nothing,
        heard: Callable[[Json], object] = lambda _: None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._bus = bus
        self._clock = clock
        self._accept = accept
        self._recalled = recalled
        self._edited = edited
        self._answered_before = answered_before
        self._pressed = pressed
        self._answered = answered
        self._bot = bot
        self._unanswered = unanswered
        self._stop = stop
        self._heard = heard
        self.dropped: Counter[str] = Counter()
        """What was not answered, by event type or reason."""

    async def take(self, envelope: Envelope, deadline: float) -> Taken | Again:
        """Store what it says, until this moment of the loop's time.

        Raises:
            MalformedEvent: it lacks what every such event has.
        """
        try:
            async with asyncio.timeout_at(deadline):
                return await self._take(envelope)
        except StorageUnavailable:
            refused = self._refuse("it could not be stored")
        except Refused:
            refused = self._refuse("the platform can not say what an edited message says now")
        except TimeoutError:
            refused = self._refuse(f"not stored within {self._settings.ack_timeout:g} s")
        # a press comes once: nobody but the person can repeat it
        return Taken(answer=answer(Told.NOT_NOW)) if envelope.type in PRESSES else refused

    async def _take(self, envelope: Envelope) -> Taken | Again:
        if envelope.type in PRESSES:
            return await self._press(envelope)
        is_change = envelope.type in _CHANGES
        if is_change:
            event = await self._change(envelope)
            if not event:
                return Taken()
            envelope = replace(envelope, type=_RECEIVED, event=event)
        parsed = self._parse(envelope)
        if parsed is None:
            self._count(envelope.type)
            return Taken()
        ended = await self._ended_by(parsed)
        if isinstance(parsed, Following):
            ours = ended or (not is_change and await self._follows(parsed.message))
            parsed = parsed.message if ours else Ignored("not_mentioned")
        new = isinstance(parsed, Message) and await self._taken(parsed, ended)
        if isinstance(parsed, Ignored):
            self._count(parsed.reason)
            if parsed.later:
                return self._refuse("the bot's own open_id is not known yet, so a mention can not be told")
        self._heard(envelope.event)
        return Taken(new=new)

    async def _ended_by(self, parsed: Message | Following | Ignored) -> Sequence[Message]:
        """What has no answer yet, and is to get none because this says so."""
        message = parsed.message if isinstance(parsed, Following) else parsed
        if isinstance(message, Ignored) or not asks_to_stop(message, self._settings.stop_words):
            return ()
        return stopped_by(message, await self._unanswered(message.chat))

    async def _taken(self, message: Message, ended: Sequence[Message]) -> bool:
        """First it is accepted: if the process dies then, it is delivered again, and ends what it has to."""
        if ended:
            message = replace(message, notice=stopped(language_of(message.text)))
        new = await self._accept(message)
        if ended:
            await self._stop(ended)
        return new

    async def _change(self, envelope: Envelope) -> Json | None:
        """A message was taken back or edited, also one that was never for us, or that has not come yet.

        Returns the event of one that may be for us only now.
        """
        event = envelope.event
        message_id = text_at(event, "message_id") or text_at(event, "message", "message_id")
        if not message_id:
            self._count(envelope.type)
        elif envelope.type == _RECALLED:
            await self._recalled(self._turn_of(message_id))
        else:
            return await self._edited(message_id)
        return None

    def _turn_of(self, message_id: str) -> str:
        return turn_id_of(self._name, self._settings.app_id, "message", message_id)

    async def _follows(self, message: Message) -> bool:
        """Whether a thread is the bot's own: it has answered the message that the thread began with."""
        return self._settings.answer_threads and await self._answered_before(self._turn_of(message.thread_id))

    async def _press(self, envelope: Envelope) -> Taken:
        pressed = await self._pressed(envelope.event)
        if pressed.dropped:
            self._count(pressed.dropped)
        return Taken(answer=answer(pressed.told), afterwards=lambda: self._answered(pressed))

    def _parse(self, envelope: Envelope) -> Message | Following | Ignored | None:
        """None: nothing that leads to anything."""
        settings, now = self._settings, self._clock.now()
        match envelope.type:
            case kind if kind == _RECEIVED:
                return parse_message(
                    envelope.event,
                    channel=self._name,
                    app_id=settings.app_id,
                    bot=self._bot(),
                    answer_all=settings.answer_all,
                    now=now,
                )
            case "message":
                sent_at = datetime.fromtimestamp(envelope.created_s, UTC) if envelope.created_s else now
                return parse_legacy(
                    envelope.event,
                    channel=self._name,
                    app_id=settings.app_id,
                    answer_all=settings.answer_all,
                    sent_at=sent_at,
                )
            case kind if kind in ARRIVALS and settings.welcome:
                return welcome(envelope, channel=self._name, app_id=settings.app_id, text=settings.welcome, now=now)
            case _:
                return None

    def _count(self, kind: str) -> None:
        """Bounded, because the names come from outside."""
        self.dropped[kind if kind in self.dropped or len(self.dropped) < 100 else "other"] += 1

    def _refuse(self, reason: str) -> Again:
        self._bus.emit(MessageRefused(channel=self._name, reason=reason))
        return Again(reason)
