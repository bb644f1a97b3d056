"""What has a client not been told yet?

An `Answer` is folded from the events of an attempt; a client is told the difference between that and what it has
`Seen`. So there is no queue for each client: one that reads slowly, or comes back after it was gone, gets the
latest text in one piece. Pure.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, assert_never

from mainstay.channels.console.model import Seen, Told
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

__all__ = ["KEPT_MARKS", "Answer"]

KEPT_MARKS: Final = 200
"""Hand-overs, tools and suggestions of one attempt that are told to who comes back late; older ones are not."""

Mark = tuple[str, dict[str, object]]


class Answer:
    """What one attempt has said so far."""

    def __init__(self, attempt: int = 0) -> None:
        self.attempt = attempt
        self.text = ""
        self.suggestions: tuple[str, ...] = ()
        self._replaced = 0
        self._status = ""
        self._statuses = 0
        self._marks: list[Mark] = []
        self._marked = 0

    def add(self, event: AnswerEvent) -> None:
        """Take what is new."""
        match event:
            case TextAppended(text):
                self.text += text
            case TextReplaced(text):
                self.text = text
                self._replaced += 1
            case Status(text):
                self._status = text
                self._statuses += 1
            case HandedOver():
                about = {"strategy": event.strategy, "reason": event.reason}
                self._mark("hand-over", {"from": event.from_agent, "to": event.to_agent, **about})
            case ToolStarted():
                self._mark("tool", {"call_id": event.call_id, "tool": event.tool, "state": "started"})
            case ToolFinished():
                state = "finished" if event.ok else "failed"
                self._mark("tool", {"call_id": event.call_id, "tool": event.tool, "state": state})
            case Suggestions(texts):
                self.suggestions = texts
                self._mark("suggestions", {"texts": list(texts)})
            case ModelAsked() | Finished():
                pass
            case _:
                assert_never(event)

    def since(self, seen: Seen) -> Iterator[Told]:
        """What a client that has seen this much is to be told, in order; nothing if it has seen a later attempt."""
        if seen.attempt > self.attempt:
            return
        if seen.attempt < self.attempt:
            seen = replace(seen, attempt=self.attempt, marks=0, statuses=0)
        first = self._marked - len(self._marks)
        for name, data in self._marks[max(0, seen.marks - first) :]:
            seen = replace(seen, marks=max(seen.marks, first) + 1)
            yield Told(name=name, data=data, seen=seen)
        if self._statuses > seen.statuses:
            seen = replace(seen, statuses=self._statuses)
            yield Told(name="status", data={"text": self._status}, seen=seen)
        yield from self._text_since(seen)

    def _text_since(self, seen: Seen) -> Iterator[Told]:
        version = (self.attempt, self._replaced)
        now = replace(seen, version=version, chars=len(self.text))
        if not seen.chars or (seen.version == version and seen.chars <= len(self.text)):
            if more := self.text[seen.chars :]:
                yield Told(name="text", data={"append": more}, seen=now)
        elif self.text or self._replaced:  # what an earlier attempt has shown stays until there is something better
            yield Told(name="text", data={"replace": self.text}, seen=now)

    def _mark(self, name: str, data: dict[str, object]) -> None:
        self._marks.append((name, data))
        self._marked += 1
        del self._marks[:-KEPT_MARKS]
