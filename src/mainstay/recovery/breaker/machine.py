"""May this call be made, and what follows from how it went?

Pure but for its own counts: ``now`` is monotonic and passed in, and so is chance. Every call that may be made gets
a ticket with the generation in which it began. Each change of state begins a new generation, and what comes back
with an old ticket changes nothing: a success that was begun before the trouble does not end it.

After a pause exactly one call is let through, the *probe*. It has a lease, so that a call that never comes back
does not keep the breaker shut for ever; an outcome that says nothing about the other side (a wrong request, a
cancellation) gives its place to the next one.

A caller with nowhere else to go (``last_resort``) may try once in each pause before it is over: a breaker protects
the other side from a crowd, it does not keep a person from the only answer there is. If that goes well the breaker
closes; but a wait that the other side has named goes on for the crowd, and the next one with nowhere else to go may
try in its turn. A breaker that opened because of slowness refuses no such caller at all, unless too many of them
fail: slow is better than nothing.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from mainstay.errors import Category
from mainstay.recovery.breaker.model import BreakerSettings, Cause, Change, Refusal, Snapshot, State
from mainstay.recovery.model import Failure

__all__ = ["BreakerMachine"]


class BreakerMachine:
    """One breaker's state. Not thread-safe; `mainstay.recovery.breaker.permits` is.

    A ticket is the generation in which its call began; negative if the call is one of those that slowness does not
    keep back, which are judged like those of a closed breaker.
    """

    __slots__ = (
        "_cause",
        "_chance",
        "_closed_at",
        "_early_spent",
        "_failure",
        "_failures",
        "_generation",
        "_heeds_delays",
        "_lease_ends",
        "_level",
        "_min_calls",
        "_named_until",
        "_opened",
        "_outcomes",
        "_probe",
        "_refused",
        "_settings",
        "_slow",
        "_until",
        "_why",
    )

    def __init__(
        self, settings: BreakerSettings, chance: Callable[[], float], now: float, *, heeds_delays: bool = True
    ) -> None:
        self._settings = settings
        self._min_calls = min(settings.min_calls, settings.calls)
        self._chance = chance
        self._heeds_delays = heeds_delays
        self._generation = 1
        self._outcomes: deque[tuple[float, bool, bool]] = deque()
        self._failures = 0
        self._slow = 0
        self._cause: Cause | None = None  # why it is open; None: it is closed
        self._why: Failure | None = None
        self._failure: Failure | None = None
        self._until = self._named_until = self._closed_at = now
        self._level = 0
        self._probe: int | None = None  # the ticket of the one that is under way
        self._lease_ends = now
        self._early_spent = False
        self._refused = 0
        self._opened = 0

    def pass_closed(self) -> int | None:
        """A ticket if it is closed, else None.

        Needs no lock: the generation is read first, so that whatever changes in between leaves an old ticket.
        """
        ticket = self._generation
        return ticket if self._cause is None else None

    def acquire(self, now: float, *, last_resort: bool = False) -> int | Refusal:
        """A ticket, if the call may be made."""
        if self._cause is None:
            return self._generation
        if self._probe is not None and now >= self._lease_ends:
            self._probe = None
            self._early_spent = True
        early = last_resort and not self._early_spent and self._cause != "slow"
        if self._probe is None and (now >= self._until or early):
            self._generation += 1
            self._probe = self._generation
            self._lease_ends = now + self._settings.probe_lease
            return self._probe
        if last_resort and self._cause == "slow":
            return -self._generation
        self._refused += 1
        return Refusal(wait_s=max(0.0, self._until - now), failure=self._why)

    def begun_by(self, ticket: int) -> Change | None:
        """What changed when this ticket was given: the probe's makes it half-open."""
        if ticket != self._probe:
            return None
        return Change(state=State.HALF_OPEN, cause=self._cause, failure=self._why)

    def succeed(self, ticket: int, now: float, *, slow: bool = False) -> Change | None:
        """The call went well; ``slow`` if its first token took too long."""
        if self._is_one_of_many(ticket):
            self._judged(now, failed=False, slow=slow)
            if slow and self._cause is None and self._too_many(self._slow, self._settings.slow_rate):
                return self._pause(now, self._grown(now), "slow", None)
            return None
        self.ignore(ticket)
        if ticket != self._generation or now < self._named_until:
            return None
        if slow and self._cause == "slow":
            return self._pause(now, self._grown(now), "slow", None)
        return self._close(now)

    def fail(self, ticket: int, failure: Failure, now: float) -> Change | None:
        """The call failed; what does not count for the other side's state only gives back its place."""
        early = ticket == self._probe and now < self._until
        self.ignore(ticket)
        one_of_many = self._is_one_of_many(ticket)
        if not failure.traits.counts or not (one_of_many or ticket == self._generation):
            return None
        self._failure = failure
        asked_s = self._asked_for(failure)
        if one_of_many:
            self._judged(now, failed=True, slow=False)
            if asked_s is None and not self._too_many(self._failures, self._settings.failure_rate):
                return None
        if early:
            self._early_spent = True
        return self._pause_after(failure, asked_s, now)

    def ignore(self, ticket: int) -> None:
        """The call said nothing about the other side: its place, if it had one, is free again."""
        if ticket == self._probe:
            self._probe = None

    def hold(self, seconds: float, failure: Failure | None, now: float, cause: Cause = "asked") -> Change | None:
        """Open for at least so long from now on; never shortens a pause."""
        if not 0 < seconds < inf or now + seconds <= self._until:
            return None
        if failure is not None:
            self._failure = failure
        self._named_until = now + seconds
        return self._pause(now, seconds, cause, failure)

    def reset(self, now: float) -> Change | None:
        """Close, and forget all trouble."""
        was_open = self._cause is not None
        closed = self._close(now)
        self._level = 0
        return closed if was_open else None

    def snapshot(self, now: float) -> Snapshot:
        """How it is."""
        young = [outcome for outcome in self._outcomes if outcome[0] >= now - self._settings.window]
        if self._cause is None:
            state = State.CLOSED
        elif now >= self._until or (self._probe == self._generation and now < self._lease_ends):
            state = State.HALF_OPEN
        else:
            state = State.OPEN
        return Snapshot(
            state=state,
            cause=self._cause,
            open_s=max(0.0, self._until - now),
            calls=len(young),
            failures=sum(failed for _, failed, _ in young),
            slow=sum(slow for _, _, slow in young),
            refused=self._refused,
            opened=self._opened,
            failure=self._failure,
        )

    def _is_one_of_many(self, ticket: int) -> bool:
        """Whether what is judged is not this call alone, but the last ones together."""
        return ticket == self._generation if self._cause is None else ticket == -self._generation

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
        return calls >= self._min_calls and bad >= rate * calls

    def _close(self, now: float) -> Change:
        self._generation += 1
        self._outcomes.clear()
        self._failures = self._slow = 0
        self._cause = self._why = self._probe = None
        self._until = self._named_until = self._closed_at = now
        return Change(state=State.CLOSED)

    def _pause_after(self, failure: Failure, asked_s: float | None, now: float) -> Change:
        """A pause that goes on is not shortened; one that begins grows, unless the other side has said how long."""
        cause: Cause = "failures" if asked_s is None else "asked"
        if now < self._until:
            seconds = max(asked_s or 0.0, self._until - now)
            cause = "asked" if self._cause == "asked" else cause
        elif self._cause is None:
            seconds = asked_s or self._grown(now)
        else:
            seconds = max(asked_s or 0.0, self._grown(now))
        if asked_s and asked_s == failure.retry_after_s:
            self._named_until = max(self._named_until, now + asked_s)
        return self._pause(now, seconds, cause, failure)

    def _pause(self, now: float, seconds: float, cause: Cause, failure: Failure | None) -> Change:
        self._opened += self._cause is None
        self._early_spent = self._early_spent and now < self._until
        self._cause = cause  # before the generation: see `pass_closed`
        self._generation += 1
        self._why = failure
        self._until = now + seconds
        return Change(state=State.OPEN, cause=cause, open_s=seconds, failure=failure)

    def _asked_for(self, failure: Failure) -> float | None:
        """For how long the other side asks to be left alone: 0 if it did not say, None if it does not ask."""
        if not self._heeds_delays:
            return None
        named_s = failure.retry_after_s
        if named_s is not None and 0 < named_s < inf:
            return named_s
        match failure.category:
            case Category.QUOTA_EXHAUSTED:
                return self._settings.quota_open
            case Category.RATE_LIMIT if named_s is None:
                return 0.0
            case _:
                return None

    def _grown(self, now: float) -> float:
        """The next pause: twice the last one, from the beginning after a window without trouble."""
        settings = self._settings
        if self._cause is None and now - self._closed_at >= settings.window:
            self._level = 0
        pause_s = min(settings.longest_open, settings.open_time * 2.0**self._level)
        self._level = min(self._level + 1, 30)
        return pause_s * (1 + settings.jitter * (2 * self._chance() - 1))
