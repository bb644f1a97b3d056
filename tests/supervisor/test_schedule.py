"""When the clock restarts an app: once for each time that is meant, whatever becomes of the clock."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import assert_noticed, mutant

from mainstay.supervisor import schedule
from mainstay.supervisor.schedule import check, next_due

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = (UTC, BERLIN, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("America/Sao_Paulo"))
EXPRESSIONS = (
    "0 3 * * *",
    "30 2 * * *",
    "*/20 * * * *",
    "0 */2 * * *",
    "59 23 * * 0",
    "0 0 1 * *",
    "15 1,2,3 * * *",
)
BEGINNINGS = (
    datetime(2026, 3, 28, 12, tzinfo=UTC),
    datetime(2026, 10, 24, 12, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 10, tzinfo=UTC),  # the second time that it is ten past two in Berlin
    datetime(2026, 4, 4, 6, tzinfo=UTC),
    datetime(2026, 10, 3, 6, tzinfo=UTC),
    datetime(2026, 12, 31, 20, tzinfo=UTC),
)
HOUR = 3600.0


def berlin(*moment: int, fold: int = 0) -> datetime:
    return datetime(*moment, tzinfo=BERLIN, fold=fold)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("expression", "after", "due"),
    [
        ("0 3 * * *", berlin(2026, 6, 1, 2, 59, 59), berlin(2026, 6, 1, 3)),
        ("0 3 * * *", berlin(2026, 6, 1, 3), berlin(2026, 6, 2, 3)),
        ("0 3 * * 1-5", berlin(2026, 6, 5, 12), berlin(2026, 6, 8, 3)),
        ("30 2 * * *", berlin(2026, 3, 28, 12), berlin(2026, 3, 29, 3)),
        ("30 2 * * *", berlin(2026, 10, 24, 12), berlin(2026, 10, 25, 2, 30)),
        ("30 2 * * *", berlin(2026, 10, 25, 2, 30), berlin(2026, 10, 26, 2, 30)),
        ("30 2 * * *", berlin(2026, 10, 25, 2, 10, fold=1), berlin(2026, 10, 26, 2, 30)),
    ],
)
def test_the_next_time_is_cron_s_also_when_the_clock_is_changed(
    expression: str, after: datetime, due: datetime
) -> None:
    assert next_due(expression, after) == due.astimezone(UTC)


@pytest.mark.parametrize(
    "expression", ["", "3", "* * * *", "0 0 3 * * *", "61 * * * *", "0 3 31 2 *", "@daily", "a b c d e"]
)
def test_what_cron_can_not_read_is_refused_with_an_example(expression: str) -> None:
    with pytest.raises(ValueError, match="cron"):
        check(expression)


class World:
    """A machine whose wall clock is set, and which sleeps; and somebody who looks at it now and then."""

    def __init__(self, subject: Any, expression: str, zone: Any, beginning: datetime) -> None:  # noqa: ANN401
        self.subject, self.expression, self.zone = subject, expression, zone
        self.now = self.latest = beginning
        self.planned = subject.begin(expression, self.local())
        self.done: list[datetime] = []
        self.done_until = beginning

    def local(self) -> datetime:
        return self.now.astimezone(self.zone)

    def look(self) -> None:
        before = self.latest
        self.planned, due = self.subject.look(self.planned, self.local())
        if due:
            self.restarted()
        self.latest = max(before, self.now)

    def restarted(self) -> None:
        meant = self.meant(self.done_until, self.now)
        assert meant, "restarted, and no time for it has come, or for the second time"
        self.done_until = meant[-1]
        self.done.append(self.now)

    def meant(self, after: datetime, until: datetime) -> list[datetime]:
        """The times of the expression in between."""
        times = []
        while (due := next_due(self.expression, after.astimezone(self.zone))) is not None and due <= until:
            assert due > after, "the next time is not later"
            times.append(due)
            after = due
        return times

    def awake(self, seconds: float) -> None:
        """It is looked each five minutes; what is meant happens."""
        until, before = self.now + timedelta(seconds=seconds), self.now
        forward = self.now >= self.latest
        count = len(self.done)
        while self.now < until:
            self.now += timedelta(minutes=5)
            self.look()
        if forward:
            assert len(self.done) - count == len(self.meant(before, self.now)), "one was forgotten"

    def jump(self, seconds: float) -> None:
        """The clock is set, or the machine sleeps."""
        before, count = self.now, len(self.done)
        self.now += timedelta(seconds=seconds)
        late = [self.now - due for due in self.meant(before, self.now)]
        clock_was_right = before >= self.latest
        if self.latest - self.now > timedelta(hours=3):
            self.latest = self.done_until = self.now
        self.look()
        assert len(self.done) - count <= 1, "several restarts at once"
        if clock_was_right and seconds > 0:
            # The schedule holds the first time that was missed.
            assert len(self.done) - count == (bool(late) and late[0] <= timedelta(hours=1)), (
                "too late, or forgotten"
            )


happenings = st.lists(
    st.one_of(
        st.tuples(st.just("awake"), st.sampled_from([600.0, HOUR, 5 * HOUR, 14 * HOUR])),
        st.tuples(
            st.just("jump"),
            st.sampled_from([0.5, -2.0, 3000.0, -3000.0, 2 * HOUR, -2 * HOUR, 9 * HOUR, -30 * HOUR, 50 * HOUR]),
        ),
    ),
    min_size=2,
    max_size=6,
)
worlds = st.tuples(st.sampled_from(EXPRESSIONS), st.sampled_from(ZONES), st.sampled_from(BEGINNINGS))


def live(subject: Any, world: tuple[str, Any, datetime], steps: list[tuple[str, float]]) -> None:  # noqa: ANN401
    lived = World(subject, *world)
    for what, seconds in steps:
        getattr(lived, what)(seconds)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(worlds, happenings)
def test_each_time_has_its_one_restart(world: tuple[str, Any, datetime], steps: list[tuple[str, float]]) -> None:
    live(schedule, world, steps)


MUTANTS = {
    "what comes again in autumn is due again": ("if found > after.astimezone(UTC)", "if True"),
    "what was missed is made up for at any time": ("at - due_at <= _TOO_LATE", "True"),
    "what is late is forgotten": ("at - due_at <= _TOO_LATE", "at - due_at <= timedelta(seconds=9)"),
    "each time that was missed is made up for": (
        "return begin(schedule.expression, now), at - due_at <= _TOO_LATE",
        "return begin(schedule.expression, due_at.astimezone(now.tzinfo)), at - due_at <= _TOO_LATE",
    ),
    "a clock that is set back a little repeats": (
        "if schedule.seen_at - at > _SET_BACK:",
        "if schedule.seen_at > at:",
    ),
    "a clock that was wrong is waited for": ("if schedule.seen_at - at > _SET_BACK:", "if False:"),
    "times are compared by the clock on the wall": (
        "        times = (found.astimezone(UTC) for found in CronSim(expression, after))\n",
        "        times = (found.replace(tzinfo=UTC) for found in CronSim(expression, after))\n",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_world_notices_a_schedule_that_is_wrong(name: str) -> None:
    wrong = mutant(schedule, *MUTANTS[name])
    assert_noticed(lambda world, steps: live(wrong, world, steps), worlds, happenings, examples=400)


LOCAL = """
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo
from mainstay.supervisor.cron import LOCAL

zone, at = ZoneInfo("Europe/Berlin"), datetime(2026, 1, 1, 0, 7, 0, 1, tzinfo=UTC)
for _ in range(9000):
    ours, theirs = at.astimezone(LOCAL), at.astimezone(zone)
    assert ours.replace(tzinfo=None) == theirs.replace(tzinfo=None), (ours, theirs)
    assert ours.fold == theirs.fold and ours.utcoffset() == theirs.utcoffset(), (ours, theirs)
    assert ours.astimezone(UTC) == at
    at += timedelta(hours=1)
"""


@pytest.mark.parametrize("zone", ["Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"])
def test_local_time_is_what_the_machine_says_in_every_form(zone: str) -> None:
    subprocess.run([sys.executable, "-c", LOCAL], check=True, env={"TZ": zone}, timeout=60)
