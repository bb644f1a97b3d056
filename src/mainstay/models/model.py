"""Which models are there, and how are they asked?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2s
from typing import Literal

from mainstay.settings import Secret, duration, setting
from mainstay.units import parse_dollars, parse_duration

__all__ = ["ModelSettings", "Price", "parse_price"]

_DEAREST = 10_000
_DECIMALS = 6
"""So that the cost of any number of tokens is a whole number of picodollars, which is how spending is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens, exact."""

    input: Decimal
    output: Decimal


def parse_price(value: object) -> Price:
    """A price from ``{ input = "0.10", output = "0.40" }``.

    Raises:
        ValueError: if one is missing, or is no number; the message says what is allowed.
    """
    if isinstance(value, Price):
        return value
    if not isinstance(value, Mapping) or set(value) != {"input", "output"}:
        raise ValueError(
            'a price is written like { input = "0.10", output = "0.40" }: US dollars per million tokens'
        )
    return Price(input=_dollars("input", value["input"]), output=_dollars("output", value["output"]))


def _dollars(name: str, value: object) -> Decimal:
    try:
        price = parse_dollars(value)
    except ValueError as error:
        raise ValueError(f"{name} = {error}") from None
    if price > _DEAREST or price != round(price, _DECIMALS):
        raise ValueError(
            f"{name} = {value!r} is not a price: write US dollars per million tokens, "
            f"{_DEAREST} at most, with up to {_DECIMALS} decimals"
        )
    return price


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """``[models.NAME]``: one model behind an OpenAI-compatible endpoint."""

    provider: Literal["openai", "sandbox"] = setting(
        "openai",
        help="openai: any OpenAI-compatible endpoint; sandbox: the embedded one, for which nothing else is needed.",
        choices=("openai", "sandbox"),
    )
    base_url: str = setting("", help="The endpoint's address, up to and with its /v1.")
    model: str = setting("", help="The endpoint's name of the model.")
    api_key: Secret = setting(  # noqa: RUF009  a field, like dataclasses.field
        Secret(), help="The key, best given as env:NAME."
    )
    connect_timeout: float = duration("5s", help="How long opening a connection may take.")
    first_token_timeout: float = duration(
        "20s", help="From the request to the first content; models that think for long need more."
    )
    idle_timeout: float = duration(
        "30s", help="Between two pieces of content; comments of the stream do not count."
    )
    total_timeout: float = duration("120s", help="From the request to the end of the answer.")
    slow_first_token: float | None = setting(
        None,
        help="A first content later than this is slow: most being slow, another model is preferred for a while; "
        "half of first_token_timeout if absent.",
        unit="s",
        parse=parse_duration,
    )
    max_concurrent: int = setting(32, help="How many requests may be under way at once.")
    max_waiting: int = setting(32, help="How many more may wait for that; the next one is told that it is busy.")
    context_window: int | None = setting(
        None,
        help="How many tokens the model takes in: what was too long for it is not asked of one that takes no more.",
    )
    stream: bool = setting(
        True,  # noqa: FBT003
        help="false: for endpoints that can not stream; only total_timeout limits the wait then.",
    )
    price: Price | None = setting(  # noqa: RUF009
        None,
        help="US dollars per million tokens, exact decimals in quotes; without it the cost is unknown.",
        parse=parse_price,
    )
    budget_per_day: Decimal | None = setting(  # noqa: RUF009
        None,
        help="US dollars that it may cost in one UTC day; then the next model is asked. No limit if absent.",
        parse=parse_dollars,
    )
    requires_finish_reason: bool = setting(
        True,  # noqa: FBT003
        help="A stream that ends without a finish reason was cut off; false for endpoints that never send one.",
    )
    max_output_tokens: int | None = setting(
        None, help="The most tokens of one answer; the endpoint's own if absent."
    )
    temperature: float | None = setting(None, help="How freely the model chooses; the endpoint's own if absent.")

    @property
    def identity(self) -> str:
        """What this is, whatever it is called: equal for the same model at the same place with the same key."""
        return _digest(self.provider, self.base_url, self.model, self.api_key.reveal())

    @property
    def account(self) -> str:
        """Whose limits apply: equal for the same place with the same key."""
        return _digest(self.provider, self.base_url, self.api_key.reveal())


def _digest(*parts: str) -> str:
    return blake2s(json.dumps(parts).encode(), digest_size=12).hexdigest()
