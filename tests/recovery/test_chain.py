"""The chain against streams that are written out here, one step at a time."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest

from mainstay.clock import SystemClock
from mainstay.errors import Category
from mainstay.recovery.chain import call
from mainstay.recovery.model import (
    Alive,
    Candidate,
    ChainEvent,
    Done,
    GaveUp,
    Hopped,
    Limits,
    Lost,
    Piece,
    Text,
    TimedOut,
)

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()
Stream = Callable[[], AsyncGenerator[Piece[str], None]]


async def run(
    *streams: Stream, first: float = 5, idle: float = 5, total: float = 5, deadline: float = 10
) -> list[ChainEvent[str]]:
    limits = Limits(first_token_s=first, idle_s=idle, total_s=total)
    chain = {str(number): stream for number, stream in enumerate(streams)}
    candidates = [Candidate(name=name, limits=limits) for name in chain]
    events = call(lambda name: chain[name](), candidates, deadline=CLOCK.monotonic() + deadline, clock=CLOCK)
    async with aclosing(events):
        return [event async for event in events]


async def good() -> AsyncGenerator[Piece[str], None]:
    yield Text("good")
    yield Done("answer")


async def cut_off() -> AsyncGenerator[Piece[str], None]:
    yield Text("half")


async def broken() -> AsyncGenerator[Piece[str], None]:
    yield Text("half")
    raise ConnectionResetError("reset")


async def silent() -> AsyncGenerator[Piece[str], None]:
    await asyncio.Event().wait()
    yield Text("never")


async def stalled() -> AsyncGenerator[Piece[str], None]:
    yield Text("half")
    await asyncio.Event().wait()


async def endless() -> AsyncGenerator[Piece[str], None]:
    while True:
        await asyncio.sleep(0.001)
        yield Alive()


async def test_a_good_answer_is_passed_on_with_the_model_that_gave_it() -> None:
    assert await run(good) == [Text("good"), Done("answer", "0")]


@pytest.mark.parametrize(("stream", "category"), [(cut_off, Category.MALFORMED), (broken, Category.CONNECTION)])
async def test_a_stream_that_ends_early_is_a_failure_and_the_next_model_is_asked(
    stream: Stream, category: Category
) -> None:
    half, lost, hopped, text, done = await run(stream, good)
    assert half == Text("half")
    assert isinstance(lost, Lost)
    assert (lost.model, lost.failure.category, lost.shown_chars) == ("0", category, 4)
    assert isinstance(hopped, Hopped)
    assert (hopped.hop.from_model, hopped.hop.to_model, hopped.hop.category) == ("0", "1", category)
    assert (text, done) == (Text("good"), Done("answer", "1"))


async def test_the_last_model_s_failure_ends_the_call() -> None:
    *_, lost, gave_up = await run(broken, cut_off)
    assert isinstance(lost, Lost)
    assert gave_up == GaveUp(lost.failure)


@pytest.mark.parametrize(
    ("stream", "limits", "limit"),
    [
        (silent, {"first": 0.02}, "first token"),
        (stalled, {"idle": 0.02}, "idle"),
        (endless, {"total": 0.05}, "total"),
        (silent, {"deadline": 0.6}, "deadline"),
    ],
)
async def test_each_limit_ends_an_attempt(stream: Stream, limits: dict[str, float], limit: str) -> None:
    events = await run(stream, **limits)
    lost = next(event for event in events if isinstance(event, Lost))
    assert isinstance(lost.error, TimedOut)
    assert lost.error.limit == limit
    assert lost.failure.category is Category.TIMEOUT


async def test_a_reader_who_takes_long_is_no_idle_model() -> None:
    limits = Limits(first_token_s=5, idle_s=0.02, total_s=5)
    events = call(
        lambda _: good(), [Candidate(name="a", limits=limits)], deadline=CLOCK.monotonic() + 10, clock=CLOCK
    )
    async with aclosing(events):
        assert await anext(events) == Text("good")
        await asyncio.sleep(0.05)
        assert await anext(events) == Done("answer", "a")


async def test_a_timeout_of_the_provider_s_own_is_one_failure_like_any_other() -> None:
    async def late() -> AsyncGenerator[Piece[str], None]:
        yield Alive()
        raise TimeoutError("theirs")

    events = await run(late, good)
    assert isinstance(events[0], Lost)
    assert not isinstance(events[0].error, TimedOut)
    assert events[-1] == Done("answer", "1")


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_the_attempt_s_stream_is_closed_with_the_call(how: str) -> None:
    closed = asyncio.Event()

    async def watched() -> AsyncGenerator[Piece[str], None]:
        try:
            yield Text("half")
            await asyncio.Event().wait()
        finally:
            closed.set()

    limits = Limits(first_token_s=5, idle_s=5, total_s=5)
    candidates = [Candidate(name="a", limits=limits), Candidate(name="b", limits=limits)]
    events = call(lambda _: watched(), candidates, deadline=CLOCK.monotonic() + 10, clock=CLOCK)
    assert await anext(events) == Text("half")
    if how == "cancel":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(events)
    else:
        await events.aclose()
    assert closed.is_set()
    assert [event async for event in events] == []
