"""The platform's time is scaled, and can be moved."""

import asyncio

import pytest

from mainstay.clock import SystemClock
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


async def test_a_real_second_is_a_hundred_of_the_platforms_at_scale_one_hundredth() -> None:
    manual = ManualClock()
    clock = PlatformClock(manual, 0.01)
    before = clock.moment()
    manual.advance(1)
    after = clock.moment()
    assert after.platform_s - before.platform_s == pytest.approx(100)
    assert after.real_s - before.real_s == 1


async def test_whoever_sleeps_wakes_when_time_is_moved() -> None:
    clock = PlatformClock(SystemClock(), 1.0)
    start = clock.moment().platform_s
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        sleeper = group.create_task(clock.sleep_until(start + 7200))
        await asyncio.sleep(0)
        clock.advance(3600)
        await asyncio.sleep(0)
        assert not sleeper.done()
        clock.advance(3600)
    assert clock.moment().platform_s >= start + 7200


async def test_windows_are_scaled_but_never_too_short_to_keep() -> None:
    clock = PlatformClock(ManualClock(), 0.5)
    assert (clock.window(3.0), clock.window(0.1)) == (1.5, 0.3)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), 2000.0])
async def test_a_scale_that_is_no_speed_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="time scale"):
        PlatformClock(ManualClock(), scale)
