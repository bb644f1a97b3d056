"""A loop that does not go on is seen from outside of it, and what it was doing is kept."""

import asyncio
import logging
import time
from pathlib import Path

import pytest

from mainstay.containment.blocked import stacks, watching_the_loop
from mainstay.notify import STACKS, Notifier

pytestmark = pytest.mark.anyio

DEADLINE_S = 30.0


def notifier(tmp_path: Path) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "400000", STACKS: str(tmp_path / "web-0")})


def block_until(path: Path) -> str:
    until_s = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < until_s
        time.sleep(0.005)
    return path.read_text()


def block_for(seconds: float) -> None:
    time.sleep(seconds)


async def test_a_loop_that_goes_on_after_all_leaves_one_warning_with_its_stack(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    told = notifier(tmp_path)
    with watching_the_loop(told):
        telling = asyncio.create_task(told.keep_alive(), name="telling")
        await asyncio.sleep(0)
        kept = block_until(tmp_path / "web-0")
        until_s = time.monotonic() + DEADLINE_S
        while not caplog.records:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.005)
        assert not (tmp_path / "web-0").exists(), "what is over is no evidence"
        block_until(tmp_path / "web-0")
        telling.cancel()
    assert "in block_until" in kept
    assert "task telling:" in kept
    assert "in keep_alive" in kept
    [record] = caplog.records
    assert "the event loop was blocked for" in record.getMessage()
    assert "in block_until" in record.getMessage()


async def test_a_process_that_may_not_write_its_stacks_down_is_watched_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "closed").touch()
    told = notifier(tmp_path / "closed")
    assert told.watchdog_s is not None
    with watching_the_loop(told):
        telling = asyncio.create_task(told.keep_alive(), name="telling")
        await asyncio.sleep(0)
        block_for(told.watchdog_s)
        until_s = time.monotonic() + DEADLINE_S
        while not caplog.records:
            assert time.monotonic() < until_s
            await asyncio.sleep(0.005)
        telling.cancel()


async def test_a_task_is_shown_down_to_what_it_waits_for() -> None:
    async def outer() -> None:
        await inner()

    async def inner() -> None:
        async for _ in endless():
            pass

    async def endless():
        await asyncio.Event().wait()
        yield

    task = asyncio.create_task(outer(), name="turn 1")
    await asyncio.sleep(0)
    shown = stacks(asyncio.get_running_loop())
    task.cancel()
    of_task = shown.partition("task turn 1:")[2]
    for name in ("outer", "inner", "endless", "wait"):
        assert f"in {name}\n" in of_task


async def test_what_a_task_works_on_is_not_shown() -> None:
    async def answer(text: str) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(answer("sk-secret-of-somebody"), name="turn 2 " + "x" * 10_000)
    await asyncio.sleep(0)
    shown = stacks(asyncio.get_running_loop())
    task.cancel()
    assert "in answer" in shown
    assert "x" * 200 not in shown
    assert len(shown) <= 60_000
