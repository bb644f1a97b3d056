"""What should a card show right now?

Events are folded into one text and one status line; only the latest of each matters, so a slow platform costs
updates and never text. The status line says what is going on, which agent and model are at it, and for how long.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from mainstay.channels.characters import well_formed
from mainstay.channels.feishu.card import ANSWER, STATUS, streamed
from mainstay.channels.feishu.markdown import literal
from mainstay.messages import (
    AnswerEvent,
    Finished,
    HandedOver,
    ModelAsked,
    Status,
    Suggestions,
    TextAppended,
    TextReplaced,
    ToolFinished,
    ToolStarted,
)
from mainstay.recovery.notices import Language

__all__ = ["CONTINUING", "Screen"]

CONTINUING: Final[Mapping[Language, str]] = {
    "en": "Continuing after an interruption…",
    "zh": "回答曾中断，正在继续……",
}
_ANSWERING: Final[Mapping[Language, str]] = {"en": "Answering…", "zh": "正在回答……"}
_ROUTING: Final[Mapping[Language, str]] = {"en": "Routing to {}…", "zh": "正在转交给 {}……"}
_USING: Final[Mapping[Language, str]] = {"en": "Using {}…", "zh": "正在使用 {}……"}
_SECONDS: Final[Mapping[Language, str]] = {"en": "{} s", "zh": "{} 秒"}


@dataclass(slots=True)
class Screen:
    """What there is to show, and what the card is known to show.

    Attributes:
        language: of the person.
        names: whether the status line says which agent and model are at work.
        every_s: how long a card may look the same before it says for how long it has been going on.
        shown_text: None where an earlier attempt may have shown anything.
        lasting_s: for how long it has been going on, as the status line says it; 0 where it does not.
    """

    status: str
    language: Language = "en"
    names: bool = True
    every_s: float = 15.0
    text: str = ""
    shown_text: str | None = ""
    shown_status: str | None = ""
    lasting_s: float = 0.0
    _agent: str = ""
    _model: str = ""

    def take(self, event: AnswerEvent) -> None:
        """Fold in one event."""
        match event:
            case TextAppended(text):
                self.text += text
                self.status = _ANSWERING[self.language] if text else self.status
            case TextReplaced(text):
                self.text = text
                self.status = _ANSWERING[self.language] if text else self.status
            case Status(text):
                self.status = text
            case HandedOver():
                self._agent, self._model = event.to_agent, ""
                self.status = _ROUTING[self.language].format(event.to_agent)
            case ModelAsked():
                self._agent, self._model = event.agent, event.model
            case ToolStarted():
                self.status = _USING[self.language].format(event.tool)
            case ToolFinished():
                self.status = _ANSWERING[self.language]
            case Suggestions() | Finished():
                pass
            case _:
                assert_never(event)

    def lasts(self, seconds: float) -> None:
        """So long has it been going on: said once it is long, then whenever the line is written."""
        due = seconds - self.lasting_s >= self.every_s
        if due or (self.lasting_s and self.status_line() != self.shown_status):
            self.lasting_s = seconds

    def next_write(self) -> tuple[str, str] | None:
        """The element to write and its content; None when the card is up to date.

        The status goes before more of a text: it changes seldom, and would starve behind a fast one. What the
        person waits for is the beginning of the text, which goes before the status.
        """
        status, text = self.status_line(), self.answer()
        if text and self.shown_text == "":
            return ANSWER, text
        if status and status != self.shown_status:
            return STATUS, status
        if text and text != self.shown_text:
            return ANSWER, text
        return None

    def status_line(self) -> str:
        """What is going on, as a card takes it."""
        agent = "" if self.status == _ROUTING[self.language].format(self._agent) else self._agent
        names = (agent, self._model) if self.names else ()
        lasting = _SECONDS[self.language].format(max(1, int(self.lasting_s))) if self.lasting_s else ""
        return literal(well_formed(" · ".join(part for part in (self.status, *names, lasting) if part)))

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
