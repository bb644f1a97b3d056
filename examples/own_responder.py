"""How is an agent of your own put behind Mainstay? With `responder = "own_responder:factory"` under `[service]`."""

from collections.abc import AsyncGenerator

from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Responder, TextAppended, Turn


class Echo:
    """Says what was said; put your own framework in its place."""

    name = "echo"

    async def respond(self, message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        """Yield the answer as it comes, then one `Finished`."""
        text = f"{len(turn.history)} messages ago it all began. You said: {message.text}"
        yield TextAppended(text)
        yield Finished(outcome=Outcome.ANSWERED, text=text, agent=self.name)


def factory() -> Responder:
    """What the configuration names."""
    return Echo()
