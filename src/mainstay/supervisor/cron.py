"""Which apps does the clock restart, and is it time?

The wall clock is looked at again and again: it may be set, and a timer stands still while the machine sleeps.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from mainstay.clock import Clock
from mainstay.supervisor.schedule import Schedule, begin, look

__all__ = ["LOCAL", "keep_cron"]

_LOOK_EVERY_S: Final = 10.0


class _Local(tzinfo):
    """The zone of this machine with all its changes of the clock, as the C library knows it: TZ, /etc/localtime."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        assert dt is not None, "the zone has no offset of its own"
        wall = dt.replace(tzinfo=None, microsecond=0)
        return wall - datetime.fromtimestamp(wall.timestamp(), UTC).replace(tzinfo=None)

    def dst(self, dt: datetime | None) -> None:  # noqa: ARG002  nobody asks for it
        return None

    def tzname(self, dt: datetime | None) -> str:  # noqa: ARG002
        return "local"

    def fromutc(self, dt: datetime) -> datetime:
        return datetime.fromtimestamp(dt.replace(tzinfo=UTC).timestamp()).replace(tzinfo=self)  # noqa: DTZ006


LOCAL: Final = _Local()


async def keep_cron(
    planned: Callable[[], Mapping[str, str]],
    restart: Callable[[str, str], object],
    clock: Clock,
    *,
    every_s: float = _LOOK_EVERY_S,
) -> None:
    """Restart what is due, until cancelled.

    Args:
        planned: the expressions by app; may change at any time.
        restart: is called with an app that is due, and its expression.
        clock: tells the wall time.
        every_s: how late a change of the plan or of the clock may be seen.
    """
    schedules: dict[str, Schedule] = {}
    while True:
        now, plan = clock.now().astimezone(LOCAL), planned()
        for app, expression in plan.items():
            schedule = schedules.get(app)
            if schedule is None or schedule.expression != expression:
                schedules[app] = begin(expression, now)
                continue
            schedules[app], is_due = look(schedule, now)
            if is_due:
                restart(app, expression)
        schedules = {app: each for app, each in schedules.items() if app in plan}
        await asyncio.sleep(_pause_s(schedules, now, every_s))


def _pause_s(schedules: Mapping[str, Schedule], now: datetime, most_s: float) -> float:
    due_s = [(each.due_at - now).total_seconds() for each in schedules.values() if each.due_at is not None]
    return max(0.001, min(most_s, *due_s)) if due_s else most_s
