"""May this call be made, and what follows from how it went?

Pure but for its own counts: ``now`` is monotonic and passed in, and so is chance. Every call that may be made gets
a ticket with the generation in which it began. Each change of state begins a new generation, and what comes back
with an old ticket changes nothing: a success that was begun before the trouble does not end it.

*Half-open* lets exactly one call through. It has a lease, so that a call that never comes back does not keep the
breaker shut for ever; an outcome that says nothing about the other side (a wrong request, a cancellation) gives its
place to the next one.

A caller with nowhere else to go (``last_resort``) may try once in each pause before it is over: a breaker protects
the other side from a crowd, it does not keep a person from the only answer there is. A breaker that opened because
of slowness refuses no such caller at all: slow is better than nothing.
"""

from collections import deque
from collections.abc import Callable

from mainstay.errors import Category
from mainstay.recovery.breaker.model import BreakerSettings, Cause, Change, Refusal, Snapshot, State
from mainstay.recovery.model import Failure

__all__ = ["BreakerMachine"]

_UNSTAMPED = 0
"""The ticket of a call whose outcome is not to be judged."""


class BreakerMachine:
    """One breaker's state. Not thread-safe; `mainstay.recovery.breaker.permits` is."""

    __slots__ = (
        "_cause",
        "_chance",
        "_closed_at",
        "_early",
        "_early_spent",
        "_failure",
        "_failures",
        "_generation",
        "_heeds_delays",
        "_lease_ends",
        "_level",
        "_opened",
        "_outcomes",
        "_probing",
        "_refused",
        "_settings",
        "_slow",
        "_state",
        "_until",
    )

    def __init__(
        self, settings: BreakerSettings, chance: Callable[[], float], now: float, *, heeds_delays: bool = True
    ) -> None:
        self._settings = settings
        self._chance = chance
        self._heeds_delays = heeds_delays
        self._state = State.CLOSED
        self._generation = _UNSTAMPED + 1
        self._outcomes: deque[tuple[float, bool, bool]] = deque()
        self._failures = 0
        self._slow = 0
        self._cause: Cause | None = None
        self._failure: Failure | None = None
        self._until = now
        self._closed_at = now
        self._level = 0
        self._probing = False
        self._early = False
        self._early_spent = False
        self._lease_ends = now
        self._refused = 0
        self._opened = 0

    def acquire(self, now: float, *, last_resort: bool = False) -> int | Refusal:
        """A ticket, if the call may be made."""
        if self._state is State.CLOSED:
            return self._generation
        if self._probing and now >= self._lease_ends:
            self._probing = False
            self._early_spent = True
        if not self._probing and now >= self._until:
            return self._probe(now, early=False)
        if last_resort and self._cause == "slow":
            return _UNSTAMPED
        if last_resort and not self._probing and not self._early_spent:
            return self._probe(now, early=True)
        self._refused += 1
        return Refusal(wait_s=max(0.0, self._until - now), failure=self._failure)

    def succeed(self, ticket: int, now: float, *, slow: bool = False) -> Change | None:
        """The call went well; ``slow`` if its first token took too long."""
        if ticket != self._generation:
            return None
        if self._state is State.CLOSED:
            self._judged(now, failed=False, slow=slow)
            if slow and self._too_many(self._slow, self._settings.slow_rate):
                return self._pause(now, self._grown(now), "slow", self._failure)
            return None
        if slow and self._cause == "slow":
            return self._pause(now, self._grown(now), "slow", self._failure)
        return self._close(now)

    def fail(self, ticket: int, failure: Failure, now: float) -> Change | None:
        """The call failed; what does not count for the other side's state only gives back the place."""
        if not failure.traits.counts:
            self.ignore(ticket)
            return None
        if ticket != self._generation:
            return None
        self._failure = failure
        asked_s = self._asked_for(failure, now)
        if self._state is State.CLOSED:
            self._judged(now, failed=True, slow=False)
            if asked_s:
                return self._pause(now, asked_s, "asked", failure)
            if self._too_many(self._failures, self._settings.failure_rate):
                return self._pause(now, self._grown(now), "failures", failure)
            return None
        if self._early:
            return self._back_to_pause(now, asked_s, failure)
        return self._pause(now, max(asked_s, self._grown(now)), "asked" if asked_s else "failures", failure)

    def ignore(self, ticket: int) -> None:
        """The call said nothing about the other side: its place, if it had one, is free again."""
        if ticket == self._generation and self._probing:
            self._probing = False
            if self._early:
                self._state = State.OPEN

    def hold(self, seconds: float, failure: Failure | None, now: float, cause: Cause) -> Change | None:
        """Open for at least so long from now on; never shortens a pause."""
        if seconds <= 0 or now + seconds <= self._until:
            return None
        self._failure = failure or self._failure
        return self._pause(now, seconds, cause, self._failure)

    def reset(self, now: float) -> Change | None:
        """Close, and forget what was judged."""
        return None if self._state is State.CLOSED else self._close(now)

    def snapshot(self, now: float) -> Snapshot:
        """How it is."""
        over = self._state is State.OPEN and now >= self._until
        return Snapshot(
            state=State.HALF_OPEN if over else self._state,
            cause=self._cause,
            open_s=0.0 if self._state is State.CLOSED else max(0.0, self._until - now),
            calls=len(self._outcomes),
            failures=self._failures,
            slow=self._slow,
            refused=self._refused,
            opened=self._opened,
            failure=self._failure,
        )

    def _judged(self, now: float, *, failed: bool, slow: bool) -> None:
        outcomes, settings = self._outcomes, self._settings
        outcomes.append((now, failed, slow))
        self._failures += failed
        self._slow += slow
        while len(outcomes) > settings.calls or outcomes[0][0] < now - settings.window:
            _, was_failed, was_slow = outcomes.popleft()
            self._failures -= was_failed
            self._slow -= was_slow

    def _too_many(self, bad: int, rate: float) -> bool:
        calls = len(self._outcomes)
        return calls >= self._settings.min_calls and bad >= rate * calls

    def _probe(self, now: float, *, early: bool) -> int:
        self._state = State.HALF_OPEN
        self._generation += 1
        self._probing = True
        self._early = early
        self._lease_ends = now + self._settings.probe_lease
        return self._generation

    def _close(self, now: float) -> Change:
        self._state = State.CLOSED
        self._generation += 1
        self._outcomes.clear()
        self._failures = self._slow = 0
        self._cause = None
        self._probing = False
        self._closed_at = self._until = now
        return Change(state=State.CLOSED)

    def _pause(self, now: float, seconds: float, cause: Cause, failure: Failure | None) -> Change:
        self._opened += self._state is State.CLOSED
        self._state = State.OPEN
        self._generation += 1
        self._cause = cause
        self._probing = False
        self._early_spent = False
        self._until = now + seconds
        return Change(state=State.OPEN, cause=cause, open_s=seconds, failure=failure)

    def _back_to_pause(self, now: float, asked_s: float, failure: Failure) -> Change:
        """An early probe has failed: the pause goes on, and there is no second one within it."""
        change = self._pause(now, max(asked_s, self._until - now), self._cause or "failures", failure)
        self._early_spent = True
        return change

    def _asked_for(self, failure: Failure, now: float) -> float:
        """For how long the other side wants to be left alone; 0.0 when it did not say so."""
        if not self._heeds_delays:
            return 0.0
        asked_s = failure.retry_after_s
        match failure.category:
            case Category.QUOTA_EXHAUSTED:
                return self._settings.quota_open if asked_s is None else asked_s
            case Category.RATE_LIMIT:
                return self._grown(now) if asked_s is None else asked_s
            case _:
                return asked_s or 0.0

    def _grown(self, now: float) -> float:
        """The next pause: twice the last one, from the beginning after a window without trouble."""
        settings = self._settings
        if self._state is State.CLOSED and now - self._closed_at >= settings.window:
            self._level = 0
        pause_s = min(settings.longest_open, settings.open_time * 2.0**self._level)
        self._level = min(self._level + 1, 30)
        return pause_s * (1 + settings.jitter * (2 * self._chance() - 1))
