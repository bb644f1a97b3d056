"""Who is worked on next, however many wait?"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from mainstay.inbox import machine
from mainstay.inbox.model import Head, InboxSettings, State

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = InboxSettings(max_age=3600)


def head(name: str, *, age_s: float = 0.0) -> Head:
    at = NOW - timedelta(seconds=age_s)
    return Head(
        turn_id=name,
        lane=name,
        state=State.QUEUED,
        attempt=0,
        crashes=0,
        owner="",
        accepted_at=at,
        due_at=at,
        lease_until_at=None,
    )


def and_no_more(*heads: Head) -> Iterator[Head]:
    yield from heads
    raise AssertionError("more was read than is needed")


def test_lanes_behind_the_last_one_that_is_claimed_are_not_even_read():
    choice = machine.choose(and_no_more(head("first"), head("second")), NOW, SETTINGS, 2)
    assert choice.claimed == ("first", "second")


def test_those_that_came_too_long_ago_take_no_place_of_those_that_did_not():
    choice = machine.choose(and_no_more(head("old", age_s=7200), head("young")), NOW, SETTINGS, 1)
    assert (choice.claimed, choice.expired) == (("young",), ("old",))
