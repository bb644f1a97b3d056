"""The deadline that holds where code runs."""

import asyncio
from contextvars import copy_context
from threading import Thread

import pytest
from pydantic_ai.tools import ToolDefinition

from mainstay.agents.tools import FunctionTool
from mainstay.clock import SystemClock
from mainstay.recovery.deadline import left_s, until, within

NEVER = float("inf")


def test_there_is_none_unless_one_is_set() -> None:
    assert left_s() is None
    with within(60):
        left = left_s()
        assert left is not None
        assert 0 < left <= 60
    assert left_s() is None


@pytest.mark.parametrize(("outer_s", "inner_s"), [(60, 3600), (3600, 60)])
def test_the_earlier_one_wins_whoever_set_it(outer_s: float, inner_s: float) -> None:
    with within(outer_s), until(SystemClock.monotonic() + inner_s):
        assert (left_s() or NEVER) <= 60
    with until(SystemClock.monotonic() + outer_s):
        with within(inner_s):
            assert (left_s() or NEVER) <= 60
        assert ((left_s() or NEVER) > 60) is (outer_s > 60)


def test_one_that_never_comes_is_none() -> None:
    with within(float("inf")):
        assert left_s() is None


def test_what_is_left_after_it_is_negative() -> None:
    with within(-1):
        assert (left_s() or NEVER) <= -1


def test_it_ends_with_its_block_however_that_ends() -> None:
    with pytest.raises(KeyError), within(1):
        raise KeyError
    assert left_s() is None


@pytest.mark.parametrize("block", [within, until])
def test_what_is_no_number_is_refused(block: object) -> None:
    assert callable(block)
    with pytest.raises(ValueError, match="NaN"), block(float("nan")):
        pass
    assert left_s() is None


def test_it_is_known_in_a_thread_that_was_given_the_context() -> None:
    seen: list[float | None] = []
    with within(60):
        copied = Thread(target=copy_context().run, args=(lambda: seen.append(left_s()),))
        bare = Thread(target=lambda: seen.append(left_s()))
        for thread in (copied, bare):
            thread.start()
            thread.join()
    assert (seen[0] or NEVER) <= 60
    assert seen[1] is None


@pytest.mark.anyio
async def test_it_is_known_in_the_tasks_that_were_begun_under_it_and_in_no_others() -> None:
    async def left() -> float | None:
        return left_s()

    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(left())
        with within(60):
            mine = tasks.create_task(left())
    assert (mine.result() or NEVER) <= 60
    assert other.result() is None


@pytest.mark.anyio
async def test_it_reaches_tools_async_or_not() -> None:
    def in_a_thread() -> bool:
        return (left_s() or NEVER) <= 60

    async def in_a_task() -> bool:
        return in_a_thread()

    for function in (in_a_thread, in_a_task):
        tool = FunctionTool(definition=ToolDefinition(name="left"), function=function, effects=False)
        with tool.admit() as run:
            with within(60):
                assert (await run({}, 10)).text == "true"
            assert (await run({}, 10)).text == "false"
