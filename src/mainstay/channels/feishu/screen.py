"""What should a card show right now?

Events are folded into one text and one status line; only the latest of each matters, so a slow platform costs
updates and never text.
"""

from dataclasses import dataclass
from typing import Final, assert_never

from mainstay.channels.feishu.card import ANSWER, STATUS, streamed
from mainstay.channels.feishu.markdown import literal, well_formed
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
        lasting_s: for how long it has been going on, where the status line is to say that.
    """

    status: str
    text: str = ""
    shown_text: str | None = ""
    shown_status: str | None = ""
    lasting_s: int = 0
    _agent: str = ""

    def take(self, event: AnswerEvent) -> None:
        """Fold in one event."""
        self.lasting_s = 0
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
        status = self.status_line()
        if status and status != self.shown_status:
            return STATUS, status
        text = self.answer()
        if text and text != self.shown_text:
            return ANSWER, text
        return None

    def status_line(self) -> str:
        """What is going on, as a card takes it."""
        status = literal(well_formed(self.status))
        return f"{status} {self.lasting_s} s" if status and self.lasting_s else status

    def answer(self) -> str:
        """The answer so far, as a streaming card takes it."""
        return streamed(well_formed(self.text))

    def forget(self) -> None:
        """Another card is in the place of the one that was written to."""
        self.shown_text = self.shown_status = None

    def wrote(self, element: str, content: str) -> None:
        """The platform has taken what `next_write` said."""
        if element == STATUS:
            self.shown_status = content
        else:
            self.shown_text = content
