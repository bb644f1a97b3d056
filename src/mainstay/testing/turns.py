"""A turn without a database: what a `Responder` is given, for tests of your own one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from mainstay.clock import Clock
from mainstay.messages import (
    AnswerEvent,
    Exchange,
    Finished,
    Message,
    Responder,
    Step,
    TextAppended,
    TextReplaced,
    Turn,
)

__all__ = ["NotebookInMemory", "StepsInMemory", "ask", "collect", "shown"]


@dataclass
class StepsInMemory:
    """A `mainstay.messages.Steps` that keeps what was written down.

    Attributes:
        recorded: what earlier attempts wrote.
        written: what this attempt wrote; `after_a_crash` is what the next attempt finds.
    """

    recorded: Sequence[Step] = ()
    written: dict[str, Step] = field(default_factory=dict)

    async def intend(self, step: Step) -> None:
        """See `mainstay.messages.Steps.intend`."""
        self.written[step.step_id] = step

    async def record(self, step_id: str, result: str, *, ok: bool) -> None:
        """See `mainstay.messages.Steps.record`."""
        known = {step.step_id: step for step in self.recorded} | self.written
        self.written[step_id] = replace(known[step_id], state="finished" if ok else "failed", result=result)

    def after_a_crash(self) -> "StepsInMemory":
        """The steps as the next attempt reads them."""
        return StepsInMemory([*({step.step_id: step for step in self.recorded} | self.written).values()])


@dataclass
class NotebookInMemory:
    """A `mainstay.messages.Notebook`."""

    notes: list[str] = field(default_factory=list)

    async def add(self, note: str) -> None:
        """See `mainstay.messages.Notebook.add`."""
        self.notes.append(note)


def ask(
    responder: Responder,
    message: Message,
    *,
    clock: Clock,
    steps: StepsInMemory | None = None,
    notebook: NotebookInMemory | None = None,
    history: Sequence[Exchange] = (),
    timeout_s: float = 30.0,
) -> AsyncIterator[AnswerEvent]:
    """Begin an answer to the message; steps with something recorded make it a second attempt."""
    steps = steps or StepsInMemory()
    turn = Turn(
        turn_id=message.turn_id,
        attempt=2 if steps.recorded else 1,
        deadline=clock.monotonic() + timeout_s,
        history=tuple(history),
        steps=steps,
        notebook=notebook or NotebookInMemory(),
    )
    return responder.respond(message, turn)


async def collect(events: AsyncIterator[AnswerEvent]) -> tuple[list[AnswerEvent], Finished]:
    """All events of an answer, and the last one, which has to be `Finished` and the only one of its kind."""
    seen = [event async for event in events]
    finals = [event for event in seen if isinstance(event, Finished)]
    assert len(finals) == 1
    assert seen[-1] is finals[0]
    return seen, finals[0]


def shown(events: Sequence[AnswerEvent]) -> str:
    """The text that a person sees after these events."""
    text = ""
    for event in events:
        match event:
            case TextAppended(more):
                text += more
            case TextReplaced(whole):
                text = whole
    return text
