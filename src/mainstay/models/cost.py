"""How many tokens did a turn take, and what did they cost?

Exact decimals of US dollars. What a provider has counted is exact; where it did not get to say, because the stream
broke off or nobody listened any more, the consumption is estimated and marked as such. Unknown is not zero: a model
without a price has no cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil

from mainstay.messages import ModelUsage
from mainstay.models.model import Price

__all__ = ["CHARACTERS_PER_TOKEN", "Meter", "Tokens", "UsageBook", "cost"]

CHARACTERS_PER_TOKEN = 4
"""Of English; of other text and of code there are fewer."""

_MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a request consumed."""

    input: int
    output: int


def cost(tokens: Tokens, price: Price | None) -> Decimal | None:
    """US dollars; None without a price."""
    if price is None:
        return None
    return (tokens.input * price.input + tokens.output * price.output) / _MILLION


class Meter:
    """What there is to know about the consumption of one attempt; filled in while it runs.

    Attributes:
        worked: whether the provider has worked on it, or may have: else it costs nothing.
        counted: as the provider says; None if it did not get to say.
        pieces: of content that came.
        characters: in those pieces.
    """

    __slots__ = ("characters", "counted", "pieces", "worked")

    def __init__(self) -> None:
        self.worked = False
        self.counted: Tokens | None = None
        self.pieces = 0
        self.characters = 0

    def heard(self, characters: int) -> None:
        """A piece of content came."""
        self.pieces += 1
        self.characters += characters

    def estimate(self, input_tokens: int) -> Tokens:
        """What it may have consumed, by the size of the request and what came of the answer.

        A provider sends about one token in a piece; one that sends larger pieces is seen through by their length.
        What it had written and not yet sent when the stream broke off is missing.
        """
        return Tokens(input_tokens, max(self.pieces, ceil(self.characters / CHARACTERS_PER_TOKEN)))


class UsageBook:
    """The consumption of one turn, all attempts together, by the models' configured names."""

    def __init__(self, prices: Mapping[str, Price | None]) -> None:
        self._prices = prices
        self._tokens: dict[str, Tokens] = {}
        self._estimated: set[str] = set()

    def add(self, model: str, tokens: Tokens, *, estimated: bool = False) -> None:
        """Enter one attempt."""
        before = self._tokens.get(model, Tokens(0, 0))
        self._tokens[model] = Tokens(before.input + tokens.input, before.output + tokens.output)
        if estimated:
            self._estimated.add(model)

    def usage(self) -> tuple[ModelUsage, ...]:
        """One entry for each model, in the order in which they were first asked."""
        return tuple(
            ModelUsage(
                model=model,
                input_tokens=tokens.input,
                output_tokens=tokens.output,
                cost=cost(tokens, self._prices.get(model)),
                estimated=model in self._estimated,
            )
            for model, tokens in self._tokens.items()
        )
