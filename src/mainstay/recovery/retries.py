"""Is there anything left to pay for a retry?

A token bucket for each provider, as the AWS SDKs have it: what is asked again costs, what goes well pays back, so
that a provider in trouble gets at most a small share more load than it would without retries.
"""

from typing import Final

from mainstay.errors import Category

__all__ = ["RetryBudget"]

_COST: Final = 5
_COST_AFTER_TIMEOUT: Final = 10
_PAID_BACK: Final = 1


class RetryBudget:
    """For one provider, on one event loop.

    Args:
        capacity: how many tokens there are at first and at most; 0: nothing is ever retried.

    Raises:
        ValueError: if it is negative.
    """

    __slots__ = ("_capacity", "tokens")

    def __init__(self, capacity: int = 500) -> None:
        if capacity < 0:
            raise ValueError(f"capacity must be 0 or more, not {capacity}")
        self._capacity = capacity
        self.tokens = capacity

    def take(self, after: Category) -> bool:
        """Pay for one retry after a failure of this category; False if there is not enough left."""
        cost = _COST_AFTER_TIMEOUT if after is Category.TIMEOUT else _COST
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def succeeded(self) -> None:
        """A call went well at its first attempt or later."""
        if self.tokens < self._capacity:
            self.tokens += _PAID_BACK
