"""What does this process spend on models, and how far is that from the limits?

The books with a clock. Answers never wait for the storage: it is told afterwards (`mainstay.models.budget.sqlite`).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal

from mainstay.bus import Bus
from mainstay.checks import Check, Condition
from mainstay.clock import Clock
from mainstay.events import BudgetReached
from mainstay.models.budget.machine import Books, Reservation, might_cost
from mainstay.models.budget.model import BudgetSettings, Reached, Scope, Spent, limits_of
from mainstay.models.cost import Tokens, cost
from mainstay.models.model import ModelSettings, Price
from mainstay.units import format_dollars

__all__ = ["Ledger"]


class Ledger:
    """What this process spends, on one event loop.

    Attributes:
        allow: see `BudgetSettings`.
        prices: by the models' configured names.
        books: see `Books`.
    """

    def __init__(
        self, budget: BudgetSettings, models: Mapping[str, ModelSettings], *, bus: Bus, clock: Clock
    ) -> None:
        self.allow = budget.allow
        self.prices: Mapping[str, Price | None] = {name: each.price for name, each in models.items()}
        self.books = Books(limits_of(budget, models))
        self._models = models
        self._bus = bus
        self._clock = clock
        self._refresh: Callable[[str], Awaitable[None]] | None = None
        self._entered: Callable[[], None] | None = None

    def keep(self, refresh: Callable[[str], Awaitable[None]], entered: Callable[[], None]) -> None:
        """Let a storage take part.

        Args:
            refresh: brings the books up to what is known of today and of this chat; never raises.
            entered: told of each entry; must not wait.
        """
        self._refresh, self._entered = refresh, entered

    @property
    def today(self) -> date:
        """The day that it is, in UTC."""
        return self._clock.now().date()

    async def refresh(self, chat: str) -> None:
        """Learn what other processes have spent; before a call in this chat."""
        if self._refresh is not None:
            await self._refresh(chat)

    def reserve(self, turn_id: str, model: str, chat: str, needed: Decimal) -> Reservation | Reached:
        """See `Books.reserve`."""
        today = self.today
        answer = self.books.reserve(today, model, chat, needed)
        if isinstance(answer, Reached) and self.books.is_news(today, answer):
            self._bus.emit(
                BudgetReached(
                    turn_id=turn_id,
                    scope=answer.scope,
                    limit=answer.limit,
                    spent=answer.spent,
                    under_way=answer.under_way,
                    needed=answer.needed,
                    model=model,
                    chat=answer.name if answer.scope == "chat" else "",
                )
            )
        return answer

    def might_cost(self, model: str, input_tokens: Callable[[], int]) -> Decimal:
        """See `mainstay.models.budget.machine.might_cost`; 0, and nothing is measured, where no limit is set."""
        settings = self._models[model]
        matters = self.books.limits.are_set and might_cost(settings, 1)
        return might_cost(settings, input_tokens()) if matters else Decimal(0)

    def enter(self, held: Reservation, tokens: Tokens, *, estimated: bool) -> None:
        """What the attempt has consumed for which this was held."""
        dollars = cost(tokens, self.prices.get(held.model))
        spent = Spent(
            dollars=dollars or Decimal(0),
            input_tokens=tokens.input,
            output_tokens=tokens.output,
            attempts=1,
            estimated=int(estimated),
            unpriced=int(dollars is None),
        )
        self.books.enter(held.day.date, held.model, held.chat, spent)
        if self._entered is not None:
            self._entered()

    def spent_by(self, model: str) -> Decimal | None:
        """US dollars of today; None for a model without a price."""
        if self.prices.get(model) is None:
            return None
        return self.books.today(self.today).spent("model", model)

    def used_up(self, scope: Scope, model: str) -> bool:
        """See `Books.used_up`."""
        return self.books.used_up(self.today, scope, model, might_cost(self._models[model], 0))

    def checks(self, asked: Iterable[str]) -> list[Check]:
        """One, named ``budget``, if the day or its chats have a limit; each model tells of its own.

        Args:
            asked: the models that some agent's chain has.
        """
        limits, names = self.books.limits, tuple(asked)
        return [] if limits.per_day is None and limits.per_chat is None else [lambda: self._check(names)]

    def _check(self, asked: Iterable[str]) -> Condition:
        day, limits = self.books.today(self.today), self.books.limits
        spent = format_dollars(day.spent("day"))
        silent = [name for name in asked if self.used_up("day", name)]
        chats = sum(1 for scope, _ in day.told if scope == "chat")
        reasons = []
        if silent and limits.per_day is not None:
            limit = format_dollars(limits.per_day)
            reasons.append(f"{spent} of today's {limit} USD are spent; not asked: {', '.join(silent)}")
        if chats:
            reasons.append(f"today's budget of {chats} chat{'s' * (chats > 1)} is reached")
        return Condition(
            name="budget",
            required=False,
            affects_status=True,
            status="degraded" if silent else "ok",
            reason="; ".join(reasons),
            detail={
                "spentToday": spent,
                "perDay": None if limits.per_day is None else format_dollars(limits.per_day),
                "perChatPerDay": None if limits.per_chat is None else format_dollars(limits.per_chat),
                "chatsReached": chats,
            },
        )
