"""When is an app restarted by the clock?

Pure. ``now`` is in the zone that the expression is meant in: a night in which the clock is changed has its restart
once. One within the hour that is left out comes when that is over; one within the hour that comes twice, the first
time. What is kept is UTC, as two times of one zone are compared by what the clock on the wall says.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["Schedule", "begin", "check", "look", "next_due"]

_TOO_LATE: Final = timedelta(hours=1)
_SET_BACK: Final = timedelta(hours=3)
_SOME_DAY: Final = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What is planned.

    Attributes:
        expression: what cron would read.
        due_at: the next time; None if there is none any more.
        seen_at: when that was last looked at.
    """

    expression: str
    due_at: datetime | None
    seen_at: datetime


def check(expression: str) -> str:
    """The expression itself.

    Raises:
        ValueError: it is none that cron could read, or means no day that there is.
    """
    if len(expression.split()) != 5:
        raise ValueError(
            f"{expression!r} is no time for cron: write minute, hour, day, month and day of the week, "
            'like "0 3 * * *" for every night at three'
        )
    if next_due(expression, _SOME_DAY) is None:
        raise ValueError(f"{expression!r} is a day that never comes")
    return expression


def next_due(expression: str, after: datetime) -> datetime | None:
    """The first time after that one, in UTC; None if none comes within fifty years.

    Raises:
        ValueError: it is no time for cron.
    """
    from cronsim import CronSim, CronSimError

    try:
        times = (found.astimezone(UTC) for found in CronSim(expression, after))
        # In the hour that comes a second time it finds what was the first time.
        return next((found for found in times if found > after.astimezone(UTC)), None)
    except CronSimError as error:
        raise ValueError(f"{expression!r} is no time for cron: {error}") from None


def begin(expression: str, now: datetime) -> Schedule:
    """From now on; what was missed before is past."""
    return Schedule(expression=expression, due_at=next_due(expression, now), seen_at=now.astimezone(UTC))


def look(schedule: Schedule, now: datetime) -> tuple[Schedule, bool]:
    """Whether a restart is due now, and what is planned then.

    However many times have passed since the last look, as while the machine slept, there is one restart; and none
    for a time that is past for more than an hour: what was meant for the night is not done at noon. A clock that
    is set back by less than three hours repeats nothing; by more, it was wrong before.
    """
    at, due_at = now.astimezone(UTC), schedule.due_at
    if due_at is not None and at >= due_at:
        return begin(schedule.expression, now), at - due_at <= _TOO_LATE
    if schedule.seen_at - at > _SET_BACK:
        return begin(schedule.expression, now), False
    return replace(schedule, seen_at=max(at, schedule.seen_at)), False
