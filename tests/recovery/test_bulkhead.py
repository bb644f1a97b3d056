"""Places are given in turn, and come back whatever happens to those who waited."""

import asyncio

import pytest

from mainstay.recovery.bulkhead import Bulkhead, Bulkheads, Busy

pytestmark = pytest.mark.anyio


async def test_a_place_goes_to_whoever_has_waited_longest_and_a_full_line_is_said_at_once() -> None:
    bulkhead, entered = Bulkhead("a", 1, 2), list[str]()

    async def enter(name: str) -> None:
        await bulkhead.enter(60)
        entered.append(name)

    async with asyncio.TaskGroup() as tasks:
        await bulkhead.enter(60)
        for name in ("first", "second"):
            tasks.create_task(enter(name))
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="1 calls are under way and 2 are waiting"):
            await bulkhead.enter(60)
        bulkhead.leave()
        await asyncio.sleep(0)
        assert (entered, bulkhead.running, bulkhead.waiting) == (["first"], 1, 1)
        bulkhead.leave()
    bulkhead.leave()
    assert (entered, bulkhead.running, bulkhead.refused) == (["first", "second"], 0, 1)


@pytest.mark.parametrize("handed_over", [False, True])
async def test_whoever_leaves_the_line_takes_no_place_along(handed_over: bool) -> None:
    chats = Bulkheads(1, 2)
    await chats.enter("chat", "chat", 60)
    waiting = asyncio.create_task(chats.enter("chat", "chat", 60))
    await asyncio.sleep(0)
    if handed_over:  # at this very moment
        chats.leave("chat")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not handed_over:
        chats.leave("chat")
    assert chats._used == {}, "what nobody uses is forgotten"
    await chats.enter("chat", "chat", 0)


async def test_without_time_nobody_stands_in_line() -> None:
    bulkhead = Bulkhead("a", 1, 2)
    await bulkhead.enter(0)
    with pytest.raises(Busy):
        await bulkhead.enter(0)
    with pytest.raises(Busy, match=r"within 0\.01 s"):
        await bulkhead.enter(0.01)
    assert (bulkhead.running, bulkhead.waiting) == (1, 0)
