"""An owner that is gone is waited for, then given up."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mainstay.clock import SystemClock
from mainstay.sandbox.owner import Owner
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


async def test_who_belongs_to_nobody_is_never_orphaned() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await Owner(0, 0.0, SystemClock()).orphaned()


async def test_without_its_owner_it_is_orphaned_after_the_grace(other: subprocess.Popen[bytes]) -> None:
    owner = Owner(other.pid, 0.1, SystemClock())
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        watching = group.create_task(owner.orphaned())
        await asyncio.sleep(0)
        assert not watching.done()
        other.communicate()


async def test_a_new_owner_within_the_grace_ends_the_wait(other: subprocess.Popen[bytes]) -> None:
    owner = Owner(other.pid, 0.3, SystemClock())
    other.communicate()
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(owner.orphaned())
        await asyncio.sleep(0)
        assert owner.adopt(os.getpid())
        done, _ = await asyncio.wait({watching}, timeout=1.0)
        assert not done
        watching.cancel()
    assert owner.pid == os.getpid()


async def test_the_grace_begins_anew_with_every_owner_that_goes(other: subprocess.Popen[bytes]) -> None:
    clock = ManualClock()
    owner = Owner(other.pid, 60.0, clock)
    assert not owner.overdue()
    other.communicate()
    assert not owner.overdue()
    clock.advance(59)
    with subprocess.Popen(["sleep", "600"]) as last:  # noqa: ASYNC220
        assert owner.adopt(last.pid)
        assert not owner.overdue()
        clock.advance(59)
        last.kill()
    assert not owner.overdue()
    clock.advance(59)
    assert not owner.overdue()
    clock.advance(1)
    assert owner.overdue()


async def test_a_process_that_is_not_there_can_not_become_the_owner(other: subprocess.Popen[bytes]) -> None:
    owner = Owner(os.getpid(), 0.1, SystemClock())
    other.communicate()
    assert not owner.adopt(other.pid)
    assert owner.pid == os.getpid()
