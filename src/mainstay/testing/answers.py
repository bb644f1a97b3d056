"""Both sides of a turn without a model and without a platform."""

from collections.abc import AsyncGenerator, Callable

from sqlalchemy import Connection

from mainstay.messages import AnswerEvent, Finished, Message, Turn

__all__ = ["RecordingReplier", "ScriptedResponder"]

Script = Callable[[Message, Turn], AsyncGenerator[AnswerEvent, None]]


class ScriptedResponder:
    """A `mainstay.messages.Responder` that says what a test's async generator yields.

    Attributes:
        turns: the turns it was asked to answer, oldest first.
        closed: the turn_ids whose generator has ended, for whatever reason.
    """

    def __init__(self, script: Script, *, name: str = "manager") -> None:
        self.name = name
        self.turns: list[Turn] = []
        self.closed: list[str] = []
        self._script = script

    async def respond(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        """See `mainstay.messages.Responder.respond`."""
        self.turns.append(turn)
        script = self._script(message, turn)
        try:
            async for event in script:
                yield event
        finally:
            await script.aclose()
            self.closed.append(turn.turn_id)


class RecordingReplier:
    """A `mainstay.messages.Replier` that remembers what it was told.

    Attributes:
        shown: every event of the answer.
        posted: the outcomes of transactions that were begun; `delivered` those that a person would see.
        paused: the notices of attempts that ended without an outcome.
    """

    def __init__(self) -> None:
        self.shown: list[AnswerEvent] = []
        self.posted: list[Finished] = []
        self.delivered: list[Finished] = []
        self.paused: list[str] = []

    def show(self, event: AnswerEvent) -> None:
        """See `mainstay.messages.Replier.show`."""
        self.shown.append(event)

    def post(self, tx: Connection, final: Finished) -> None:  # noqa: ARG002
        """See `mainstay.messages.Replier.post`."""
        self.posted.append(final)

    async def deliver(self) -> None:
        """See `mainstay.messages.Replier.deliver`."""
        self.delivered.append(self.posted[-1])

    async def pause(self, notice: str) -> None:
        """See `mainstay.messages.Replier.pause`."""
        self.paused.append(notice)
