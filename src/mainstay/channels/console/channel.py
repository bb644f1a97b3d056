"""How do the agents answer over HTTP?

Puts the parts of the room together: `Api` takes messages in and tells clients what there is to tell, `Answers` has
what is being said, the outcomes are kept in `mainstay.channels.outbox`. A client may go and come back: what it is
owed is an outcome that can be fetched, and there is exactly one for each message that was accepted.
"""

import asyncio
import logging
from typing import Final

from sqlalchemy import Connection

from mainstay.asgi import Mount
from mainstay.bus import Bus
from mainstay.channels.console.answers import Answers
from mainstay.channels.console.following import Following
from mainstay.channels.console.http import Api
from mainstay.channels.console.model import ConsoleSettings, chat_path
from mainstay.channels.outbox.model import body_of
from mainstay.channels.outbox.sqlite import Outcomes
from mainstay.channels.seam import Service
from mainstay.checks import Check, Condition
from mainstay.errors import StorageUnavailable
from mainstay.events import DeadLettered, OutcomeDelivered
from mainstay.messages import AnswerEvent, Finished, Message, Status

__all__ = ["ConsoleChannel", "ConsoleReplier"]

_log = logging.getLogger(__name__)
_PRUNE_EVERY_S: Final = 3600.0


class ConsoleChannel:
    """See `mainstay.channels.seam.Channel`."""

    def __init__(self, name: str, settings: ConsoleSettings, service: Service) -> None:
        self._name = name
        self._settings = settings
        self._bus = service.bus
        self._answers = Answers()
        self._outcomes = Outcomes(service.storage, name, clock=service.clock)
        following = Following(name, settings, service, answers=self._answers, outcomes=self._outcomes)
        self._api = Api(name, settings, service, following=following, path=chat_path(name))
        service.bus.subscribe(DeadLettered, lambda event: self._answers.more(event.turn_id))

    @property
    def mounts(self) -> list[Mount]:
        """See `mainstay.channels.seam.Channel.mounts`."""
        return [
            Mount(
                path=chat_path(self._name),
                app=self._api,
                items=True,
                actions=("retry",),
                max_body_bytes=self._settings.body_limit,
                body_timeout_s=self._settings.body_timeout,
            )
        ]

    async def run(self) -> None:
        """Forget what is past its time, until cancelled; then nobody waits here any more."""
        self._answers.closed = False
        try:
            while True:
                try:
                    await self._outcomes.prune(self._settings.keep)
                except StorageUnavailable as error:
                    _log.warning("Error: forgetting old outcomes has to wait: %s", error)
                await asyncio.sleep(_PRUNE_EVERY_S)
        finally:
            self._answers.close()

    def replier(self, message: Message, turn_id: str, attempt: int) -> "ConsoleReplier":
        """See `mainstay.channels.seam.Channel.replier`."""
        return ConsoleReplier(
            message, turn_id, attempt, answers=self._answers, outcomes=self._outcomes, bus=self._bus
        )

    def checks(self) -> list[Check]:
        """One: whether more requests are taken."""
        return [self._check]

    def _check(self) -> Condition:
        waiting = self._api.waiting
        full = waiting >= self._settings.waiting
        return Condition(
            name=self._name,
            status="degraded" if full else "ok",
            required=False,
            reason=f"{waiting} requests wait for answers, and no more are taken" if full else "",
            detail={"waiting": waiting},
        )


class ConsoleReplier:
    """See `mainstay.messages.Replier`."""

    def __init__(
        self, message: Message, turn_id: str, attempt: int, *, answers: Answers, outcomes: Outcomes, bus: Bus
    ) -> None:
        self._message = message
        self._turn_id = turn_id
        self._answers = answers
        self._outcomes = outcomes
        self._bus = bus
        self._said = answers.begin(turn_id, attempt)

    def show(self, event: AnswerEvent) -> None:
        """See `mainstay.messages.Replier.show`."""
        self._said.add(event)
        self._answers.more(self._turn_id)

    def post(self, tx: Connection, final: Finished) -> None:
        """See `mainstay.messages.Replier.post`: it is kept, for whoever asks."""
        self._outcomes.post(tx, self._message, body_of(final, self._said.suggestions), waiting=False)

    async def deliver(self) -> None:
        """See `mainstay.messages.Replier.deliver`."""
        self._answers.end(self._turn_id, self._said)
        self._bus.emit(OutcomeDelivered(turn_id=self._turn_id, via="console"))

    async def pause(self, notice: str) -> None:
        """See `mainstay.messages.Replier.pause`."""
        if notice:
            self._said.add(Status(notice))
        self._answers.end(self._turn_id, self._said)
