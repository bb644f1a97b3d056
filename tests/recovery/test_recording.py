"""Whoever holds the permit says so, for its own breaker, and for as long as it waits."""

import asyncio
from collections.abc import AsyncGenerator
from contextvars import copy_context

import pytest

from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.recording import is_recorded, recording

ONE, OTHER = Breaker("same"), Breaker("same")


def test_only_the_very_breaker_is_recorded_and_only_inside() -> None:
    assert not is_recorded(ONE)
    with recording(ONE):
        assert is_recorded(ONE)
        assert not is_recorded(OTHER)
        with recording(OTHER):
            assert is_recorded(ONE)
            assert is_recorded(OTHER)
        assert not is_recorded(OTHER)
    assert not is_recorded(ONE)


def test_it_ends_with_its_block_however_that_ends() -> None:
    with pytest.raises(KeyError), recording(ONE):
        raise KeyError
    assert not is_recorded(ONE)


def test_threads_and_tasks_with_a_copy_of_the_context_are_recorded_too() -> None:
    with recording(ONE):
        context = copy_context()
    assert context.run(is_recorded, ONE)
    assert not is_recorded(ONE)


@pytest.mark.anyio
async def test_set_around_a_wait_it_does_not_reach_the_reader_of_a_stream() -> None:
    inside: list[bool] = []

    async def pieces() -> AsyncGenerator[int, None]:
        inside.append(is_recorded(ONE))
        await asyncio.sleep(0)
        yield 1

    async def watched() -> AsyncGenerator[int, None]:
        stream = pieces()
        while True:
            try:
                with recording(ONE):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            yield piece

    async for _ in watched():
        assert not is_recorded(ONE)
    assert inside == [True]
