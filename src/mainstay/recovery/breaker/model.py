"""What is a circuit breaker, and what may be set about it?

The three states are those of Nygard's *Release It!*: *closed* lets calls pass and watches them, *open* refuses
them, *half-open* lets one through to find out.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from mainstay.recovery.model import Failure, above_zero
from mainstay.settings import duration, setting, share

__all__ = ["BreakerSettings", "Cause", "Change", "Refusal", "Snapshot", "State"]


def _at_least_one(written: object) -> int:
    number = int(str(written))
    if number < 1:
        raise ValueError(f"{written!r} is too few: write a whole number, 1 or more")
    return number


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """``[breaker]``: when something that fails is left alone, and for how long; the same for everything watched."""

    calls: int = setting(20, help="The outcomes of the last so many calls are judged.", parse=_at_least_one)
    window: float = duration("5m", help="Outcomes older than this are not judged any more.")
    min_calls: int = setting(5, help="Nothing is judged before so many outcomes are there.", parse=_at_least_one)
    failure_rate: float = share(0.5, help="From this share of failures on, nothing is asked for a while.")
    slow_rate: float = share(
        0.8, help="From this share of slow first tokens on, another model is preferred for a while."
    )
    open_time: float = duration("5s", help="How long the first pause lasts; each further one is twice as long.")
    longest_open: float = duration(
        "1m", help="The longest pause, unless the other side asks for a longer one (Retry-After)."
    )
    quota_open: float = duration("10m", help="The pause after a used-up quota, unless the provider names another.")
    jitter: float = share(
        0.2, help="By which share at most a pause is longer or shorter, so that not all return at once."
    )
    probe_lease: float = duration(
        "2m", help="How long the one call that tries after a pause may take before another one may try."
    )

    def __post_init__(self) -> None:
        """Raises ValueError for what `mainstay.config` would not take either."""
        above_zero(self, "calls", "window", "min_calls", "failure_rate", "slow_rate")
        above_zero(self, "open_time", "longest_open", "quota_open", "probe_lease")
        if not max(self.failure_rate, self.slow_rate, self.jitter) <= 1 or not self.jitter >= 0:
            raise ValueError("failure_rate, slow_rate and jitter are shares of the whole: 1 at most")


class State(StrEnum):
    """See the module's first lines."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


Cause = Literal["failures", "slow", "asked", "told"]
"""Why a breaker opened.

Too many failures; too many slow first tokens; the other side asked to be left alone (a rate limit, a used-up
quota), which needs no statistics; or another process found out and told this one.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A call that must not be made now.

    Attributes:
        wait_s: seconds until the pause is over; 0 when it is, and one call is trying.
        failure: the real failure that is why; None if slowness was, or if nobody said.
    """

    wait_s: float
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """It has opened, stays open for another reason or for longer, lets one call try, or has closed.

    That a pause is over is no change: nothing happens at that moment, but when the next call is let through. Nor is
    it one when that call says nothing about the other side, and leaves its place to another.

    Attributes:
        open_s: of an open one: for how many seconds from now.
    """

    state: State
    cause: Cause | None = None
    open_s: float = 0.0
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How a breaker is at one moment.

    Attributes:
        state: an open one whose pause is over is `State.HALF_OPEN` already: the next call will be let through.
        open_s: seconds until then.
        calls: how many outcomes are judged; ``failures`` and ``slow`` of them were such.
        refused: calls refused since the start.
        opened: how often it opened since the start.
        failure: the last one that counted; it stays known after the breaker has closed.
    """

    state: State
    cause: Cause | None
    open_s: float
    calls: int
    failures: int
    slow: int
    refused: int
    opened: int
    failure: Failure | None
