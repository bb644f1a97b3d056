"""A channel that can only say things whole says each outcome once, in order, in the end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import pytest
from sqlalchemy import update
from tests.channels.conftest import Running, eventually

from mainstay.channels.model import PluggedSettings
from mainstay.channels.outbox.model import Showing, TryLater, Undeliverable
from mainstay.channels.outbox.sending import Patience, Sending
from mainstay.channels.outbox.tables import outcomes
from mainstay.channels.seam import Service
from mainstay.clock import SystemClock
from mainstay.events import DeadLettered, DeliveryRetried, ErrorSeen, OutcomeDelivered, TurnFinished
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Turn

pytestmark = pytest.mark.anyio

QUICK = Patience(base_s=0.01, cap_s=0.02, wait_s=0.2, timeout_s=2.0)


class Wall:
    """A channel that writes on a wall, which may be in the way."""

    patience = QUICK
    shown: list[Showing] = []  # noqa: RUF012  set anew for each test
    refuse: list[Exception] = []  # noqa: RUF012
    wet: set[str] = set()  # noqa: RUF012
    hold: asyncio.Event | None = None

    def __init__(self, name: str, settings: PluggedSettings, service: Service) -> None:
        self.accept = service.accept
        sending = Sending(name, service, self._show, patience=self.patience)
        self.mounts = ()
        self.run, self.replier = sending.run, sending.replier
        self.checks = lambda: [sending.check]

    async def _show(self, showing: Showing) -> None:
        if showing.message.external_id in Wall.wet:
            raise TryLater("the wall is wet here")
        if Wall.refuse:
            raise Wall.refuse.pop(0)
        if Wall.hold is not None:
            await Wall.hold.wait()
        Wall.shown.append(showing)


@pytest.fixture(autouse=True)
def clean() -> None:
    Wall.shown, Wall.refuse, Wall.wet, Wall.hold, Wall.patience = [], [], set(), None, QUICK


def running(home: Path, *script: Callable) -> Running:
    return Running(home, {"wall": PluggedSettings(kind=f"{__name__}:Wall")}, *script)


def said(number: int, chat: str = "c") -> Message:
    return Message(
        channel="wall",
        bot_id="wall",
        external_id=str(number),
        chat_id=chat,
        sender_id="s",
        text=f"question {number}",
        sent_at=SystemClock().now(),
    )


async def test_every_outcome_is_said_once_and_those_of_a_lane_in_order(tmp_path: Path) -> None:
    async with running(tmp_path) as here:
        for number in range(12):
            await here.inbox.put(said(number, chat=f"c{number % 2}"))
        await here.until(OutcomeDelivered, 12)
        for chat in ("c0", "c1"):
            texts = [each.text for each in Wall.shown if each.message.chat_id == chat]
            assert texts == [f"re: question {number}" for number in range(12) if chat == f"c{number % 2}"]
        assert len({each.key for each in Wall.shown}) == 12


async def test_what_can_not_be_said_yet_is_tried_again(tmp_path: Path) -> None:
    Wall.refuse = [TryLater("the wall is wet"), ConnectionRefusedError("no wall"), RuntimeError("a bug")]
    async with running(tmp_path) as here:
        await here.inbox.put(said(1))
        await here.until(OutcomeDelivered)
        reasons = [each.reason for each in here.events if isinstance(each, DeliveryRetried)]
        assert reasons[0] == "the wall is wet"
        assert len(reasons) == 3
        assert [each.tries for each in Wall.shown] == [4]
        seen = [str(each.category) for each in here.events if isinstance(each, ErrorSeen)]
        assert seen == ["connection", "internal"], "what the platform said itself is no failure of it"


async def test_what_can_not_be_said_yet_holds_up_its_own_lane_and_no_other(tmp_path: Path) -> None:
    Wall.wet = {"1"}
    async with running(tmp_path) as here:
        for number, chat in ((1, "c"), (2, "c"), (4, "c"), (3, "d")):
            await here.inbox.put(said(number, chat))
        await here.until(TurnFinished, 4)  # so that the second of the lane has had its time to be shown
        await here.until(OutcomeDelivered)
        assert [each.message.external_id for each in Wall.shown] == ["3"]
        Wall.wet.clear()
        await here.until(OutcomeDelivered, 4)
        assert [each.message.external_id for each in Wall.shown] == ["3", "1", "2", "4"]


async def test_what_can_never_be_said_is_announced_and_not_tried_again(tmp_path: Path) -> None:
    Wall.refuse = [Undeliverable("there is no wall")]
    async with running(tmp_path) as here:
        await here.inbox.put(said(1))
        await here.inbox.put(said(2))
        await here.until(OutcomeDelivered)
        [dead] = [each for each in here.events if isinstance(each, DeadLettered)]
        assert (dead.turn_id, dead.reason) == (said(1).turn_id, "there is no wall")
        assert [each.text for each in Wall.shown] == ["re: question 2"]


async def test_of_messages_that_are_answered_together_each_is_announced_when_that_can_never_be_said(
    tmp_path: Path,
) -> None:
    Wall.refuse = [Undeliverable("there is no wall")]
    async with running(tmp_path) as here:
        both = said(1).joined((("1", "one"), ("2", "two")))
        await here.inbox.put(both)
        await here.until(DeadLettered, 2)
        dead = [each.turn_id for each in here.events if isinstance(each, DeadLettered)]
        assert dead == [said(1).turn_id, said(2).turn_id]


async def test_what_has_failed_can_be_tried_again_where_the_channel_offers_it(tmp_path: Path) -> None:
    async def script(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        outcome = Outcome.ANSWERED if message.retry_of else Outcome.FAILED
        yield Finished(outcome=outcome, text=message.text, retryable=True)

    async with running(tmp_path, script) as here:
        await here.inbox.put(said(1))
        await here.until(OutcomeDelivered)
        [failed] = Wall.shown
        assert (failed.outcome, failed.retryable) == (Outcome.FAILED, True)
        assert await here.inbox.put(failed.message.again())
        assert not await here.inbox.put(failed.message.again()), "once, whoever asks for it"
        await here.until(OutcomeDelivered, 2)
        assert [(each.outcome, each.retryable) for each in Wall.shown[1:]] == [(Outcome.ANSWERED, False)]


async def test_what_is_too_old_becomes_a_dead_letter(tmp_path: Path) -> None:
    Wall.patience = Patience(base_s=0.01, cap_s=0.02, wait_s=0.2, max_age_s=0.0)
    Wall.refuse = [TryLater("the wall is wet")]
    async with running(tmp_path) as here:
        await here.inbox.put(said(1))
        await here.until(DeadLettered)
        assert Wall.shown == []


async def test_what_hangs_is_given_up_and_tried_again(tmp_path: Path) -> None:
    Wall.patience = Patience(base_s=0.01, cap_s=0.02, timeout_s=0.05)
    Wall.hold = asyncio.Event()
    async with running(tmp_path) as here:
        await here.inbox.put(said(1))
        await here.until(DeliveryRetried)
        Wall.hold.set()
        await here.until(OutcomeDelivered)
        assert len(Wall.shown) == 1


async def test_the_next_process_says_what_the_last_one_did_not(tmp_path: Path) -> None:
    Wall.refuse = [TryLater("the wall is wet", after_s=3600.0)]
    async with running(tmp_path) as here:
        await here.inbox.put(said(1))
        await here.until(DeliveryRetried)

        assert Wall.shown == []
    async with running(tmp_path) as here:
        due = update(outcomes).values(due_at=SystemClock().now())
        await here.storage.write(lambda tx: tx.execute(due).rowcount)  # an hour later
        await here.inbox.put(said(2))  # wakes it up
        await here.until(OutcomeDelivered, 2)
        assert [each.text for each in Wall.shown] == ["re: question 1", "re: question 2"]


async def test_health_tells_what_can_not_be_said(tmp_path: Path) -> None:
    Wall.refuse = [TryLater("the wall is wet") for _ in range(200)]
    async with running(tmp_path) as here:
        await here.inbox.put(said(1))

        async def told() -> bool:
            condition = here.channel("wall").checks()[0]()
            return condition.status == "degraded" and "the wall is wet" in condition.reason

        await eventually(told)
        Wall.refuse.clear()
        await here.until(OutcomeDelivered)


async def test_nothing_is_said_to_who_took_the_message_back(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def script(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        begun.set()
        await asyncio.Event().wait()
        yield Finished(outcome=Outcome.ANSWERED)

    async with running(tmp_path, script) as here:
        await here.inbox.put(said(1))
        await begun.wait()
        await here.turns.recall(said(1).turn_id)
        await here.until(TurnFinished)
        await here.until(OutcomeDelivered)
        assert Wall.shown == []


async def test_a_row_that_can_not_be_read_is_buried_and_stops_nobody(tmp_path: Path) -> None:
    Wall.refuse = [TryLater("the wall is wet")]
    async with running(tmp_path) as here:
        await here.inbox.put(said(1, chat="other"))
        await here.until(DeliveryRetried)
        await here.storage.write(lambda tx: tx.execute(update(outcomes).values(message="{")).rowcount)
        await here.inbox.put(said(2))
        await here.until(OutcomeDelivered)
        await here.until(DeadLettered)
        assert [each.text for each in Wall.shown] == ["re: question 2"]
