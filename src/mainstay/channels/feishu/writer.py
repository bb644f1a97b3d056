"""How does one card follow an answer while it is made?

One task per attempt writes, one request at a time, with sequences that only grow. What arrives while a request is
on its way is folded into the next one. Nothing that goes wrong here loses text: the outcome is written as a whole
by `mainstay.channels.feishu.courier`, after `CardWriter.stop` has ended this task.

A card appears only after every earlier outcome of its conversation was shown.
"""

import asyncio
from contextlib import suppress

from mainstay.bus import Bus
from mainstay.channels.feishu.buttons import stop_button
from mainstay.channels.feishu.card import ANSWER, STATUS, streaming_card, streaming_settings, summary_of
from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.channels.feishu.courier import Courier
from mainstay.channels.feishu.machine import Action, Retry
from mainstay.channels.feishu.markdown import safe
from mainstay.channels.feishu.model import Card, FeishuSettings
from mainstay.channels.feishu.screen import CONTINUING, Screen
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.feishu.streaming import (
    Mute,
    Renew,
    Reopen,
    Resync,
    stream_sequence,
    while_streaming,
)
from mainstay.clock import Clock
from mainstay.errors import StorageUnavailable
from mainstay.events import CardUpdated
from mainstay.messages import AnswerEvent, Message
from mainstay.recovery.notices import language_of

__all__ = ["CardWriter"]


class CardWriter:
    """One attempt's hold on the card of its turn.

    Attributes:
        was_stopped: whether who asked wants no more of the answer.
    """

    def __init__(
        self,
        message: Message,
        turn_id: str,
        attempt: int,
        *,
        settings: FeishuSettings,
        client: FeishuClient,
        courier: Courier,
        outbox: Outbox,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self.message = message
        self._turn_id = turn_id
        self.attempt = attempt
        self.was_stopped = False
        self._settings = settings
        self._client = client
        self._courier = courier
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._began_s = self._opened_s = clock.monotonic()
        self._lane_free = False
        language = language_of(message.text)
        self._screen = Screen(
            status=settings.thinking if attempt == 1 else CONTINUING[language],
            language=language,
            names=settings.status_names,
            every_s=settings.status_every,
        )
        self._card: Card | None = None
        self._writes = 0
        self._refused = 0
        self._reopened = 0
        self._resynced = 0
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def show(self, event: AnswerEvent) -> None:
        """Take what is new."""
        self._screen.take(event)
        self._changed.set()

    @property
    def seconds(self) -> float:
        """How long this attempt has been going on."""
        return self._clock.monotonic() - self._began_s

    @property
    def text(self) -> str:
        """What there is of the answer."""
        return self._screen.text

    @property
    def card_message_id(self) -> str:
        """The message that shows the card; empty before it is sent."""
        return self._card.message_id if self._card else ""

    async def run(self) -> None:
        """Write until `stop`, or until there is no use in it."""
        if self._stopping.is_set():
            return
        self._idle.clear()
        try:
            while not self._stopping.is_set():
                await self._step()
        finally:
            self._idle.set()

    def silence(self) -> None:
        """Begin nothing more."""
        self._stopping.set()
        self._changed.set()

    async def stop(self) -> None:
        """Write nothing more; returns when the request on its way, if any, has ended."""
        self.silence()
        await self._idle.wait()

    async def pause(self, notice: str) -> None:
        """Stop, and leave this line on the card, if there is one and the platform takes it in time."""
        self.silence()
        with suppress(Refused, TimeoutError):
            async with asyncio.timeout(self._settings.pause_timeout):
                await self._idle.wait()
                if notice and self._card and self._card.message_id:
                    await self._stream(self._card, STATUS, safe(notice))

    async def _step(self) -> None:
        try:
            if not self._lane_free:
                await self._wait_for_lane()
            elif self._card is None or not self._card.message_id:
                await self._open()
            else:
                await self._write(self._card)
            self._refused = 0
        except Refused as refused:
            await self._after(refused)
        except StorageUnavailable:
            await self._rest(self._settings.retry_base)

    async def _wait_for_lane(self) -> None:
        standing = await self._outbox.standing(self.message.lane, self._turn_id)
        self._lane_free = standing == "free"
        if standing == "ended":
            self.silence()
        elif standing == "held_up":
            await self._rest(self._settings.update_interval)

    async def _open(self) -> None:
        self._client.refuse_streaming()
        card = self._card or await self._outbox.card(self._turn_id)
        if card is None or not card.card_id:
            status, answer = self._screen.status_line(), self._screen.answer() if card is not None else ""
            card, ours = await self._create(answer)
            if ours:
                self._screen.wrote(STATUS, status)
                self._screen.wrote(ANSWER, answer)
        self._card = card
        self._card = await self._courier.show(card, self.message)

    async def _create(self, answer: str) -> tuple[Card, bool]:
        """With a button to stop it, if that is wanted and the platform takes it."""
        self._opened_s = self._clock.monotonic()
        if self._courier.may_stream_buttons:
            try:
                return await self._courier.create(self._turn_id, self._content(answer))
            except Refused as refused:
                if refused.refusal.action is not Action.DEGRADE:
                    raise
        made = await self._courier.create(self._turn_id, self._content(answer, stoppable=False))
        self._courier.may_stream_buttons = False
        return made

    def _content(self, answer: str, *, stoppable: bool = True) -> str:
        """The whole card as it is to look now."""
        button = stop_button(self._turn_id, language_of(self.message.text))
        return streaming_card(
            self._screen.status_line(),
            answer=answer,
            frequency_ms=round(self._settings.print_frequency * 1000),
            step=self._settings.print_step,
            buttons=[button] if stoppable and self._courier.may_stream_buttons else [],
        )

    async def _write(self, card: Card) -> None:
        self._changed.clear()
        reopen_in_s = self._opened_s + self._settings.reopen_after - self._clock.monotonic()
        if reopen_in_s <= 0.0:
            await self._reopen(card)
            return
        self._screen.lasts(self.seconds)
        if self._screen.next_write() is None:
            says_more_in_s = self._screen.lasting_s + self._settings.status_every - self.seconds
            await self._wait_for_more(min(reopen_in_s, says_more_in_s))
            return
        await self._client.until_stream(card.card_id, self._stopping)
        write = self._screen.next_write()
        if write is None or self._stopping.is_set():
            return
        element, content = write
        await self._stream(card, element, content)
        self._screen.wrote(element, content)
        if element == ANSWER:
            self._bus.emit(CardUpdated(turn_id=self._turn_id, chars=len(content)))
        await self._rest(self._settings.update_interval)

    async def _wait_for_more(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _stream(self, card: Card, element: str, content: str) -> None:
        sequence = self._next_sequence()
        if sequence:
            await self._client.stream(card.card_id, element, content, sequence)
        else:
            self.silence()

    def _next_sequence(self) -> int:
        self._writes += 1
        return stream_sequence(self.attempt, self._writes)

    async def _after(self, refused: Refused) -> None:
        self._refused += 1
        decision = while_streaming(
            refused.refusal,
            refused=self._refused,
            reopened=self._reopened,
            resynced=self._resynced,
            generation=self._card.generation if self._card else 0,
            base_s=self._settings.update_interval,
            cap_s=self._settings.retry_cap,
        )
        match decision:
            case Retry(after_s):
                await self._rest(after_s)
            case Resync(ahead):
                self._resynced += 1
                self._writes += ahead
            case Reopen():
                self._reopened += 1
                self._opened_s -= self._settings.reopen_after  # it is due now
            case Renew() if self._card is not None:
                await self._renew(self._card)
            case Mute() | Renew():
                self.silence()

    async def _reopen(self, card: Card) -> None:
        """Have it stream for another 10 minutes: by its settings, or else by writing it as a whole."""
        if not await self._may_go_on():
            return
        status, answer = self._screen.status_line(), self._screen.answer()
        settings = streaming_settings(summary_of(answer or status), streaming=True)
        try:
            await self._client.set_card(card.card_id, settings, self._next_sequence())
        except Refused as refused:
            if refused.refusal.action is Action.WAIT:
                raise
            await self._client.replace_card(card.card_id, self._content(answer), self._next_sequence())
            self._screen.wrote(STATUS, status)
            self._screen.wrote(ANSWER, answer)
        self._opened_s = self._clock.monotonic()

    async def _renew(self, card: Card) -> None:
        try:
            if await self._may_go_on():
                await self._courier.renew(card, self.message)
                self._card = None
                self._screen.forget()
        except (Refused, StorageUnavailable):
            self.silence()

    async def _may_go_on(self) -> bool:
        """Not once there is an outcome, which has closed the card for good; then nothing more is written."""
        if await self._outbox.standing(self.message.lane, self._turn_id) == "ended":
            self.silence()
        return not self._stopping.is_set()

    async def _rest(self, seconds: float) -> None:
        """Wait, but not longer than until `stop`."""
        if not seconds:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
