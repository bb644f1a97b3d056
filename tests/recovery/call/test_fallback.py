"""A chain of candidates against functions and streams that are written out here, one step at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest

from mainstay.clock import SystemClock
from mainstay.errors import Category
from mainstay.messages import Hop
from mainstay.recovery.breaker.model import BreakerSettings, State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.recording import is_recorded
from mainstay.recovery.bulkhead import Bulkhead
from mainstay.recovery.call.candidate import Candidate
from mainstay.recovery.call.fallback import Fallback, NobodyAnswered
from mainstay.recovery.call.model import (
    Alive,
    Began,
    CallEvent,
    Done,
    GaveUp,
    Hopped,
    Item,
    Limits,
    Lost,
    Piece,
    Waiting,
)
from mainstay.recovery.deadline import left_s, within
from mainstay.recovery.model import Failure, RecoverySettings, TimedOut
from mainstay.recovery.retries import RetryBudget

pytestmark = pytest.mark.anyio
CLOCK = SystemClock()
ONCE = RecoverySettings(retries=0)
UNLIMITED = Limits()
QUICK = RecoverySettings(retry_base=0.1, retry_cap=0.1)
Stream = Callable[[], AsyncGenerator[Piece[str, str], None]]
Events = list[CallEvent[str, str]]


async def run(
    *streams: Stream, limits: Limits = UNLIMITED, deadline: float = 10, settings: RecoverySettings = ONCE
) -> Events:
    chain = {str(number): stream for number, stream in enumerate(streams)}
    candidates = [Candidate(name, stream, limits=limits) for name, stream in chain.items()]
    asking = Fallback(candidates, settings=settings).run(
        lambda candidate: chain[candidate.name](), deadline=CLOCK.monotonic() + deadline
    )
    async with aclosing(asking) as events:
        return [event async for event in events if not isinstance(event, Began)]


async def good() -> AsyncGenerator[Piece[str, str], None]:
    yield Item("good", 4)
    yield Done("answer")


async def cut_off() -> AsyncGenerator[Piece[str, str], None]:
    yield Item("half", 4)


async def broken() -> AsyncGenerator[Piece[str, str], None]:
    yield Item("half", 4)
    raise ConnectionResetError("reset")


async def silent() -> AsyncGenerator[Piece[str, str], None]:
    await asyncio.Event().wait()
    yield Item("never")


async def stalled() -> AsyncGenerator[Piece[str, str], None]:
    yield Item("half", 4)
    await asyncio.Event().wait()


async def endless() -> AsyncGenerator[Piece[str, str], None]:
    while True:
        await asyncio.sleep(0.001)
        yield Alive()


async def test_a_good_answer_is_passed_on_with_the_name_of_who_gave_it() -> None:
    assert await run(good) == [Item("good", 4), Done("answer", "0")]


@pytest.mark.parametrize(("stream", "category"), [(cut_off, Category.MALFORMED), (broken, Category.CONNECTION)])
async def test_a_stream_that_ends_early_is_a_failure_and_the_next_is_asked(
    stream: Stream, category: Category
) -> None:
    half, lost, hopped, text, done = await run(stream, good)
    assert half == Item("half", 4)
    assert isinstance(lost, Lost)
    assert (lost.candidate, lost.failure.category, lost.shown) == ("0", category, 4)
    hop = Hop(from_model="0", to_model="1", category=category, shown_chars=4, elapsed_s=lost.elapsed_s)
    assert hopped == Hopped(hop)
    assert (text, done) == (Item("good", 4), Done("answer", "1"))


async def test_the_last_failure_ends_the_call() -> None:
    *_, lost, gave_up = await run(broken, cut_off)
    assert isinstance(lost, Lost)
    assert gave_up == GaveUp(failure=lost.failure)


@pytest.mark.parametrize(
    ("stream", "limits", "deadline", "limit"),
    [
        (silent, Limits(first_token_s=0.02), 10, "first token"),
        (stalled, Limits(first_token_s=5, idle_s=0.02), 10, "idle"),
        (endless, Limits(idle_s=5, total_s=0.05), 10, "total"),
        (silent, Limits(), 0.6, "deadline"),
    ],
)
async def test_each_limit_ends_an_attempt(stream: Stream, limits: Limits, deadline: float, limit: str) -> None:
    events = await run(stream, limits=limits, deadline=deadline)
    lost = next(event for event in events if isinstance(event, Lost))
    assert isinstance(lost.error, TimedOut)
    assert lost.error.limit == limit
    assert lost.failure.category is Category.TIMEOUT


async def test_a_reader_who_takes_long_is_no_idle_candidate() -> None:
    chain = Fallback([Candidate("a", good, limits=Limits(idle_s=0.02))])
    async with aclosing(chain.run(lambda _: good())) as events:
        assert await anext(events) == Began("a")
        assert await anext(events) == Item("good", 4)
        await asyncio.sleep(0.05)
        assert await anext(events) == Done("answer", "a")


async def test_a_timeout_of_the_other_side_s_own_is_one_failure_like_any_other() -> None:
    async def late() -> AsyncGenerator[Piece[str, str], None]:
        yield Alive()
        raise TimeoutError("theirs")

    events = await run(late, good)
    assert isinstance(events[0], Lost)
    assert not isinstance(events[0].error, TimedOut)
    assert events[-1] == Done("answer", "1")


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_the_attempt_is_closed_with_the_call_and_counts_as_nobody_s_failure(how: str) -> None:
    closed = asyncio.Event()

    async def watched() -> AsyncGenerator[Piece[str, str], None]:
        try:
            yield Item("half", 4)
            await asyncio.Event().wait()
        finally:
            closed.set()

    breaker, bulkhead, heard = Breaker("a"), Bulkhead("a", 1, 0), list[object]()
    candidates = [Candidate("a", watched, breaker=breaker, bulkhead=bulkhead), Candidate("b", watched)]
    events = Fallback(candidates, on_event=heard.append).run(lambda _: watched())
    assert await anext(events) == Began("a")
    assert await anext(events) == Item("half", 4)
    assert bulkhead.running == 1
    if how == "cancel":
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(events)
    else:
        await events.aclose()
    assert closed.is_set()
    assert [event async for event in events] == []
    assert (breaker.snapshot().calls, bulkhead.running, heard) == (0, 0, [])


async def test_a_call_that_is_closed_before_its_first_attempt_began_gives_everything_back() -> None:
    breaker, bulkhead = Breaker("b"), Bulkhead("b", 1, 0)
    candidates = [Candidate("a", broken), Candidate("b", good, breaker=breaker, bulkhead=bulkhead)]
    chain = {"a": broken, "b": good}
    async with aclosing(Fallback(candidates).run(lambda candidate: chain[candidate.name]())) as events:
        async for event in events:
            if isinstance(event, Hopped):
                break
    assert (breaker.snapshot().calls, bulkhead.running) == (0, 0)


async def ok(question: str) -> str:
    return f"{question}: yes"


async def bad(question: str) -> str:
    raise ConnectionError("no")


async def wrong(question: str) -> str:
    raise ValueError("a bug")


async def hanging(question: str) -> str:
    await asyncio.Event().wait()
    return question


async def test_a_function_is_called_until_one_returns() -> None:
    assert await Fallback([Candidate("a", bad), Candidate("b", ok)])("really") == "really: yes"


async def test_when_nobody_returns_the_reason_and_the_real_error_are_raised() -> None:
    with pytest.raises(NobodyAnswered) as raised:
        await Fallback([Candidate("a", bad), Candidate("b", bad)], settings=ONCE)("really")
    assert raised.value.gave_up.failure.category is Category.CONNECTION
    assert isinstance(raised.value.__cause__, ConnectionError)


async def test_a_bug_is_asked_of_nobody_else() -> None:
    with pytest.raises(NobodyAnswered) as raised:
        await Fallback([Candidate("a", wrong), Candidate("b", ok)])("really")
    assert isinstance(raised.value.__cause__, ValueError)


async def test_a_function_has_limits_too_and_the_whole_call_has_one() -> None:
    limited = Candidate("a", hanging, limits=Limits(total_s=0.02))
    assert await Fallback([limited, Candidate("b", ok)])("late") == "late: yes"
    hasty = RecoverySettings(min_attempt=0.01)
    with pytest.raises(NobodyAnswered) as raised:
        await Fallback([Candidate("a", hanging), Candidate("b", ok)], timeout_s=0.05, settings=hasty)("late")
    assert isinstance(raised.value.__cause__, TimedOut)
    assert raised.value.__cause__.limit == "deadline"


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_cancellation_of_what_is_only_waited_for_is_a_failure_like_any_other(streaming: bool) -> None:
    shared: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    shared.cancel()  # whoever else waited for it was cancelled

    async def renewed(_question: str) -> str:
        return await shared

    async def stream(question: str) -> AsyncGenerator[str, None]:
        yield await renewed(question)

    async def letters(_question: str) -> AsyncGenerator[str, None]:
        yield "a"

    if not streaming:
        assert await Fallback([Candidate("a", renewed), Candidate("b", ok)])("it") == "it: yes"
        return
    async with aclosing(Fallback([Candidate("a", stream), Candidate("b", letters)]).stream("it")) as events:
        seen = [event async for event in events]
    assert [type(event) for event in seen] == [Lost, Hopped, Item, Done]
    assert isinstance(seen[0], Lost)
    assert seen[0].failure.category is Category.CONNECTION


async def test_cancelling_a_call_reaches_the_function_and_passes() -> None:
    reached = asyncio.Event()

    async def noticing(question: str) -> str:
        try:
            return await hanging(question)
        except asyncio.CancelledError:
            reached.set()
            raise

    breaker = Breaker("a")
    async with asyncio.TaskGroup() as tasks:
        call = Fallback([Candidate("a", noticing, breaker=breaker), Candidate("b", ok)])("never")
        calling = tasks.create_task(call)
        await asyncio.sleep(0)
        calling.cancel()
    assert calling.cancelled()
    assert reached.is_set()
    assert breaker.snapshot().calls == 0


def failing(times: int, error: Exception) -> tuple[Callable[[], Awaitable[str]], list[int]]:
    """A function that fails so often before it returns, and where its calls are counted."""
    calls: list[int] = []

    async def call() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "at last"

    return call, calls


async def test_with_nobody_else_left_what_passes_is_tried_again() -> None:
    call, calls = failing(2, ConnectionError("for a moment"))
    heard: list[object] = []
    chain = Fallback([Candidate("only", call)], settings=QUICK, on_event=heard.append)
    assert await chain() == "at last"
    assert len(calls) == 3
    kinds = [type(event) for event in heard]
    assert kinds == [Lost, Waiting, Hopped, Lost, Waiting, Hopped]


async def test_retries_end_when_their_budget_does() -> None:
    budget = RetryBudget(capacity=7)
    call, calls = failing(9, ConnectionError("down"))
    chain = Fallback([Candidate("only", call, retries=budget)], settings=QUICK)
    with pytest.raises(NobodyAnswered):
        await chain()
    assert (len(calls), budget.tokens) == (2, 2)


def test_a_budget_charges_more_for_timeouts_and_is_paid_back_by_what_goes_well() -> None:
    budget = RetryBudget(capacity=20)
    assert budget.take(Category.TIMEOUT)
    assert budget.take(Category.SERVER_ERROR)
    assert not budget.take(Category.TIMEOUT)
    for _ in range(30):
        budget.succeeded()
    assert budget.tokens == 20


async def test_a_candidate_that_is_left_alone_is_not_asked_and_the_hop_says_why() -> None:
    down = Breaker("down", BreakerSettings(min_calls=1))
    call, calls = failing(9, ConnectionError("down"))
    heard: list[object] = []
    chain = Fallback(
        [Candidate("down", call, breaker=down), Candidate("up", failing(0, ValueError())[0])],
        settings=ONCE,
        on_event=heard.append,
    )
    assert await chain() == "at last"
    assert down.state is State.OPEN
    heard.clear()
    assert await chain() == "at last"
    assert len(calls) == 1
    (hopped,) = heard
    assert isinstance(hopped, Hopped)
    assert (hopped.hop.from_model, hopped.hop.to_model) == ("down", "up")
    assert (hopped.hop.category, hopped.hop.elapsed_s) == (Category.CONNECTION, 0.0)


async def test_the_last_of_the_chain_is_tried_once_although_its_breaker_is_open() -> None:
    breakers = [Breaker(name, BreakerSettings(min_calls=1, open_time=60)) for name in "ab"]
    asked: list[str] = []

    def down(name: str) -> Callable[[], Awaitable[str]]:
        async def call() -> str:
            asked.append(name)
            raise ConnectionError("down")

        return call

    candidates = [Candidate(each.name, down(each.name), breaker=each) for each in breakers]
    chain = Fallback(candidates, settings=ONCE)
    for _ in range(4):
        with pytest.raises(NobodyAnswered):
            await chain()
    assert asked == ["a", "b", "b"]
    with pytest.raises(NobodyAnswered) as raised:
        await chain()
    assert raised.value.gave_up.why == "left_alone"
    assert raised.value.gave_up.failure.category is Category.CONNECTION
    assert raised.value.gave_up.wait_s is not None
    assert raised.value.gave_up.wait_s > 30


async def test_an_open_breaker_ends_the_retries() -> None:
    call, calls = failing(9, ConnectionError("down"))
    breaker = Breaker("only", BreakerSettings(min_calls=2, open_time=60))
    settings = RecoverySettings(retries=2, retry_base=0.001, retry_cap=0.002, longest_wait=1)
    with pytest.raises(NobodyAnswered):
        await Fallback([Candidate("only", call, breaker=breaker)], settings=settings)()
    # the second failure opens it; what is left is the one try of a last resort
    assert len(calls) == 3


async def test_where_every_place_is_taken_the_next_candidate_is_asked_or_the_person_told() -> None:
    bulkhead = Bulkhead("a", 1, 0)
    await bulkhead.enter(1)
    full = Candidate("a", ok, bulkhead=bulkhead)
    with_a_line = Bulkhead("a", 1, 1)
    await with_a_line.enter(1)
    for each in (full, Candidate("a", ok, bulkhead=with_a_line)):
        assert await Fallback([each, Candidate("b", ok)], timeout_s=1)("busy") == "busy: yes"
    assert (bulkhead.refused, with_a_line.refused, with_a_line.waiting) == (1, 1, 0)
    with pytest.raises(NobodyAnswered) as raised:
        await Fallback([full])("busy")
    assert raised.value.gave_up.why == "busy"
    bulkhead.leave()
    assert await Fallback([full])("busy") == "busy: yes"


async def test_what_must_not_be_asked_is_passed_over_or_told() -> None:
    no = Failure(category=Category.QUOTA_EXHAUSTED, message="the budget is used up")
    candidates = [Candidate("paid", good), Candidate("free", good)]
    refuse = {"paid": no}.get
    async with aclosing(Fallback(candidates).run(lambda _: good(), refuse=refuse)) as events:
        assert [event async for event in events][-1] == Done("answer", "free")
    async with aclosing(Fallback(candidates[:1]).run(lambda _: good(), refuse=refuse)) as events:
        assert [event async for event in events] == [GaveUp(failure=no, why="forbidden")]


@pytest.mark.parametrize("complete", [None, lambda piece: piece == "c"])
async def test_an_iterator_is_read_to_its_end(complete: Callable[[str], bool] | None) -> None:
    async def letters(first: str) -> AsyncGenerator[str, None]:
        for letter in (first, "b", "c"):
            yield letter

    chain = Fallback([Candidate("a", letters)], complete=complete)
    async with aclosing(chain.stream("a")) as events:
        assert [event async for event in events] == [Item("a"), Item("b"), Item("c"), Done(None, "a")]


async def test_an_iterator_may_be_given_by_an_async_function_and_is_closed_with_the_call() -> None:
    class Letters:
        """As the streams of SDKs are: an iterator, no generator."""

        closed = False

        def __aiter__(self) -> "Letters":
            return self

        async def __anext__(self) -> str:
            return "a"

        async def aclose(self) -> None:
            self.closed = True

    letters = Letters()

    async def opened() -> Letters:
        return letters

    async with aclosing(Fallback([Candidate("a", opened)]).stream()) as events:
        assert await anext(events) == Item("a")
        assert not letters.closed
    assert letters.closed


async def test_an_iterator_that_can_not_even_be_made_is_a_failure_and_the_next_is_asked() -> None:
    def unreachable() -> AsyncIterator[str]:
        raise ConnectionRefusedError("nobody is there")

    async def letters() -> AsyncGenerator[str, None]:
        yield "a"

    async with aclosing(Fallback([Candidate("a", unreachable), Candidate("b", letters)]).stream()) as events:
        assert [type(event) async for event in events] == [Lost, Hopped, Item, Done]


@pytest.mark.parametrize("name", ["first_token_s", "idle_s", "total_s"])
@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_a_limit_that_makes_no_sense_is_refused_by_name(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: wrong})


@pytest.mark.parametrize("wrong", [0, -1, float("nan")])
def test_what_could_never_carry_a_call_through_is_refused_before_the_first(wrong: float) -> None:
    with pytest.raises(ValueError, match="timeout_s must be more than 0"):
        Fallback([Candidate("a", ok)], timeout_s=wrong)
    with pytest.raises(ValueError, match="a chain without candidates"):
        Fallback([])
    with pytest.raises(ValueError, match="1 place or more"):
        Bulkhead("a", 0, 1)
    with pytest.raises(ValueError, match="0 or more"):
        RetryBudget(-1)


async def test_an_iterator_that_ends_before_it_is_complete_was_cut_off() -> None:
    async def letters(last: str) -> AsyncGenerator[str, None]:
        yield "a"
        yield last

    def truncated(_last: str) -> AsyncIterator[str]:
        return letters("b")

    chain = Fallback(
        [Candidate("a", truncated), Candidate("b", letters)], complete=lambda piece: piece == "c", settings=ONCE
    )
    async with aclosing(chain.stream("c")) as events:
        seen = [event async for event in events]
    assert [type(event) for event in seen] == [Item, Item, Lost, Hopped, Item, Item, Done]
    assert isinstance(seen[2], Lost)
    assert seen[2].failure.category is Category.MALFORMED


async def test_a_listener_that_raises_does_not_decide_how_a_call_ends() -> None:
    def angry(_event: object) -> None:
        raise RuntimeError("not my day")

    assert await Fallback([Candidate("a", bad), Candidate("b", ok)], on_event=angry)("still") == "still: yes"


async def test_what_runs_inside_knows_by_when_it_has_to_be_done_and_who_records_it() -> None:
    breaker, seen = Breaker("a"), list[tuple[float | None, bool]]()

    async def look() -> str:
        seen.append((left_s(), is_recorded(breaker)))
        return "seen"

    chain = Fallback([Candidate("a", look, breaker=breaker, limits=Limits(total_s=50))])
    with within(20):
        await chain()
    await chain()
    await Fallback([Candidate("a", look, breaker=breaker)])()
    known = [(round(left, -1) if left else left, recorded) for left, recorded in seen]
    assert known == [(20, True), (50, True), (None, True)]
    assert (left_s(), is_recorded(breaker)) == (None, False)


async def test_the_deadline_around_a_call_ends_it() -> None:
    hasty = RecoverySettings(min_attempt=0.01)
    with within(0.05), pytest.raises(NobodyAnswered) as raised:
        await Fallback([Candidate("a", hanging), Candidate("b", ok)], settings=hasty)("late")
    assert isinstance(raised.value.__cause__, TimedOut)
    assert raised.value.__cause__.limit == "deadline"


async def test_whoever_reads_a_stream_is_bound_by_nothing_of_it_in_between() -> None:
    breaker = Breaker("a")

    async def letters() -> AsyncGenerator[str, None]:
        assert is_recorded(breaker)
        yield "a"
        assert is_recorded(breaker)

    chain = Fallback([Candidate("a", letters, breaker=breaker, limits=Limits(total_s=50))])
    async with aclosing(chain.stream()) as events:
        async for _ in events:
            assert (left_s(), is_recorded(breaker)) == (None, False)
    assert breaker.snapshot().calls == 1
