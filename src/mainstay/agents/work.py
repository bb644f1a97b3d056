"""What has happened in this turn so far, whichever agent is at it?

One object for one attempt at one turn: what the person sees, which calls were made, what they consumed, and the
circumstances that the segments share.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mainstay.bus import Bus
from mainstay.clock import Clock
from mainstay.errors import Category
from mainstay.messages import Hop, Message, Step, TextAppended, TextReplaced, Turn
from mainstay.models.budget.ledger import Ledger
from mainstay.models.cost import UsageBook
from mainstay.recovery.breaker.registry import Breakers
from mainstay.recovery.model import RecoverySettings
from mainstay.recovery.notices import Language, language_of

__all__ = ["Screen", "Surroundings", "Work", "up_to_date"]


class Screen:
    """The text that the person sees. The first text of a new stream takes the place of what was shown before."""

    def __init__(self) -> None:
        self.shown = ""
        self._fresh = True

    def new_stream(self) -> None:
        """What is shown stays until there is something better."""
        self._fresh = True

    def put(self, text: str) -> TextAppended | TextReplaced:
        """Show more of the stream."""
        if self._fresh and self.shown:
            self.shown, self._fresh = text, False
            return TextReplaced(text)
        self.shown, self._fresh = self.shown + text, False
        return TextAppended(text)


async def up_to_date() -> None:
    """For a process that shares its breakers with no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all turns share.

    Attributes:
        breakers: of the process.
        refresh: brings them up to what other processes know; see `mainstay.recovery.breaker.sqlite`.
        ledger: what the process spends, and the prices.
    """

    bus: Bus
    clock: Clock
    ledger: Ledger
    recovery: RecoverySettings
    breakers: Breakers
    refresh: Callable[[], Awaitable[None]]


class Work:
    """One attempt at one turn.

    Attributes:
        recorded: the steps of earlier attempts, by their ids.
        acted: the agents that started a tool with effects, in this attempt or an earlier one.
        unsure: the tools with effects of which nobody knows whether they took effect.
        failed: the models that failed in this attempt, and why the last time.
        refused: the specialists to whom it could not be handed over in this attempt; it is not tried again.
    """

    def __init__(self, message: Message, turn: Turn, around: Surroundings) -> None:
        self.message = message
        self.turn = turn
        self.bus = around.bus
        self.clock = around.clock
        self.settings = around.recovery
        self.refresh = around.refresh
        self.ledger = around.ledger
        self.book = UsageBook(around.ledger.prices)
        self.screen = Screen()
        self.language: Language = language_of(message.text)
        self.recorded: dict[str, Step] = {step.step_id: step for step in turn.steps.recorded}
        self.acted: set[str] = {step.agent for step in turn.steps.recorded if step.effects}
        self.unsure: list[str] = []
        self.hops: list[Hop] = []
        self.failed: dict[str, Category] = {}
        self.refused: set[str] = set()
        self._call_ids: set[str] = set(self.recorded)

    @property
    def left_s(self) -> float:
        """Seconds until the turn's deadline; negative when it has passed."""
        return self.turn.deadline - self.clock.monotonic()

    def know_call(self, call_id: str) -> None:
        """A call that an earlier attempt has heard of; its step may not have been written down yet."""
        self._call_ids.add(call_id)

    def unique_call_id(self, call_id: str) -> str:
        """An id for a new call of a tool: some endpoints count from one again in every response."""
        unique, count = call_id, 1
        while unique in self._call_ids:
            count += 1
            unique = f"{call_id}-{count}"
        self._call_ids.add(unique)
        return unique
