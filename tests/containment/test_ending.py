"""The first failure decides, from whichever thread it comes, and the process has a time by which it has ended."""

import asyncio
import threading

import pytest
from tests.containment.conftest import Ended

from mainstay.bus import Bus
from mainstay.containment.ending import Ending
from mainstay.containment.model import ServiceFailed
from mainstay.errors import ConfigError
from mainstay.events import ServiceFailing

pytestmark = pytest.mark.anyio


async def test_only_the_first_failure_counts(ended: Ended) -> None:
    first = ConfigError("first")
    ended.ending.fail(first)
    ended.ending.fail(ServiceFailed("second"))
    async with asyncio.timeout(20):
        await ended.ending.asked.wait()
    assert ended.ending.failure is first
    assert ended.events == [ServiceFailing(reason="first")]
    assert ended.end_by == [7.0]


async def test_a_failure_of_another_thread_is_timed_at_once_and_told_on_the_loop(ended: Ended) -> None:
    thread = threading.Thread(target=ended.ending.fail, args=[ServiceFailed("gone")])
    thread.start()
    thread.join()  # the loop has not turned since
    assert ended.end_by == [7.0]
    assert ended.events == []
    async with asyncio.timeout(20):
        await ended.ending.asked.wait()
    assert ended.events == [ServiceFailing(reason="gone")]


@pytest.mark.usefixtures("ended")
async def test_a_process_without_a_thread_to_spare_still_ends() -> None:
    def no_more_threads(_: float) -> None:
        raise RuntimeError("can't start new thread")

    ending = Ending(Bus(), within_s=1.0, end_by=no_more_threads)
    ending.fail(ServiceFailed("gone"))
    async with asyncio.timeout(20):
        await ending.asked.wait()
    assert str(ending.failure) == "gone"
