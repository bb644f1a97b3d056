"""What does one call along a chain of models cost, and may the next attempt be made?"""

from collections.abc import Callable
from dataclasses import dataclass

from mainstay.models.budget.ledger import Ledger
from mainstay.models.budget.machine import Reservation
from mainstay.models.budget.model import Reached
from mainstay.models.cost import Meter, Tokens, UsageBook

__all__ = ["Account"]


@dataclass(slots=True)
class _Attempt:
    held: Reservation
    meter: Meter


class Account:
    """A context manager, at whose end everything is entered.

    An attempt that broke off is entered with the provider's own count of the request, if another attempt of the
    call got one: that is why it waits for the end. Until then what was reserved for it stands in its place.

    Args:
        ledger: of the process.
        turn_id: of the turn, for events.
        chat: `mainstay.messages.Message.chat`.
        input_tokens: estimates the request, which is the same in all attempts of the call.
        book: of the turn; gets the same entries.
    """

    def __init__(
        self, ledger: Ledger, turn_id: str, chat: str, input_tokens: Callable[[], int], book: UsageBook
    ) -> None:
        self._ledger = ledger
        self._turn_id = turn_id
        self._chat = chat
        self._estimate = input_tokens
        self._book = book
        self._held: Reservation | None = None
        self._attempts: list[_Attempt] = []
        self._size: int | None = None

    def __enter__(self) -> "Account":
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go()
        counted = {each.held.model: each.meter.counted.input for each in self._attempts if each.meter.counted}
        for attempt in self._attempts:
            self._ledger.books.release(attempt.held)
            if attempt.meter.counted is not None:
                self._enter(attempt, attempt.meter.counted, estimated=False)
            else:
                known = counted.get(attempt.held.model) or next(iter(counted.values()), None)
                tokens = attempt.meter.estimate(known or self._input_tokens())
                self._enter(attempt, tokens, estimated=True)

    def refuse(self, model: str) -> Reached | None:
        """Why no attempt at this model must be made; None if it may, and then what it might cost is held for it."""
        self._let_go()
        needed = self._ledger.might_cost(model, self._input_tokens)
        answer = self._ledger.reserve(self._turn_id, model, self._chat, needed)
        if isinstance(answer, Reached):
            return answer
        self._held = answer
        return None

    def begin(self) -> Meter:
        """The attempt is made that was not refused."""
        assert self._held is not None
        attempt = _Attempt(self._held, Meter())
        self._held = None
        self._attempts.append(attempt)
        return attempt.meter

    def _enter(self, attempt: _Attempt, tokens: Tokens, *, estimated: bool) -> None:
        self._book.add(attempt.held.model, tokens, estimated=estimated)
        self._ledger.enter(attempt.held, tokens, estimated=estimated)

    def _input_tokens(self) -> int:
        if self._size is None:
            self._size = self._estimate()
        return self._size

    def _let_go(self) -> None:
        """What is held for attempts that cost nothing, and for one that could not be made after all."""
        for_nothing = [each.held for each in self._attempts if not each.meter.worked]
        if self._held is not None:
            for_nothing.append(self._held)
        for held in for_nothing:
            self._ledger.books.release(held)
        self._attempts = [each for each in self._attempts if each.meter.worked]
        self._held = None
