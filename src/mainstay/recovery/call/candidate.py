"""Who can be asked, and what stands between us and them?"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Generic, ParamSpec, TypeVar

from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.bulkhead import Bulkhead
from mainstay.recovery.call.model import Limits
from mainstay.recovery.retries import RetryBudget

__all__ = ["Candidate"]

P = ParamSpec("P")
T = TypeVar("T")

_NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Candidate(Generic[P, T]):
    """One of those that can do the same thing: a model, an endpoint, a region.

    Attributes:
        name: for events and reports.
        call: an async function that returns the result; or, for a stream, a function that returns an async iterator
            of its pieces, at once or when it is awaited. Its ``aclose``, if it has one, ends the attempt.
        limits: of one attempt. A function's result is its first piece, so that both ``first_token_s`` and
            ``total_s`` limit it.
        breaker: shared by all who ask the same target; None: the chain makes one for itself.
        bulkhead: the places at the target; None: as many as like.
        retries: what retries are paid for with, shared by all who ask the same provider; None: they cost nothing.
        window: how many tokens it takes in, if known: what is too long for one is not asked of a smaller one.
    """

    name: str
    call: Callable[P, Awaitable[T] | AsyncIterator[T]]
    limits: Limits = field(default=_NO_LIMITS, kw_only=True)
    breaker: Breaker | None = field(default=None, kw_only=True)
    bulkhead: Bulkhead | None = field(default=None, kw_only=True)
    retries: RetryBudget | None = field(default=None, kw_only=True)
    window: int | None = field(default=None, kw_only=True)
