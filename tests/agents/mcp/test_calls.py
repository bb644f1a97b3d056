"""A call of a server's tool is made once, in time, and ends in words for the model, whatever the server does."""

import asyncio
from contextlib import aclosing

import pytest
from tests.agents.mcp.conftest import Journal, Street, eventually, listening
from tests.agents.test_tools import crashed

from mainstay.agents.history import INTERRUPTED
from mainstay.events import ToolRan
from mainstay.messages import Outcome, TextAppended
from mainstay.recovery.breaker.model import BreakerSettings, State
from mainstay.testing.turns import StepsInMemory

pytestmark = pytest.mark.anyio

ORDER = 'call order {"item": "tea"}'
PRICE = 'call price {"item": "tea"}'


@pytest.fixture(params=["stdio", "http"])
async def shop(request, street: Street, journal: Journal):
    """A street with a shop that is connected, either way."""
    if request.param == "stdio":
        street.stdio("shop", read_only=("price",))
        async with street.open():
            yield street
    else:
        async with listening(journal) as served:
            street.at("shop", served.url, read_only=("price",))
            async with street.open():
                yield street


async def test_a_result_becomes_part_of_the_answer_and_is_recorded(shop: Street) -> None:
    steps = StepsInMemory()
    _, final = await shop.bench.ask(shop.responder(), ORDER, steps=steps)
    assert "The tool order returned: ordered tea" in final.text
    (step,) = steps.written.values()
    assert (step.tool, step.effects, step.state, step.result) == ("order", True, "finished", "ordered tea")
    assert step.arguments == '{"item":"tea"}'
    assert shop.journal.count("order tea") == 1
    assert [(event.tool, event.success) for event in shop.bench.heard_of(ToolRan)] == [("order", True)]


async def test_the_model_is_told_the_server_s_own_words_and_schema(shop: Street) -> None:
    await shop.bench.ask(shop.responder(), "hello")
    offered = {tool.name: tool for tool in shop.server().offer.tools}
    assert offered["price"].description.startswith("The price of an item.")
    assert offered["price"].schema["required"] == ["item"]
    assert [name for name, tool in offered.items() if not tool.effects] == ["price"]
    assert offered["shelf_list_978703dc"].called == "shelf.list"


async def test_what_is_no_text_is_named_and_control_characters_are_left_out(shop: Street) -> None:
    _, final = await shop.bench.ask(shop.responder(), "call shelf_list_978703dc")
    assert "[image, image/png, about 6 bytes: can not be shown here]" in final.text
    assert "[resource file:///shelf.txt]\ntea, top left\ntwo[31m shelves" in final.text


async def test_an_error_of_the_tool_s_own_is_told_and_says_nothing_about_the_server(shop: Street) -> None:
    steps = StepsInMemory()
    _, final = await shop.bench.ask(shop.responder(), "call refuse", steps=steps)
    assert final.outcome is Outcome.ANSWERED
    assert "Error executing tool refuse" in final.text
    assert [step.state for step in steps.written.values()] == ["failed"]
    snapshot = shop.server().breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (1, 0)


@pytest.mark.parametrize("shop", ["http"], indirect=True)
async def test_a_long_result_is_cut_and_the_model_is_told(shop: Street) -> None:
    steps = StepsInMemory()
    await shop.bench.ask(shop.responder(), 'call catalogue {"pages": 100000}', steps=steps)
    (step,) = steps.written.values()
    assert len(step.result) < 66_000
    assert step.result.endswith("[cut: this is the first 64KiB of 500000 bytes]")


async def test_a_result_that_is_not_even_taken_in_ends_in_an_answer_and_the_server_comes_back(shop: Street) -> None:
    _, final = await shop.bench.ask(shop.responder(), 'call catalogue {"pages": 1000000}')
    assert final.outcome is Outcome.ANSWERED
    assert "It may have taken effect: do not call it again." in final.text
    assert shop.server().breaker.snapshot().failures == 1
    await answers_again(shop)


async def answers_again(street: Street) -> None:
    """Ask until the server has come back."""
    async with asyncio.timeout(30):
        while True:
            _, final = await street.bench.ask(street.responder(), PRICE)
            if "tea costs 3" in final.text:
                return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("agent_s", "turn_s"), [(0.3, 30.0), (30.0, 1.0)], ids=["the agent's limit", "the turn's deadline"]
)
async def test_the_shortest_limit_ends_a_call_and_the_server_hears_of_it(
    shop: Street, agent_s: float, turn_s: float
) -> None:
    steps = StepsInMemory()
    responder = shop.responder(tool_timeout=agent_s)
    await shop.bench.ask(responder, "call wait", steps=steps, timeout_s=turn_s)
    (step,) = steps.written.values()
    assert step.result.startswith("The tool did not finish within ")
    assert step.result.endswith("It may still take effect: do not call it again.")
    await shop.journal.has("cancelled")
    await answers_again(shop)


async def test_the_server_s_own_limit_ends_a_call(street: Street) -> None:
    street.stdio("shop", timeout=0.3)
    async with street.open():
        _, final = await street.bench.ask(street.responder(), "call wait")
    assert "The tool did not finish within 0.3 seconds." in final.text


async def test_cancelling_the_turn_reaches_the_server(shop: Street) -> None:
    events = shop.bench.begin(shop.responder(), "call wait")

    async def listen() -> None:
        async with aclosing(events):
            async for _ in events:
                pass

    async with asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(listen())
        await shop.journal.has("wait")
        listening.cancel()
    await shop.journal.has("cancelled")
    assert shop.server().breaker.snapshot().calls == 0
    assert shop.server().calls == 0


async def test_an_action_that_may_have_happened_is_not_repeated_and_the_person_is_told(shop: Street) -> None:
    steps = await crashed(shop.bench, shop.responder(), ORDER)
    _, final = await shop.bench.ask(shop.responder(), ORDER, steps=steps)
    assert shop.journal.count("order tea") == 0
    assert INTERRUPTED in final.text
    assert final.notice.startswith("An action was interrupted")


async def test_an_action_that_only_reads_is_run_again(shop: Street) -> None:
    steps = await crashed(shop.bench, shop.responder(), PRICE)
    _, final = await shop.bench.ask(shop.responder(), PRICE, steps=steps)
    assert "tea costs 3" in final.text
    assert shop.journal.count("price tea") == 1
    assert final.notice == ""


async def test_a_result_keeps_over_a_crash(shop: Street) -> None:
    steps = StepsInMemory()
    events = shop.bench.begin(shop.responder(), ORDER, steps)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, TextAppended):
                break
    _, final = await shop.bench.ask(shop.responder(), ORDER, steps=steps.after_a_crash())
    assert "ordered tea" in final.text
    assert shop.journal.count("order tea") == 1


async def test_a_server_that_crashes_in_the_middle_of_a_call_leaves_an_answer_and_comes_back(
    street: Street,
) -> None:
    street.stdio("shop")
    async with street.open():
        _, final = await street.bench.ask(street.responder(), "call crash")
        assert final.outcome is Outcome.ANSWERED
        assert "It may have taken effect: do not call it again." in final.text
        assert street.journal.count("crash") == 1
        await answers_again(street)
        assert len(street.journal.pids) == 2


async def test_a_server_that_hangs_is_left_alone_and_no_other_one(street: Street) -> None:
    street.stdio("shop", "old_shop.py", timeout=0.2, prefix="old_", connect_timeout=20.0)
    street.stdio("other", prefix="new_")
    async with street.open(BreakerSettings(min_calls=3)):
        responder = street.responder()
        for _ in range(3):
            assert street.server().breaker.state is State.CLOSED
            await street.bench.ask(responder, "call old_block")
        assert street.server().breaker.state is State.OPEN
        steps = StepsInMemory()
        _, final = await street.bench.ask(responder, "call old_price", steps=steps)
        assert "The tool old_price is not available now." in final.text
        assert steps.written == {}
        _, final = await street.bench.ask(responder, 'call new_price {"item": "tea"}')
        assert "tea costs 3" in final.text
        condition = street.server().check()
        assert (condition.status, condition.affects_status, condition.required) == ("degraded", True, False)
        assert condition.reason.startswith("MCP server shop is left alone for ")
        assert condition.reason.endswith("after timeout")
        assert street.server("other").check().status == "ok"


async def test_a_cancelled_try_after_a_pause_gives_its_place_to_the_next(street: Street) -> None:
    street.stdio("shop", timeout=0.5)
    async with street.open(BreakerSettings(min_calls=1, calls=1, open_time=0.05)):
        responder = street.responder()
        await street.bench.ask(responder, "call wait")
        await eventually(lambda: street.server().breaker.state is State.HALF_OPEN)
        async with asyncio.TaskGroup() as tasks:
            trying = tasks.create_task(street.bench.ask(responder, "call wait"))
            await street.journal.has("wait", times=2)
            _, final = await street.bench.ask(responder, PRICE)
            assert "The tool price is not available now." in final.text
            trying.cancel()
        _, final = await street.bench.ask(responder, PRICE)
        assert "tea costs 3" in final.text
        assert street.server().breaker.state is State.CLOSED


async def test_an_intent_that_can_not_be_stored_says_nothing_about_the_server(shop: Street) -> None:
    class Full(StepsInMemory):
        async def intend(self, step: object) -> None:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        await shop.bench.ask(shop.responder(), ORDER, steps=Full())
    assert shop.server().breaker.snapshot().calls == 0
    assert shop.journal.count("order tea") == 0


async def test_an_answer_that_can_not_be_read_is_the_server_s_fault(street: Street) -> None:
    street.stdio("shop", "old_shop.py")
    async with street.open():
        _, final = await street.bench.ask(street.responder(), "call garbage")
        assert "its answer can not be read" in final.text
        assert "It may have taken effect: do not call it again." in final.text
        assert street.server().breaker.snapshot().failures == 1


async def test_what_a_server_asks_of_us_is_declined(street: Street) -> None:
    street.stdio("shop", "old_shop.py")
    async with street.open():
        _, final = await street.bench.ask(street.responder(), "call ask")
    assert "Sampling not supported, Elicitation not supported, List roots not supported" in final.text
