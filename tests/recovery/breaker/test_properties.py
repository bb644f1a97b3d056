"""Does a breaker protect a provider that fails, and let everybody in again when it is back, whatever happens?

Hypothesis chooses what the provider and its callers do; they obey the machine's decisions. The ledger knows nothing
of generations, tickets and statistics: it remembers who was let through when and what came of it, and compares. The
same world then runs on machines that are wrong in one place each: a property that does not notice would be worth
nothing.
"""

import math
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import assert_noticed, mutant

from mainstay.errors import Category
from mainstay.recovery.breaker import machine
from mainstay.recovery.breaker.model import BreakerSettings, Cause, Change, Refusal, State
from mainstay.recovery.model import Failure

SETTINGS = BreakerSettings(
    calls=6,
    window=30.0,
    min_calls=3,
    failure_rate=0.5,
    slow_rate=0.8,
    open_time=4.0,
    longest_open=10.0,
    quota_open=50.0,
    jitter=0.25,
    probe_lease=3.0,
)
WAITS_S = (0.1, 0.5, 1.0, 2.0, 2.9, 3.0, 5.0, 9.0, 20.0)
LIMITS_S = (1.0, 3.0, 8.0, 40.0)


@dataclass(eq=False)
class Call:
    """One that was let through.

    Attributes:
        epoch: how many changes and probes there were before it.
        answer: what the provider gave it on arrival: a failure, or how it went.
        beside: whether it is one of those that slowness did not keep back.
    """

    ticket: int
    began_s: float
    epoch: int
    answer: Failure | str
    beside: bool = False


class World:
    def __init__(self, subject: Any) -> None:  # noqa: ANN401  a module, possibly a mutant of it
        self.drawn = 0
        self.now_s = 0.0
        self.machine = subject.BreakerMachine(SETTINGS, self.chance, 0.0)
        self.phase, self.limited_until_s, self.asked = "up", 0.0, 0
        self.calls: list[Call] = []
        # The ledger.
        self.epoch = 0
        self.open = False
        self.cause: Cause | None = None
        self.why: Failure | None = None
        self.until_s = self.named_until_s = self.closed_at_s = 0.0
        self.level = 0
        self.probe: Call | None = None
        self.early_failed = False
        self.outcomes: list[tuple[float, bool, bool]] = []
        self.refused = self.opened = 0

    def chance(self) -> float:
        self.drawn += 1
        return self.drawn * 0.37 % 1.0

    def step(self, action: str, what: int) -> None:
        getattr(self, action)(what)
        found = self.machine.snapshot(self.now_s)
        assert (found.state is State.CLOSED) is not self.open, "it is not as it said"
        assert found.open_s == (max(0.0, self.until_s - self.now_s) if self.open else 0.0)
        recent = self.recent()
        counts = (len(recent), sum(failed for _, failed, _ in recent), sum(slow for _, _, slow in recent))
        assert (found.calls, found.failures, found.slow) == counts
        assert (found.refused, found.opened) == (self.refused, self.opened)

    # The provider.

    def turn(self, what: int) -> None:
        self.phase = ("up", "down", "slow", "flaky", "busy", "confused")[what % 6]

    def answer(self) -> Failure | str:
        self.asked += 1
        match self.phase:
            case "flaky" if self.asked % 3:
                return "quick"
            case "down" | "flaky":
                return Failure(category=Category.CONNECTION, message="refused")
            case "limited" if self.now_s < self.limited_until_s:
                left_s = self.limited_until_s - self.now_s
                return Failure(category=Category.OVERLOADED, message="later", retry_after_s=left_s)
            case "busy":
                return Failure(category=Category.RATE_LIMIT, message="not now")
            case "confused":
                return Failure(category=Category.INVALID_REQUEST, message="what?")
            case "slow":
                return "slow"
            case _:
                return "quick"

    # The callers.

    def begin(self, what: int) -> Call | None:
        last_resort = what % 2 == 0
        decision = self.machine.acquire(self.now_s, last_resort=last_resort)
        if isinstance(decision, Refusal):
            self.was_refused(decision, last_resort=last_resort)
            return None
        call = Call(decision, self.now_s, self.epoch, self.answer())
        self.was_let_through(call, last_resort=last_resort)
        self.calls.append(call)
        return call

    def crowd(self, what: int) -> None:
        """Several calls one after the other."""
        for _ in range(1 + what % 8):
            if call := self.begin(what):
                self.end(call)

    def finish(self, what: int) -> None:
        if self.calls:
            self.end(self.calls[what % len(self.calls)])

    def cancel(self, what: int) -> None:
        if self.calls:
            call = self.calls.pop(what % len(self.calls))
            self.gives_back(call)
            self.machine.ignore(call.ticket)

    def vanish(self, what: int) -> None:
        if self.calls:
            self.calls.pop(what % len(self.calls))

    def wait(self, what: int) -> None:
        self.now_s += WAITS_S[what % len(WAITS_S)]

    def quiet(self, what: int) -> None:
        self.now_s += SETTINGS.window + 1.0

    def wait_for_the_pause(self, what: int) -> None:
        self.now_s = max(self.now_s, self.until_s)

    def trouble(self, what: int) -> None:
        self.phase = ("down", "down", "slow")[what % 3]
        self.crowd(what % 4)

    def limit(self, what: int) -> None:
        self.phase, self.limited_until_s = "limited", self.now_s + LIMITS_S[what % 4]
        self.crowd(what)

    def recovery(self, what: int) -> None:
        self.phase = "up"
        self.wait_for_the_pause(what)
        self.crowd(what)

    def reset(self, what: int) -> None:
        change = self.machine.reset(self.now_s)
        assert (change is not None) is self.open
        self.has_closed()
        self.level, self.probe = 0, None

    def hold(self, what: int) -> None:
        seconds = LIMITS_S[what % 4]
        change = self.machine.hold(seconds, None, self.now_s)
        assert (change is not None) is (self.now_s + seconds > self.until_s), "the longest pause wins"
        if change is not None:
            assert (change.cause, change.open_s) == ("asked", seconds)
            self.named_until_s = self.now_s + seconds
            self.has_opened(change)

    # What was promised to them.

    def was_let_through(self, call: Call, *, last_resort: bool) -> None:
        if not self.open:
            return
        self.lease_may_end()
        over = self.now_s >= self.until_s
        if last_resort and self.cause == "slow" and not (over and self.probe is None):
            call.beside = True
            return
        assert self.probe is None, "two probes within a lease"
        assert over or last_resort, "the crowd was let in during a pause"
        assert over or not self.early_failed, "a second early try in the same pause"
        self.epoch += 1
        call.epoch = self.epoch
        self.probe = call

    def was_refused(self, refusal: Refusal, *, last_resort: bool) -> None:
        self.refused += 1
        assert self.open, "a closed one refused"
        self.lease_may_end()
        assert self.now_s < self.until_s or self.probe is not None, "the first one after a pause was refused"
        assert refusal.wait_s == max(0.0, self.until_s - self.now_s)
        assert refusal.failure is self.why
        if last_resort:
            assert self.cause != "slow", "slowness left somebody with nothing"
            assert self.probe is not None or self.early_failed, "nobody may try"

    def lease_may_end(self) -> None:
        if self.probe is not None and self.now_s >= self.probe.began_s + SETTINGS.probe_lease:
            self.probe = None
            self.early_failed = True

    def gives_back(self, call: Call) -> bool:
        was_probe = call is self.probe
        if was_probe:
            self.probe = None
        return was_probe

    def end(self, call: Call) -> None:
        self.calls.remove(call)
        before = self.machine.snapshot(self.now_s)
        was_probe, current = self.gives_back(call), call.epoch == self.epoch
        alone = self.open and not call.beside
        if isinstance(call.answer, Failure):
            change = self.machine.fail(call.ticket, call.answer, self.now_s)
            if not current or not call.answer.traits.counts:
                assert change is None, "what says nothing has changed something"
            else:
                self.has_failed(call.answer, change, alone=alone, early=was_probe and self.now_s < self.until_s)
        else:
            change = self.machine.succeed(call.ticket, self.now_s, slow=call.answer == "slow")
            if current:
                self.has_succeeded(change, slow=call.answer == "slow", alone=alone)
        if not current:
            assert change is None, "what was begun before the last change has changed something"
            assert self.machine.snapshot(self.now_s) == before

    def has_failed(self, failure: Failure, change: Change | None, *, alone: bool, early: bool) -> None:
        asked_s = failure.retry_after_s or (0.0 if failure.category is Category.RATE_LIMIT else None)
        if not alone:
            self.outcomes.append((self.now_s, True, False))
            recent = self.recent()
            failed = sum(bad for _, bad, _ in recent)
            too_many = len(recent) >= SETTINGS.min_calls and failed / len(recent) >= SETTINGS.failure_rate
            assert (change is not None) is (too_many or asked_s is not None), "opened too early or too late"
        if change is not None:
            assert change.failure is failure, "not the real failure"
            self.pause_is_right(change, asked_s)
            self.early_failed = self.early_failed or early
            if failure.retry_after_s:
                self.named_until_s = max(self.named_until_s, self.now_s + failure.retry_after_s)
            self.has_opened(change)
        else:
            assert not alone, "a probe has failed, and nothing follows"

    def has_succeeded(self, change: Change | None, *, slow: bool, alone: bool) -> None:
        if not alone:
            self.outcomes.append((self.now_s, False, slow))
            recent = self.recent()
            too_slow = sum(was_slow for _, _, was_slow in recent) / len(recent) >= SETTINGS.slow_rate
            opens = not self.open and slow and too_slow and len(recent) >= SETTINGS.min_calls
        else:
            opens = slow and self.cause == "slow"
        if opens:
            assert change is not None, "slowness was not noticed"
            assert change.cause == "slow"
            self.pause_is_right(change, None)
            self.has_opened(change)
        elif not alone or self.now_s < self.named_until_s:
            assert change is None, "a success that decides nothing has decided"
        else:
            assert change is not None, "the provider is back, and the breaker stays open"
            assert change.state is State.CLOSED
            self.has_closed()

    def pause_is_right(self, change: Change, asked_s: float | None) -> None:
        if self.open and self.now_s < self.until_s:
            assert change.open_s == max(asked_s or 0.0, self.until_s - self.now_s), "a pause must go on"
        elif asked_s and not self.open:
            assert change.open_s == asked_s, "as long as it was asked for"
        else:
            if not self.open and self.now_s - self.closed_at_s >= SETTINGS.window:
                self.level = 0
            middle_s = min(SETTINGS.longest_open, SETTINGS.open_time * 2**self.level)
            least_s = max(asked_s or 0.0, middle_s * (1 - SETTINGS.jitter))
            most_s = max(asked_s or 0.0, middle_s * (1 + SETTINGS.jitter))
            assert least_s <= change.open_s <= most_s, "a pause beyond its bounds"
            self.level += 1

    def has_opened(self, change: Change) -> None:
        self.opened += not self.open
        self.early_failed = self.early_failed and self.now_s < self.until_s
        self.open, self.cause, self.why = True, change.cause, change.failure
        self.until_s = self.now_s + change.open_s
        self.epoch += 1

    def has_closed(self) -> None:
        self.open, self.cause, self.why = False, None, None
        self.until_s = self.named_until_s = self.closed_at_s = self.now_s
        self.outcomes.clear()
        self.epoch += 1

    def recent(self) -> list[tuple[float, bool, bool]]:
        young = [each for each in self.outcomes if each[0] >= self.now_s - SETTINGS.window]
        return young[-SETTINGS.calls :]

    def end_well(self) -> None:
        """From here on the provider is well, and somebody calls each second; who is still on the way is lost."""
        self.phase = "up"
        self.calls.clear()
        lease_s = self.probe.began_s + SETTINGS.probe_lease if self.probe else 0.0
        patience_s = max(0.0, self.until_s - self.now_s, lease_s - self.now_s)
        for _ in range(math.ceil(patience_s) + 1):
            self.step("crowd", 1)
            self.now_s += 1.0
        assert not self.open, "the provider is back, and the breaker stays open"


ACTIONS = (
    *("begin", "crowd", "finish", "turn", "wait", "wait_for_the_pause") * 2,
    *("begin", "finish", "trouble", "recovery", "limit", "quiet", "cancel", "vanish", "hold", "reset"),
)
happenings = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 839)), min_size=25, max_size=100)


def live(subject: Any, steps: list[tuple[str, int]]) -> None:  # noqa: ANN401
    world = World(subject)
    for step in steps:
        world.step(*step)
    world.end_well()


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(happenings)
def test_a_failing_provider_is_left_alone_and_is_back_when_it_is_back(steps: list[tuple[str, int]]) -> None:
    live(machine, steps)


MUTANTS = {
    "two probes at once": (
        "if self._probe is None and (now >= self._until or early):",
        "if now >= self._until or early:",
    ),
    "the lease never ends": ("now >= self._lease_ends:", "now >= self._lease_ends + 1e9:"),
    "the lease ends at once": ("now + self._settings.probe_lease", "now"),
    "the pause lasts a moment longer": ("(now >= self._until or early)", "(now > self._until or early)"),
    "everybody is a last resort": ("early = last_resort and", "early ="),
    "nobody is a last resort": ("early = last_resort and", "early = False and"),
    "early tries without an end": ("self._early_spent = True\n        return", "return"),
    "an early try that vanished is none": (
        "self._probe = None\n            self._early_spent = True",
        "self._probe = None",
    ),
    "one early try for ever": ("self._early_spent and now < self._until\n", "self._early_spent\n"),
    "holding on gives another early try": ("self._early_spent and now < self._until\n", "False\n"),
    "slowness refuses like failing": (
        'if last_resort and self._cause == "slow":\n            return',
        "if False:\n            return",
    ),
    "a cancelled probe keeps its place": ("if ticket == self._probe:\n            self._probe = None", "pass"),
    "anybody gives back the probe's place": (
        "if ticket == self._probe:\n            self._probe",
        "if ticket:\n            self._probe",
    ),
    "a probe's ticket is that of the calls before": (
        "self._generation += 1\n            self._probe =",
        "self._probe =",
    ),
    "opening keeps the generation": ("see `pass_closed`\n        self._generation += 1", "see `pass_closed`"),
    "closing keeps the generation": (
        "def _close(self, now: float) -> Change:\n        self._generation += 1",
        "def _close(self, now: float) -> Change:",
    ),
    "a stale failure counts": ("not (one_of_many or ticket == self._generation)", "False"),
    "a wrong request counts": ("not failure.traits.counts or", ""),
    "a named wait ends with an early success": (
        "ticket != self._generation or now < self._named_until",
        "ticket != self._generation",
    ),
    "a named wait is forgotten": ("self._named_until = max(self._named_until, now + asked_s)", "pass"),
    "a success never closes": ("return self._close(now)\n\n    def fail", "return None\n\n    def fail"),
    "a slow probe ends slowness": ('if slow and self._cause == "slow":', "if False:"),
    "asking needs statistics": ("if asked_s is None and not", "if not"),
    "a pause is shortened": ("max(asked_s or 0.0, self._until - now)", "asked_s or self._until - now"),
    "an early failure begins a new pause": (
        "if now < self._until:\n            seconds",
        "if False:\n            seconds",
    ),
    "a probe shortens what was asked": ("max(asked_s or 0.0, self._grown(now))", "self._grown(now)"),
    "asked for less than the growth": ("max(asked_s or 0.0, self._grown(now))", "asked_s or self._grown(now)"),
    "no growth": ("settings.open_time * 2.0**self._level", "settings.open_time"),
    "growth without a limit": (
        "min(settings.longest_open, settings.open_time * 2.0**self._level)",
        "settings.open_time * 2.0**self._level",
    ),
    "growth is never reset": ("self._level = 0\n        pause_s", "pass\n        pause_s"),
    "growth is always reset": ("now - self._closed_at >= settings.window", "True"),
    "twice the jitter": ("(2 * self._chance() - 1)", "(4 * self._chance() - 2)"),
    "a hold shortens": ("or now + seconds <= self._until:", "or False:"),
    "a hold is no wait that was named": ("self._named_until = now + seconds\n", "pass\n"),
    "one failure is enough": ("calls >= self._min_calls and", ""),
    "a minimum of one more": ("calls >= self._min_calls and", "calls > self._min_calls and"),
    "more than the share": ("bad >= rate * calls", "bad > rate * calls"),
    "one call more is judged": ("len(outcomes) > settings.calls", "len(outcomes) > settings.calls + 1"),
    "old calls are judged": ("or outcomes[0][0] < now - settings.window", ""),
    "counts stay": ("self._failures -= was_failed", "pass"),
    "closing forgets nothing": ("self._outcomes.clear()\n", "pass\n"),
    "successes are not judged": ("self._judged(now, failed=False, slow=slow)", "pass"),
    "what slowness let go is not judged": ("else ticket == -self._generation", "else False"),
    "the wrong reason": ("self._why = failure\n", "self._why = self._failure\n"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_world_notices_a_machine_that_is_wrong(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])
    assert_noticed(lambda steps: live(wrong, steps), happenings, by=(AssertionError, IndexError))
