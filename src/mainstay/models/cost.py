"""How many tokens did a turn take, and what did they cost?

Exact decimals of dollars. Unknown is not zero: a model without a price, or an attempt whose consumption nobody told
us, makes the sum that it enters unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from mainstay.messages import ModelUsage
from mainstay.models.model import Price

__all__ = ["Tokens", "UsageBook", "cost"]

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one request consumed, as the provider counted."""

    input: int
    output: int


def cost(tokens: Tokens, price: Price | None) -> Decimal | None:
    """US dollars; None without a price."""
    if price is None:
        return None
    return (tokens.input * price.input + tokens.output * price.output) / _MILLION


class UsageBook:
    """The consumption of one turn, all attempts together, by the models' configured names."""

    def __init__(self, prices: Mapping[str, Price | None]) -> None:
        self._prices = prices
        self._tokens: dict[str, Tokens] = {}
        self._unknown: set[str] = set()

    def add(self, model: str, tokens: Tokens | None) -> None:
        """Enter one request; None when the provider has worked on it and did not say how much."""
        before = self._tokens.get(model, Tokens(0, 0))
        now = tokens or Tokens(0, 0)
        self._tokens[model] = Tokens(before.input + now.input, before.output + now.output)
        if tokens is None:
            self._unknown.add(model)

    def usage(self) -> tuple[ModelUsage, ...]:
        """One entry for each model, in the order in which they were first asked."""
        return tuple(
            ModelUsage(
                model=model,
                input_tokens=tokens.input,
                output_tokens=tokens.output,
                cost=None if model in self._unknown else cost(tokens, self._prices.get(model)),
            )
            for model, tokens in self._tokens.items()
        )
