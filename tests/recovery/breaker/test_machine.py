"""The decisions of a breaker, as tables."""

import math
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from mainstay.errors import Category
from mainstay.recovery.breaker.machine import BreakerMachine
from mainstay.recovery.breaker.model import BreakerSettings, Cause, Refusal, State
from mainstay.recovery.model import TRAITS, Failure, Traits

SETTINGS = BreakerSettings(
    calls=10,
    window=60.0,
    min_calls=4,
    failure_rate=0.5,
    slow_rate=0.8,
    open_time=5.0,
    longest_open=40.0,
    quota_open=600.0,
    jitter=0.2,
    probe_lease=100.0,
)
DOWN = Failure(category=Category.CONNECTION, message="refused")


def failure(category: Category, retry_after_s: float | None = None) -> Failure:
    return Failure(category=category, message=str(category), retry_after_s=retry_after_s)


def made(settings: BreakerSettings = SETTINGS, chance: Callable[[], float] = lambda: 0.5) -> BreakerMachine:
    return BreakerMachine(settings, chance, 0.0)


def ticket(breaker: BreakerMachine, now: float, *, last_resort: bool = False) -> int:
    answer = breaker.acquire(now, last_resort=last_resort)
    assert isinstance(answer, int)
    return answer


def refused(breaker: BreakerMachine, now: float, *, last_resort: bool = False) -> Refusal:
    answer = breaker.acquire(now, last_resort=last_resort)
    assert isinstance(answer, Refusal)
    return answer


def play(breaker: BreakerMachine, outcomes: str, now: float = 0.0) -> State:
    """Calls that end at once: ``+`` well, ``s`` well but slowly, ``-`` badly, ``.`` without saying anything."""
    for outcome in outcomes:
        mine = ticket(breaker, now)
        match outcome:
            case "-":
                breaker.fail(mine, DOWN, now)
            case ".":
                breaker.ignore(mine)
            case _:
                breaker.succeed(mine, now, slow=outcome == "s")
    return breaker.snapshot(now).state


def opened(cause: Cause = "failures", now: float = 0.0) -> BreakerMachine:
    """One that has just opened for 5 s."""
    breaker = made()
    if cause == "asked":
        breaker.hold(5.0, failure(Category.RATE_LIMIT), now)
    else:
        play(breaker, "----" if cause == "failures" else "ssss", now)
    assert breaker.snapshot(now).cause == cause
    return breaker


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [
        ("---", False),
        ("----", True),
        ("-+-+", False),
        ("-+-+-", True),
        ("++--", True),
        ("+++--", False),
        ("+++---", True),
        ("...----", True),
        ("--..", False),
        ("++++++++++----", False),
        ("++++++++++-----", True),
        ("---+++++++--", False),
    ],
)
def test_opens_when_enough_calls_are_known_and_the_share_of_failures_is_reached(outcomes: str, opens: bool) -> None:
    assert play(made(), outcomes) is (State.OPEN if opens else State.CLOSED)


def test_a_success_opens_nothing_even_where_the_share_is_too_high() -> None:
    assert play(made(), "---+") is State.CLOSED
    assert play(made(), "---+-") is State.OPEN


@pytest.mark.parametrize(("age", "opens"), [(59.0, True), (60.0, True), (60.1, False)])
def test_what_is_older_than_the_window_is_not_judged(age: float, opens: bool) -> None:
    breaker = made()
    play(breaker, "---")
    assert play(breaker, "-", age) is (State.OPEN if opens else State.CLOSED)


def test_only_the_last_calls_are_judged() -> None:
    breaker = made()
    play(breaker, "+++++++++++++++----")
    assert breaker.snapshot(0.0).calls == 10
    assert breaker.snapshot(0.0).failures == 4
    assert play(breaker, "-") is State.OPEN


def test_a_minimum_beyond_what_is_judged_is_reached_with_all_that_is_judged() -> None:
    breaker = made(BreakerSettings(calls=3, min_calls=5))
    assert play(breaker, "--") is State.CLOSED
    assert play(breaker, "-") is State.OPEN


@pytest.mark.parametrize(
    ("outcomes", "opens"),
    [("sss", False), ("ssss", True), ("+sss", False), ("+ssss", True), ("s+s+s+s+", False)],
)
def test_opens_when_too_many_first_tokens_are_slow(outcomes: str, opens: bool) -> None:
    breaker = made()
    assert play(breaker, outcomes) is (State.OPEN if opens else State.CLOSED)
    if opens:
        assert breaker.snapshot(0.0).cause == "slow"


def test_slowness_is_not_told_with_an_old_failure_as_its_reason() -> None:
    breaker = made(BreakerSettings(calls=4, min_calls=4))
    play(breaker, "-" + "sss")
    change = breaker.succeed(ticket(breaker, 0.0), 0.0, slow=True)
    assert change is not None
    assert (change.cause, change.failure) == ("slow", None)
    assert refused(breaker, 0.0).failure is None
    assert breaker.snapshot(0.0).failure is DOWN, "the last failure that counted is still known"


@pytest.mark.parametrize("category", list(Category))
def test_only_what_says_something_about_the_other_side_counts(category: Category) -> None:
    breaker = made()
    for _ in range(4):
        breaker.fail(ticket(breaker, 0.0), failure(category, 0.0), 0.0)
        if breaker.snapshot(0.0).state is State.OPEN:
            break
    counted = breaker.snapshot(0.0).failures > 0
    assert counted is TRAITS[category].counts
    assert (breaker.snapshot(0.0).state is State.OPEN) is TRAITS[category].counts


def test_the_failures_own_traits_win_over_those_of_its_category() -> None:
    breaker = made()
    absent = Failure(
        category=Category.SERVER_ERROR, message="", special=Traits(fallback=True, retries=0, counts=False)
    )
    for _ in range(9):
        breaker.fail(ticket(breaker, 0.0), absent, 0.0)
    assert breaker.snapshot(0.0).state is State.CLOSED
    assert breaker.snapshot(0.0).calls == 0


@pytest.mark.parametrize(
    ("category", "retry_after_s", "pause_s"),
    [
        (Category.RATE_LIMIT, 7.0, 7.0),
        (Category.RATE_LIMIT, 4000.0, 4000.0),
        (Category.RATE_LIMIT, None, 5.0),
        (Category.RATE_LIMIT, 0.0, None),
        (Category.RATE_LIMIT, math.nan, None),
        (Category.RATE_LIMIT, math.inf, None),
        (Category.RATE_LIMIT, -3.0, None),
        (Category.QUOTA_EXHAUSTED, None, 600.0),
        (Category.QUOTA_EXHAUSTED, 30.0, 30.0),
        (Category.QUOTA_EXHAUSTED, 0.0, 600.0),
        (Category.OVERLOADED, 7.0, 7.0),
        (Category.OVERLOADED, None, None),
        (Category.SERVER_ERROR, 7.0, 7.0),
        (Category.TIMEOUT, None, None),
        (Category.AUTH, 7.0, None),
        (Category.INVALID_REQUEST, 7.0, None),
    ],
)
def test_one_failure_is_enough_when_the_other_side_asks_to_be_left_alone(
    category: Category, retry_after_s: float | None, pause_s: float | None
) -> None:
    breaker, why = made(), failure(category, retry_after_s)
    change = breaker.fail(ticket(breaker, 0.0), why, 0.0)
    if pause_s is None:
        assert change is None
        assert breaker.snapshot(0.0).state is State.CLOSED
        return
    assert change is not None
    assert (change.state, change.cause, change.open_s, change.failure) == (State.OPEN, "asked", pause_s, why)
    assert refused(breaker, 1.0) == Refusal(wait_s=pause_s - 1.0, failure=why)
    refused(breaker, pause_s - 0.01)
    ticket(breaker, pause_s)


def test_a_refusal_names_the_real_failure_and_the_wait() -> None:
    breaker = opened()
    assert refused(breaker, 2.0) == Refusal(wait_s=3.0, failure=DOWN)
    ticket(breaker, 5.0)
    assert refused(breaker, 6.0) == Refusal(wait_s=0.0, failure=DOWN)


def probe_fails(breaker: BreakerMachine, why: Failure = DOWN) -> float:
    """The length of the pause that follows when the next probe fails at once."""
    now = breaker.snapshot(0.0).open_s
    change = breaker.fail(ticket(breaker, now), why, now)
    assert change is not None
    return change.open_s


def test_each_pause_is_twice_as_long_as_the_last_up_to_the_longest() -> None:
    breaker = opened()
    assert [probe_fails(breaker) for _ in range(5)] == [10.0, 20.0, 40.0, 40.0, 40.0]


def test_a_rate_limited_probe_makes_the_pause_grow_once_and_not_twice() -> None:
    breaker = opened()
    why = failure(Category.RATE_LIMIT)
    assert [probe_fails(breaker, why) for _ in range(4)] == [10.0, 20.0, 40.0, 40.0]


def test_what_the_other_side_asks_for_may_be_longer_than_the_longest_but_never_shortens_the_growth() -> None:
    breaker = opened()
    assert probe_fails(breaker, failure(Category.OVERLOADED, 1.0)) == 10.0
    assert probe_fails(breaker, failure(Category.OVERLOADED, 300.0)) == 300.0
    assert probe_fails(breaker, failure(Category.OVERLOADED, 1.0)) == 40.0


def close_by_probe(breaker: BreakerMachine, now: float) -> None:
    change = breaker.succeed(ticket(breaker, now), now)
    assert change is not None
    assert change.state is State.CLOSED


@pytest.mark.parametrize(("quiet_s", "pause_s"), [(0.0, 20.0), (59.9, 20.0), (60.0, 5.0), (1000.0, 5.0)])
def test_the_growth_begins_anew_after_a_window_without_trouble(quiet_s: float, pause_s: float) -> None:
    breaker = opened()
    assert probe_fails(breaker) == 10.0
    close_by_probe(breaker, 15.0)
    play(breaker, "----", 15.0 + quiet_s)
    assert breaker.snapshot(15.0 + quiet_s).open_s == pause_s


def test_a_pause_that_was_asked_for_does_not_grow_the_next() -> None:
    breaker = made()
    for number in range(4):
        now = 100.0 * number
        breaker.fail(ticket(breaker, now), failure(Category.RATE_LIMIT, 50.0), now)
        close_by_probe(breaker, now + 50.0)
    play(breaker, "----", 400.0)
    assert breaker.snapshot(400.0).open_s == 5.0


@pytest.mark.parametrize(("chance", "pauses"), [(0.0, [4.0, 8.0, 16.0, 32.0, 32.0]), (1.0, [6, 12, 24, 48, 48])])
def test_a_pause_is_longer_or_shorter_by_the_jitter_at_most(chance: float, pauses: list[float]) -> None:
    breaker = made(chance=lambda: chance)
    play(breaker, "----")
    found = [breaker.snapshot(0.0).open_s, *(probe_fails(breaker) for _ in range(4))]
    assert found == pytest.approx(pauses)


def test_a_wait_that_the_other_side_named_has_no_jitter() -> None:
    breaker = made(chance=lambda: 0.0)
    change = breaker.fail(ticket(breaker, 0.0), failure(Category.RATE_LIMIT, 30.0), 0.0)
    assert change is not None
    assert change.open_s == 30.0


@pytest.mark.parametrize(
    ("holds", "open_s"),
    [
        ([30.0], 30.0),
        ([30.0, 10.0], 30.0),
        ([10.0, 30.0], 30.0),
        ([1.0], 5.0),
        ([0.0], 5.0),
        ([-1.0], 5.0),
        ([math.nan], 5.0),
        ([math.inf], 5.0),
        ([5.0], 5.0),
    ],
)
def test_the_longest_pause_wins_and_none_is_shortened(holds: list[float], open_s: float) -> None:
    breaker = opened()
    for seconds in holds:
        breaker.hold(seconds, None, 0.0)
    assert breaker.snapshot(0.0).open_s == open_s


def test_a_hold_opens_what_was_closed_and_says_so_once() -> None:
    breaker, why = made(), failure(Category.RATE_LIMIT)
    change = breaker.hold(30.0, why, 0.0)
    assert change is not None
    assert (change.state, change.cause, change.open_s, change.failure) == (State.OPEN, "asked", 30.0, why)
    assert breaker.hold(20.0, why, 0.0) is None
    assert breaker.snapshot(0.0).opened == 1
    close_by_probe(breaker, 30.0)


def test_a_hold_without_a_reason_is_not_told_with_an_old_one() -> None:
    breaker = opened()
    close_by_probe(breaker, 5.0)
    breaker.hold(30.0, None, 6.0)
    assert refused(breaker, 6.0).failure is None


def test_after_the_pause_exactly_one_call_is_let_through() -> None:
    breaker = opened()
    refused(breaker, 4.999)
    ticket(breaker, 5.0)
    assert [refused(breaker, 5.0).wait_s for _ in range(99)] == [0.0] * 99
    refused(breaker, 104.9, last_resort=True)


def test_a_probe_that_never_comes_back_gives_its_place_to_one_other_when_its_lease_is_over() -> None:
    breaker = opened()
    lost = ticket(breaker, 5.0)
    refused(breaker, 104.9)
    second = ticket(breaker, 105.0)
    refused(breaker, 105.0)
    assert breaker.succeed(lost, 106.0) is None, "the first one is stale now"
    breaker.ignore(lost)
    refused(breaker, 106.0)
    change = breaker.succeed(second, 107.0)
    assert change is not None
    assert change.state is State.CLOSED


def test_a_probe_that_comes_back_late_still_counts_while_nobody_has_taken_its_place() -> None:
    breaker = opened()
    late = ticket(breaker, 5.0)
    change = breaker.succeed(late, 500.0)
    assert change is not None
    assert change.state is State.CLOSED


@pytest.mark.parametrize("category", [None, Category.INVALID_REQUEST, Category.CANCELLED, Category.AUTH])
def test_a_probe_that_says_nothing_gives_its_place_to_the_next(category: Category | None) -> None:
    breaker = opened()
    for _ in range(3):
        mine = ticket(breaker, 5.0)
        refused(breaker, 5.0)
        if category is None:
            breaker.ignore(mine)
        else:
            assert breaker.fail(mine, failure(category), 5.0) is None
        assert breaker.snapshot(5.0).state is State.HALF_OPEN
    close_by_probe(breaker, 5.0)


def test_a_caller_with_nowhere_else_to_go_may_try_once_before_the_pause_is_over() -> None:
    breaker = opened()
    refused(breaker, 1.0)
    mine = ticket(breaker, 1.0, last_resort=True)
    refused(breaker, 1.0, last_resort=True)
    assert breaker.snapshot(1.0).state is State.HALF_OPEN
    change = breaker.fail(mine, DOWN, 2.0)
    assert change is not None
    assert change.open_s == 3.0, "the pause goes on, neither longer nor shorter"
    assert breaker.snapshot(2.0).state is State.OPEN
    assert refused(breaker, 4.9, last_resort=True).wait_s == pytest.approx(0.1)
    after = ticket(breaker, 5.0)
    change = breaker.fail(after, DOWN, 5.0)
    assert change is not None
    assert change.open_s == 10.0, "the early one has not made it grow"
    ticket(breaker, 5.0, last_resort=True)


def test_an_early_try_that_says_nothing_is_none() -> None:
    breaker = opened()
    for _ in range(3):
        breaker.ignore(ticket(breaker, 1.0, last_resort=True))
        assert breaker.snapshot(1.0).state is State.OPEN
    refused(breaker, 1.0)


def test_an_early_try_that_never_comes_back_was_the_one() -> None:
    breaker = made()
    breaker.hold(1000.0, None, 0.0)
    ticket(breaker, 1.0, last_resort=True)
    assert breaker.snapshot(102.0).state is State.OPEN
    refused(breaker, 102.0, last_resort=True)
    ticket(breaker, 1000.0)


def test_an_early_try_that_fails_after_the_pause_makes_it_grow_like_any_probe() -> None:
    breaker = opened()
    late = ticket(breaker, 4.0, last_resort=True)
    refused(breaker, 6.0)
    change = breaker.fail(late, DOWN, 24.0)
    assert change is not None
    assert change.open_s == 10.0
    ticket(breaker, 25.0, last_resort=True)


def test_an_early_try_may_be_told_to_wait_for_longer() -> None:
    breaker = opened()
    change = breaker.fail(ticket(breaker, 1.0, last_resort=True), failure(Category.RATE_LIMIT, 30.0), 2.0)
    assert change is not None
    assert change.open_s == 30.0
    refused(breaker, 31.9, last_resort=True)
    ticket(breaker, 32.0)


def test_an_early_success_closes() -> None:
    breaker = opened()
    change = breaker.succeed(ticket(breaker, 1.0, last_resort=True), 2.0)
    assert change is not None
    assert change.state is State.CLOSED
    ticket(breaker, 2.0)


def test_a_wait_that_the_other_side_named_goes_on_for_the_crowd_after_an_early_success() -> None:
    breaker = made()
    breaker.fail(ticket(breaker, 0.0), failure(Category.RATE_LIMIT, 30.0), 0.0)
    for now in (1.0, 2.0, 3.0):
        mine = ticket(breaker, now, last_resort=True)
        refused(breaker, now, last_resort=True)
        assert breaker.succeed(mine, now) is None
        refused(breaker, now)
    assert breaker.fail(ticket(breaker, 4.0, last_resort=True), DOWN, 4.0) is not None
    refused(breaker, 29.9, last_resort=True)
    close_by_probe(breaker, 30.0)


def test_an_early_success_ends_a_wait_that_nobody_named() -> None:
    breaker = made()
    breaker.fail(ticket(breaker, 0.0), failure(Category.QUOTA_EXHAUSTED), 0.0)
    change = breaker.succeed(ticket(breaker, 1.0, last_resort=True), 2.0)
    assert change is not None
    assert change.state is State.CLOSED


def test_a_provider_that_is_dead_for_an_hour_gets_two_calls_a_pause_however_many_want_to_call() -> None:
    breaker, reached, now = made(), 0, 0.0
    while now < 3600.0:
        for last_resort in (False, True) * 5:
            answer = breaker.acquire(now, last_resort=last_resort)
            if isinstance(answer, int):
                reached += 1
                breaker.fail(answer, DOWN, now)
        now += 0.5
    pauses = 3 + math.ceil((3600 - 5 - 10 - 20) / 40)
    assert reached == SETTINGS.min_calls + 2 * pauses - 1


def test_holding_on_gives_no_second_early_try_and_no_second_probe() -> None:
    breaker = opened()
    breaker.fail(ticket(breaker, 1.0, last_resort=True), DOWN, 1.0)
    breaker.hold(30.0, None, 2.0)
    refused(breaker, 2.0, last_resort=True)
    breaker = opened()
    mine = ticket(breaker, 5.0)
    breaker.hold(30.0, None, 6.0)
    refused(breaker, 6.0, last_resort=True)
    refused(breaker, 36.0)
    assert breaker.snapshot(6.0).state is State.OPEN
    assert breaker.succeed(mine, 37.0) is None, "it was begun before the other side asked"
    close_by_probe(breaker, 38.0)


def test_slowness_refuses_nobody_who_has_nowhere_else_to_go() -> None:
    breaker = opened("slow")
    refused(breaker, 1.0)
    tickets = [ticket(breaker, 1.0, last_resort=True) for _ in range(50)]
    assert [breaker.succeed(each, 2.0, slow=number % 2 == 0) for number, each in enumerate(tickets)] == [None] * 50
    assert breaker.snapshot(2.0).state is State.OPEN
    probe = ticket(breaker, 5.0, last_resort=True)
    refused(breaker, 5.0)
    others = [ticket(breaker, 5.0, last_resort=True) for _ in range(9)]
    assert [breaker.succeed(each, 6.0) for each in others] == [None] * 9
    change = breaker.succeed(probe, 6.0)
    assert change is not None
    assert change.state is State.CLOSED


def test_slowness_that_turns_into_failing_refuses_as_failing_does() -> None:
    breaker = opened("slow")
    changes = [breaker.fail(ticket(breaker, 1.0, last_resort=True), DOWN, 1.0) for _ in range(4)]
    assert changes[:3] == [None] * 3
    assert changes[3] is not None
    assert (changes[3].cause, changes[3].open_s) == ("failures", 4.0)
    refused(breaker, 1.0)
    breaker.fail(ticket(breaker, 1.0, last_resort=True), DOWN, 1.0)
    refused(breaker, 1.0, last_resort=True)


def test_a_call_that_slowness_let_through_is_heard_when_it_is_told_to_wait() -> None:
    breaker = opened("slow")
    change = breaker.fail(ticket(breaker, 1.0, last_resort=True), failure(Category.RATE_LIMIT, 30.0), 2.0)
    assert change is not None
    assert (change.cause, change.open_s) == ("asked", 30.0)
    refused(breaker, 3.0)


@pytest.mark.parametrize(("slow", "state"), [(True, State.OPEN), (False, State.CLOSED)])
def test_after_slowness_the_probe_has_to_be_quick(slow: bool, state: State) -> None:
    breaker = opened("slow")
    breaker.succeed(ticket(breaker, 5.0), 6.0, slow=slow)
    assert breaker.snapshot(6.0).state is state
    assert breaker.snapshot(6.0).open_s == (10.0 if slow else 0.0)


@pytest.mark.parametrize("cause", ["failures", "asked"])
def test_after_failures_the_probe_may_be_slow(cause: Cause) -> None:
    breaker = opened(cause)
    change = breaker.succeed(ticket(breaker, 5.0), 6.0, slow=True)
    assert change is not None
    assert change.state is State.CLOSED


def stale_tickets(when: str) -> tuple[BreakerMachine, list[int]]:
    """Tickets of calls that began in each earlier generation, and a breaker in the state of this name."""
    breaker = made()
    tickets = [ticket(breaker, 0.0)]
    play(breaker, "----")
    lost = ticket(breaker, 5.0)
    breaker.fail(lost, DOWN, 5.0)
    tickets.append(lost)
    if when == "open":
        return breaker, tickets
    tickets.append(ticket(breaker, 15.0))
    probe = ticket(breaker, 115.0)
    if when == "half open":
        return breaker, tickets
    breaker.succeed(probe, 115.0)
    play(breaker, "---+", 115.0)
    return breaker, [*tickets, probe]


@pytest.mark.parametrize("when", ["open", "half open", "closed"])
@pytest.mark.parametrize("outcome", ["success", "slow success", "failure", "asked", "nothing"])
def test_what_began_before_the_last_change_changes_nothing(when: str, outcome: str) -> None:
    breaker, tickets = stale_tickets(when)
    before = breaker.snapshot(116.0)
    for each in [*tickets, *(-each for each in tickets)]:
        match outcome:
            case "success" | "slow success":
                assert breaker.succeed(each, 116.0, slow=outcome != "success") is None
            case "failure":
                assert breaker.fail(each, failure(Category.TIMEOUT), 116.0) is None
            case "asked":
                assert breaker.fail(each, failure(Category.RATE_LIMIT, 1000.0), 116.0) is None
            case _:
                breaker.ignore(each)
    assert breaker.snapshot(116.0) == before
    if when == "half open":
        refused(breaker, 116.0)


def test_what_was_judged_is_forgotten_when_it_closes() -> None:
    breaker = opened()
    close_by_probe(breaker, 5.0)
    assert breaker.snapshot(5.0).calls == breaker.snapshot(5.0).failures == 0
    assert play(breaker, "---", 5.0) is State.CLOSED


def test_reset_closes_and_forgets_all_trouble() -> None:
    breaker = opened()
    probe_fails(breaker)
    probe = ticket(breaker, 15.0)
    change = breaker.reset(15.0)
    assert change is not None
    assert change.state is State.CLOSED
    assert breaker.fail(probe, DOWN, 15.0) is None
    play(breaker, "---", 15.0)
    assert breaker.reset(15.0) is None, "it was closed"
    assert play(breaker, "---", 15.0) is State.CLOSED, "what failed before is forgotten"
    play(breaker, "-", 15.0)
    assert breaker.snapshot(15.0).open_s == 5.0, "the growth too"


def test_reset_ends_a_wait_that_the_other_side_named() -> None:
    breaker = made()
    breaker.hold(1000.0, None, 0.0)
    breaker.reset(1.0)
    play(breaker, "----", 2.0)
    close_by_probe(breaker, 7.0)


def test_the_snapshot_tells_how_it_is() -> None:
    breaker = made()
    play(breaker, "+-s")
    found = breaker.snapshot(1.0)
    assert (found.state, found.cause, found.open_s) == (State.CLOSED, None, 0.0)
    assert (found.calls, found.failures, found.slow, found.refused, found.opened) == (3, 1, 1, 0, 0)
    assert found.failure is DOWN
    play(breaker, "-", 1.0)
    refused(breaker, 2.0)
    refused(breaker, 2.0)
    found = breaker.snapshot(2.0)
    assert (found.state, found.cause, found.open_s) == (State.OPEN, "failures", 4.0)
    assert (found.calls, found.failures, found.slow, found.refused, found.opened) == (4, 2, 1, 2, 1)
    assert breaker.snapshot(6.0).state is State.HALF_OPEN, "the next call will be let through"
    assert breaker.snapshot(6.0).open_s == 0.0
    probe_fails(breaker)
    assert breaker.snapshot(7.0).opened == 1, "it was not closed in between"
    close_by_probe(breaker, 16.0)
    found = breaker.snapshot(16.0)
    assert (found.state, found.cause, found.opened, found.failure) == (State.CLOSED, None, 1, DOWN)


def test_the_snapshot_counts_nothing_that_is_older_than_the_window() -> None:
    breaker = made()
    play(breaker, "+-s")
    found = breaker.snapshot(60.1)
    assert (found.calls, found.failures, found.slow) == (0, 0, 0)


def test_looking_at_it_changes_no_state() -> None:
    breaker = opened()
    for _ in range(3):
        breaker.snapshot(5.0)
    ticket(breaker, 5.0)
    breaker.snapshot(106.0)
    assert breaker.snapshot(106.0).state is State.HALF_OPEN


def test_a_ticket_taken_without_the_lock_while_another_thread_opens_it_is_old() -> None:
    """The quick way into a closed breaker takes no lock: it is tried here before each line of a change."""
    taken: list[int] = []

    def before_each_line(frame: FrameType, event: str, _: object) -> Any:  # noqa: ANN401  as sys.settrace wants it
        if frame.f_code.co_filename == sys.modules[BreakerMachine.__module__].__file__:
            sys.settrace(None)
            if (mine := breaker.pass_closed()) is not None:
                taken.append(mine)
            sys.settrace(before_each_line)
        return before_each_line

    def traced(change: Callable[[], object]) -> None:
        taken.clear()
        before = sys.gettrace()
        sys.settrace(before_each_line)
        try:
            change()
        finally:
            sys.settrace(before)

    breaker = made()
    play(breaker, "---")
    mine = ticket(breaker, 0.0)
    traced(lambda: breaker.fail(mine, DOWN, 0.0))
    assert len(set(taken)) == 1
    assert len(taken) > 5
    assert [breaker.succeed(each, 1.0) for each in taken] == [None] * len(taken)
    assert breaker.snapshot(1.0).state is State.OPEN
    assert breaker.pass_closed() is None
    probe = ticket(breaker, 5.0)
    traced(lambda: breaker.succeed(probe, 5.0))
    assert set(taken) == {breaker.pass_closed()}, "whoever passes while it closes counts for what comes now"
