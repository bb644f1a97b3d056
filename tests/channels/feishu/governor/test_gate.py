"""Calls that wait for their turn, on a real loop; the governor's time is moved by hand."""

import asyncio
import time
from datetime import UTC, datetime

import pytest

from mainstay.channels.feishu.governor.calls import call_of
from mainstay.channels.feishu.governor.gate import Gate, NoTurn
from mainstay.channels.feishu.governor.model import Mode
from mainstay.channels.feishu.governor.quota import Quota, month_of
from mainstay.channels.feishu.machine import Action, Refusal
from mainstay.channels.feishu.model import FeishuSettings
from mainstay.errors import Category
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

UPDATE = call_of("PUT", "/open-apis/cardkit/v1/cards/7/elements/answer/content")
FINAL = call_of("PUT", "/open-apis/cardkit/v1/cards/7")
REPLY = call_of("POST", "/open-apis/im/v1/messages/om_1/reply", chat_id="oc_1")
REACTION = call_of("POST", "/open-apis/im/v1/messages/om_1/reactions")
TOO_OFTEN = Refusal(action=Action.WAIT, category=Category.RATE_LIMIT, reason="too often", wait_s=5.0)
NONE_LEFT = Refusal(action=Action.QUOTA, category=Category.QUOTA_EXHAUSTED, reason="none left")
MONTHLY = 1000


class Desk:
    def __init__(self, **changes: object) -> None:
        self.clock = ManualClock(datetime(2026, 11, 10, tzinfo=UTC))
        self.quota = Quota(MONTHLY)
        self.modes: list[Mode] = []
        settings = FeishuSettings(app_id="cli_1", **changes)
        self.gate = Gate(settings, quota=self.quota, clock=self.clock, on_mode=self.modes.append)

    async def make(self, call, refusal=None):
        async with self.gate.turn(call) as ticket:
            self.gate.learn(call, ticket, refusal)

    def start(self, work):
        return asyncio.get_running_loop().create_task(work)

    def use_up(self, calls: int) -> None:
        self.quota.used(self.clock.now())
        self.quota.learn(month_of(self.clock.now()), calls, None)

    def answered_s(self, call) -> float:
        """When the last call of this API was counted."""
        return self.gate._governor._bucket(call.buckets[0])._answered[-1]

    def is_room_for(self, call) -> bool:
        now_s = self.clock.monotonic()
        return all(self.gate._governor._bucket(key).free_s(now_s) == now_s for key in call.buckets)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def until_waiting(desk, count):
    async with asyncio.timeout(20):
        while desk.gate.waiting != count:  # noqa: ASYNC110  it is this loop's own turn that is waited for
            await asyncio.sleep(0)


async def test_who_waits_goes_when_another_s_end_shows_that_there_is_a_place(desk):
    for _ in range(5):
        await desk.make(REPLY)
    waiting = [desk.start(desk.make(REPLY)) for _ in range(2)]
    await until_waiting(desk, 2)
    desk.clock.advance(1.0)
    await desk.make(UPDATE)
    await asyncio.wait(waiting)
    assert all(task.exception() is None for task in waiting)
    assert desk.gate.waiting == 0


async def test_a_call_that_is_cancelled_leaves_its_place_to_the_next(desk):
    for _ in range(5):
        await desk.make(REPLY)
    *waiting, last = [desk.start(desk.make(REPLY)) for _ in range(20)]
    await until_waiting(desk, 20)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert desk.gate.waiting == 1
    desk.clock.advance(1.0)
    desk.gate._go()
    await last


async def test_a_call_that_is_cancelled_the_moment_it_may_go_gives_its_place_back(desk):
    for _ in range(5):
        await desk.make(REPLY)
    waiting = desk.start(desk.make(REPLY))
    await until_waiting(desk, 1)
    desk.clock.advance(1.0)
    desk.gate._go()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert waiting.cancelled()
    for _ in range(5):
        await desk.make(REPLY)
    assert not desk.is_room_for(REPLY)


async def test_a_place_that_comes_in_the_moment_in_which_patience_ends_is_taken():
    desk = Desk(queue_wait=0.05)
    await desk.make(UPDATE, Refusal(action=Action.WAIT, category=Category.RATE_LIMIT, reason="", wait_s=0.04))
    broken: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: broken.append(context))

    def comes() -> None:
        desk.clock.advance(0.04)
        desk.gate._go()

    waiting = desk.start(desk.make(UPDATE))
    await until_waiting(desk, 1)
    loop.call_later(0.06, comes)
    time.sleep(0.1)  # noqa: ASYNC251  both are due now: first the end of patience, then the place
    await asyncio.wait({waiting})
    assert waiting.exception() is None
    assert broken == []


async def test_patience_ends(desk):
    desk = Desk(queue_wait=0.05)
    await desk.make(UPDATE, Refusal(action=Action.WAIT, category=Category.RATE_LIMIT, reason="", wait_s=0.04))
    with pytest.raises(NoTurn, match=r"no place within 0\.05 s"):
        await desk.make(UPDATE)
    assert desk.gate.waiting == 0


async def test_an_api_that_stays_closed_for_longer_is_not_waited_for(desk):
    await desk.make(UPDATE, TOO_OFTEN)
    waiting = desk.start(desk.make(UPDATE))
    await until_waiting(desk, 1)
    waiting.cancel()
    await desk.make(FINAL)
    desk = Desk(queue_wait=4.9)
    await desk.make(UPDATE, TOO_OFTEN)
    with pytest.raises(NoTurn) as no:
        await desk.make(UPDATE)
    assert no.value.refusal.wait_s == 5.0


async def test_a_place_is_kept_for_the_update_that_it_is_for(desk):
    unless = asyncio.Event()
    for _ in range(9):
        await desk.make(UPDATE)
    await desk.gate.hold(UPDATE, unless)
    await desk.gate.hold(UPDATE, unless)  # it has it already
    assert not desk.is_room_for(UPDATE)
    await desk.make(UPDATE)
    assert desk.gate._held == {}


async def test_a_place_that_is_kept_goes_to_the_outcome_when_that_comes_first(desk):
    for _ in range(9):
        await desk.make(UPDATE)
    await desk.gate.hold(UPDATE, asyncio.Event())
    await desk.make(FINAL)
    assert desk.gate._held == {}
    assert desk.answered_s(FINAL) == desk.clock.monotonic()


async def test_a_place_that_was_kept_for_too_long_is_taken_anew(desk):
    await desk.gate.hold(UPDATE, asyncio.Event())
    desk.clock.advance(60.0)
    await desk.make(REPLY)  # in between it was noticed that nobody tells its end any more
    desk.clock.advance(1.0)
    await desk.make(UPDATE)
    assert desk.answered_s(UPDATE) == desk.clock.monotonic()


async def test_a_chat_that_is_refused_makes_no_other_wait(desk):
    await desk.make(REPLY, Refusal(action=Action.WAIT, category=Category.RATE_LIMIT, reason="", narrow=True))
    await desk.make(call_of("POST", "/open-apis/im/v1/messages/om_2/reply", chat_id="oc_2"))
    assert not desk.is_room_for(REPLY)


async def test_who_waits_for_an_update_stops_when_it_is_told_to(desk):
    await desk.make(UPDATE, TOO_OFTEN)
    unless = asyncio.Event()
    waiting = desk.start(desk.gate.hold(UPDATE, unless))
    await until_waiting(desk, 1)
    unless.set()
    await asyncio.wait({waiting})
    assert waiting.exception() is None
    assert desk.gate._held == {}
    assert desk.gate.waiting == 0


async def test_when_calls_run_short_only_reactions_and_updates_that_can_be_afforded_are_made(desk):
    desk.use_up(800)
    await desk.make(REACTION)
    for _ in range(2):  # a hundredth of what is left may be used at once
        await desk.make(REPLY)
    with pytest.raises(NoTurn, match="used up, or kept"):
        await desk.make(REACTION)
    unless = asyncio.Event()
    waiting = desk.start(desk.gate.hold(UPDATE, unless))
    await asyncio.sleep(0)
    assert not waiting.done()
    unless.set()
    await waiting
    await desk.make(REPLY)
    await desk.make(FINAL)
    assert desk.modes == []  # that is told once, by whoever writes it down


async def test_when_no_call_is_left_only_outcomes_are_tried(desk):
    async with desk.gate.turn(REPLY) as on_its_way:
        await desk.make(FINAL, NONE_LEFT)
        desk.gate.learn(REPLY, on_its_way, None)
    desk.clock.advance(1.0)
    for call in (UPDATE, REACTION):
        with pytest.raises(NoTurn) as no:
            await desk.make(call)
        assert no.value.refusal.action is Action.QUOTA
    with pytest.raises(NoTurn):
        desk.gate.refuse_streaming()
    await desk.make(REPLY, NONE_LEFT)
    assert desk.modes == [Mode.EXHAUSTED]
    desk.clock.advance(1.0)
    await desk.make(REPLY)
    assert desk.modes == [Mode.EXHAUSTED, Mode.NORMAL]
    desk.gate.refuse_streaming()
