"""What does an attempt at a turn do with its answer on Feishu?

While it is made, a `CardWriter` shows it; how it ended is stored, and shown by the `Pump`.
"""

from dataclasses import replace

from sqlalchemy import Connection

from mainstay.channels.feishu.buttons import kept_suggestions
from mainstay.channels.feishu.card import footer_of
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.channels.feishu.pump import Pump
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.feishu.writer import CardWriter
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Suggestions

__all__ = ["FeishuReplier"]


class FeishuReplier:
    """See `mainstay.messages.Replier`."""

    def __init__(
        self,
        message: Message,
        turn_id: str,
        attempt: int,
        *,
        settings: FeishuSettings,
        writer: CardWriter,
        outbox: Outbox,
        pump: Pump,
    ) -> None:
        self._message = message
        self._turn_id = turn_id
        self._attempt = attempt
        self._settings = settings
        self._suggestions: tuple[str, ...] = ()
        self._writer = writer
        self._outbox = outbox
        self._pump = pump

    def show(self, event: AnswerEvent) -> None:
        """See `mainstay.messages.Replier.show`."""
        if isinstance(event, Suggestions):
            self._suggestions = kept_suggestions(event.texts)
        self._writer.show(event)

    def post(self, tx: Connection, final: Finished) -> None:
        """See `mainstay.messages.Replier.post`."""
        if final.outcome is Outcome.CANCELLED and self._writer.was_stopped:
            final = replace(final, text=self._writer.text)
        footer = footer_of(final.agent, final.model, self._writer.seconds) if self._settings.footer else ""
        self._outbox.post(
            tx,
            self._message,
            turn_id=self._turn_id,
            attempt=self._attempt,
            final=final,
            footer=footer,
            suggestions=self._suggestions if final.outcome is Outcome.ANSWERED else (),
        )

    async def deliver(self) -> None:
        """See `mainstay.messages.Replier.deliver`."""
        await self._pump.deliver(self._turn_id)

    async def pause(self, notice: str) -> None:
        """See `mainstay.messages.Replier.pause`."""
        await self._writer.pause(notice)
