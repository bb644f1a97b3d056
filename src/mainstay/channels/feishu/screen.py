"""What should a card show right now?

Events are folded into one text and one status line; only the latest of each matters, so a slow platform costs
updates and never text.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from mainstay.channels.feishu.card import ANSWER, STATUS, safe, streamed, well_formed
from mainstay.messages import (
    AnswerEvent,
    Finished,
    HandedOver,
    Status,
    Suggestions,
    TextAppended,
    TextReplaced,
    ToolFinished,
    ToolStarted,
)

__all__ = ["CONTINUING", "Screen"]

CONTINUING: Final = "Continuing after an interruption…"


@dataclass(slots=True)
class Screen:
    """What there is to show, and what the card is known to show.

    Attributes:
        shown_text: None where an earlier attempt may have shown anything.
    """

    status: str
    text: str = ""
    shown_text: str | None = ""
    shown_status: str | None = ""
    _agent: str = ""

    def take(self, event: AnswerEvent) -> None:
        """Fold in one event."""
        match event:
            case TextAppended(text):
                self.text += text
            case TextReplaced(text):
                self.text = text
            case Status(text):
                self.status = text
            case HandedOver():
                self._agent = event.to_agent
                self.status = f"Routing to {event.to_agent}…"
            case ToolStarted():
                self.status = f"Using {event.tool}…"
            case ToolFinished():
                self.status = f"{self._agent} is answering…" if self._agent else "Answering…"
            case Suggestions() | Finished():
                pass
            case _:
                assert_never(event)

    def next_write(self) -> tuple[str, str] | None:
        """The element to write and its content; None when the card is up to date.

        The status goes first: it changes seldom, and would starve behind a fast text.
        """
        status = safe(well_formed(self.status))
        if status and status != self.shown_status:
            return STATUS, status
        text = streamed(well_formed(self.text))
        if text and text != self.shown_text:
            return ANSWER, text
        return None

    def wrote(self, element: str, content: str) -> None:
        """The platform has taken what `next_write` said."""
        if element == STATUS:
            self.shown_status = content
        else:
            self.shown_text = content
