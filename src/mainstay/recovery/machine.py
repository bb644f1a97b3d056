"""Which model is asked next, how long may it take, and when is it enough?

Pure decisions about one call; `mainstay.recovery.chain` carries them out. A call is a walk along the agent's models
in their order. What decides whether the walk goes on after a failure is its category: another model cannot help a
request that is wrong in itself.
"""

from dataclasses import dataclass, replace
from typing import Literal

from mainstay.errors import Category
from mainstay.recovery.model import Candidate, Failure, GaveUp, Limits

__all__ = ["MIN_ATTEMPT_S", "Call", "Limit", "Wait", "after_failure", "begin", "wait"]

MIN_ATTEMPT_S = 0.5
"""With less time left than this no further attempt is started: it could only fail."""

Limit = Literal["first token", "idle", "total", "deadline"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call on its way along the chain.

    Attributes:
        waiting: the models not asked yet, in order.
        deadline: monotonic seconds by which the turn must be over.
        failures: of the attempts so far, oldest first.
    """

    waiting: tuple[Candidate, ...]
    deadline: float
    failures: tuple[Failure, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait for the next piece, and which limit has run out when none came."""

    seconds: float
    limit: Limit
    allowed_s: float


def begin(call: Call, now: float) -> tuple[Call, Candidate | GaveUp]:
    """The next model to ask; gives up when none is left, or not enough time."""
    if not call.waiting:
        nothing = Failure(category=Category.INTERNAL, message="no model to ask")
        return call, GaveUp(call.failures[-1] if call.failures else nothing)
    if call.deadline - now < MIN_ATTEMPT_S:
        late = Failure(category=Category.TIMEOUT, message="the turn's time is used up")
        return call, GaveUp(call.failures[-1] if call.failures else late)
    return replace(call, waiting=call.waiting[1:]), call.waiting[0]


def after_failure(call: Call, failure: Failure, now: float) -> tuple[Call, Candidate | GaveUp]:
    """What to do about a failed attempt."""
    call = replace(call, failures=(*call.failures, failure))
    return begin(call, now) if failure.traits.fallback else (call, GaveUp(failure))


def wait(limits: Limits, *, started: float, last: float | None, deadline: float, now: float) -> Wait:
    """The limit that runs out first.

    Args:
        limits: those of the attempt.
        started: when the attempt began.
        last: when the latest piece of content came; None before the first.
        deadline: of the turn.
        now: monotonic seconds, like the others.
    """
    ends: list[tuple[float, Limit, float]] = [
        (started + limits.total_s, "total", limits.total_s),
        (deadline, "deadline", deadline - started),
    ]
    if last is None:
        ends.append((started + limits.first_token_s, "first token", limits.first_token_s))
    else:
        ends.append((last + limits.idle_s, "idle", limits.idle_s))
    end, limit, allowed_s = min(ends)
    return Wait(max(0.0, end - now), limit, allowed_s)
