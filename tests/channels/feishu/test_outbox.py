"""Which outcome is next, and who has it, over a real database."""

import asyncio
from itertools import permutations

import pytest
from sqlalchemy import create_engine, inspect, update

from mainstay.channels.feishu.feedback import Feedback
from mainstay.channels.feishu.model import Offer
from mainstay.channels.feishu.sqlite import Outbox
from mainstay.channels.feishu.streaming import final_sequence
from mainstay.channels.feishu.tables import HEAD, metadata
from mainstay.channels.feishu.tables import outbox as outbox_table
from mainstay.errors import StorageUnavailable
from mainstay.messages import Finished, Message, Outcome
from mainstay.storage.migrate import upgrade
from mainstay.storage.model import StorageSettings
from mainstay.storage.sqlite import Storage
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio


class Desk:
    """A database with two processes at it."""

    def __init__(self, storage: Storage, clock: ManualClock) -> None:
        self.storage, self.clock = storage, clock
        self.ours, self.theirs = (Outbox(storage, "feishu", clock=clock, lease_s=70.0) for _ in range(2))

    async def post(self, name: str, chat: str = "chat", **how: object) -> str:
        message = Message(
            channel="feishu",
            bot_id="bot",
            external_id=name,
            chat_id=chat,
            sender_id="somebody",
            text="hello",
            sent_at=self.clock.now(),
        )
        final = Finished(**{"outcome": Outcome.ANSWERED, "text": f"answer to {name}"} | how)
        await self.storage.write(
            lambda tx: self.ours.post(tx, message, turn_id=message.turn_id, attempt=1, final=final)
        )
        return message.turn_id

    async def take(self, outbox: Outbox, *now_due: str, limit: int = 10, busy: tuple[int, ...] = ()):
        return await outbox.take(limit, now_due=now_due, busy=busy)

    def texts(self, taken) -> list[str]:
        return [delivery.text for delivery in taken]


@pytest.fixture
async def desk(tmp_path):
    url, clock = f"sqlite:///{tmp_path / 'outbox.db'}", ManualClock()
    assert upgrade(url, ["mainstay.channels.feishu"])[-1:] == [HEAD]
    storage = Storage(StorageSettings(url=url), clock=clock)
    await storage.open({"feishu": HEAD})
    yield Desk(storage, clock)
    await storage.close()


async def test_an_outcome_belongs_to_who_posted_it_until_its_lease_runs_out(desk):
    turn_id = await desk.post("one")
    assert await desk.take(desk.theirs) == []
    assert (await desk.theirs.backlog()).next_due_s == 70.0
    desk.clock.advance(70.0)
    [delivery] = await desk.take(desk.theirs)
    assert (delivery.turn_id, delivery.tries, delivery.text) == (turn_id, 1, "answer to one")
    assert await desk.take(desk.ours) == []


async def test_who_posted_it_takes_it_at_once(desk):
    turn_id = await desk.post("one")
    assert desk.texts(await desk.take(desk.ours, turn_id)) == ["answer to one"]


async def test_what_a_dead_process_had_is_due_at_the_next_start(desk):
    turn_id = await desk.post("one")
    [delivery] = await desk.take(desk.ours, turn_id)
    await desk.ours.put_off(delivery.seq, 1000.0, "why")
    assert await desk.take(desk.theirs) == []
    await desk.theirs.make_due()
    [again] = await desk.take(desk.theirs)
    assert again.tries == 2


async def test_of_a_conversation_only_the_oldest_outcome_can_be_taken(desk):
    first, second = await desk.post("one"), await desk.post("two")
    other = await desk.post("three", "elsewhere")
    taken = await desk.take(desk.ours, first, second, other)
    assert desk.texts(taken) == ["answer to one", "answer to three"]
    assert await desk.take(desk.ours, second) == []
    await desk.ours.settle(taken[0].seq, shown=True)
    assert desk.texts(await desk.take(desk.ours, second)) == ["answer to two"]


async def test_what_waits_behind_another_is_not_due(desk):
    first = await desk.post("one")
    await desk.post("two")
    desk.clock.advance(100.0)
    [delivery] = await desk.take(desk.ours, first)
    await desk.ours.put_off(delivery.seq, 50.0, "why")
    backlog = await desk.ours.backlog()
    assert (backlog.pending, backlog.retrying, backlog.next_due_s) == (2, 0, 50.0)


async def test_what_is_being_shown_is_not_taken_again(desk):
    turn_id = await desk.post("one")
    [delivery] = await desk.take(desk.ours, turn_id)
    assert await desk.take(desk.ours, turn_id, busy=(delivery.seq,)) == []


async def test_an_outcome_that_can_not_be_read_any_more_holds_up_no_other(desk):
    buried = []
    outbox = Outbox(
        desk.storage, "feishu", clock=desk.clock, lease_s=70.0, on_buried=lambda *told: buried.append(told)
    )
    broken = await desk.post("one")
    turn_id = await desk.post("two")
    spoil = update(outbox_table).where(outbox_table.c.turn_id == broken).values(via="pigeon")
    await desk.storage.write(lambda tx: tx.execute(spoil).rowcount)
    assert await desk.take(outbox, broken, turn_id) == []
    assert buried == [(broken, "not readable: 'pigeon' is not a valid Via")]
    assert desk.texts(await desk.take(outbox, broken, turn_id)) == ["answer to two"]


async def test_an_outcome_is_settled_once(desk):
    [delivery] = await desk.take(desk.ours, await desk.post("one"))
    assert await desk.ours.settle(delivery.seq, shown=True)
    assert not await desk.theirs.settle(delivery.seq, shown=False, error="late")
    assert (await desk.ours.backlog()).pending == 0


FAILED = {"outcome": Outcome.FAILED, "retryable": True}


async def test_only_what_failed_and_may_be_tried_again_is_offered(desk):
    offers = {
        Offer.MADE: await desk.post("one", "a", **FAILED),
        Offer.NONE: await desk.post("two", "b", outcome=Outcome.FAILED),
    }
    answered = await desk.post("three", "c", retryable=True)
    for offer, turn_id in offers.items():
        assert (await desk.ours.offered(turn_id)).offer is offer
    assert (await desk.ours.offered(answered)).offer is Offer.NONE
    assert await desk.ours.take_offer(answered) is None


async def test_an_offer_tells_whose_it_was_and_where_it_is_shown(desk):
    turn_id = await desk.post("one", **FAILED)
    offered = await desk.ours.offered(turn_id)
    assert (offered.message.external_id, offered.created_at, offered.card_message_id) == (
        "one",
        desk.clock.now(),
        "",
    )
    card = await desk.ours.add_card(turn_id, "card-1")
    await desk.ours.card_sent(card, "om_1")
    assert (await desk.ours.offered(turn_id)).card_message_id == "om_1"
    assert await desk.ours.offered("another") is None
    assert await Outbox(desk.storage, "lark", clock=desk.clock, lease_s=70.0).offered(turn_id) is None


async def test_an_offer_that_can_not_be_read_any_more_is_none(desk):
    turn_id = await desk.post("one", **FAILED)
    for spoilt in ({"offer": "free"}, {"message": "{}"}, {"message": "?"}):
        spoil = update(outbox_table).where(outbox_table.c.turn_id == turn_id).values(spoilt)
        await desk.storage.write(lambda tx, spoil=spoil: tx.execute(spoil).rowcount)
        assert await desk.ours.offered(turn_id) is None


async def test_an_offer_that_is_taken_is_never_made_again(desk):
    turn_id = await desk.post("one", **FAILED)
    [shown] = await desk.take(desk.ours, turn_id)
    assert (shown.offer, shown.tries) == (Offer.MADE, 1)
    taken = await desk.theirs.take_offer(turn_id)
    assert (taken.offer, taken.tries) == (Offer.TAKEN, 2)
    [again] = await desk.take(desk.ours, turn_id)
    assert (again.offer, again.tries) == (Offer.TAKEN, 3)
    await desk.theirs.offer_withdrawn(turn_id)
    assert (await desk.ours.offered(turn_id)).offer is Offer.WITHDRAWN
    assert await desk.ours.take_offer(turn_id) is None


async def test_an_offer_is_taken_from_an_outcome_that_was_shown_long_ago(desk):
    turn_id = await desk.post("one", **FAILED)
    [shown] = await desk.take(desk.ours, turn_id)
    await desk.ours.settle(shown.seq, shown=True)
    assert (await desk.ours.take_offer(turn_id)).tries == 2
    assert (await desk.ours.backlog()).pending == 0


@pytest.mark.parametrize("order", list(permutations(range(4))), ids=str)
async def test_in_whatever_order_the_writes_arrive_the_button_is_gone_in_the_end(desk, order):
    """Two processes show the outcome, one of them slowly; somebody presses; it is shown once more."""
    turn_id = await desk.post("one", **FAILED)
    writes = [(await desk.take(desk.ours, turn_id))[0]]
    writes.append((await desk.take(desk.theirs, turn_id))[0])
    writes.append(await desk.ours.take_offer(turn_id))
    writes.append((await desk.take(desk.theirs, turn_id))[0])
    sequence, offer = 0, None
    for write in (writes[each] for each in order):
        if final_sequence(write.attempt, write.tries) > sequence:
            sequence, offer = final_sequence(write.attempt, write.tries), write.offer
    assert offer is Offer.TAKEN


async def test_the_cards_of_other_turns_are_told_apart(desk):
    for turn_id in ("first", "second"):
        card = await desk.ours.add_card(turn_id, f"card-{turn_id}")
        await desk.ours.card_sent(card, f"om_{turn_id}")
    assert await desk.ours.other_cards(card, ["om_first", "om_second", "om_unknown"]) == {"om_first"}


async def test_opinions_and_further_cards_are_forgotten_with_the_answer(desk):
    opinions = Feedback(desk.storage, "feishu", clock=desk.clock)
    turn_id = await desk.post("one")
    for part in (0, 1):
        await desk.ours.add_card(turn_id, f"card-{part}", part)
    assert [await opinions.give(turn_id, "ou_a", vote) for vote in ("up", "down")] == ["", "up"]
    [delivery] = await desk.take(desk.ours, turn_id)
    await desk.ours.settle(delivery.seq, shown=True)
    desk.clock.advance(50.0)
    await desk.ours.prune(100.0)
    assert len(await desk.ours.cards(turn_id)) == 2
    desk.clock.advance(100.0)
    await desk.ours.prune(100.0)
    assert await desk.ours.cards(turn_id) == []
    assert await opinions.give(turn_id, "ou_a", "up") == ""


async def test_much_is_forgotten_as_well_as_little(desk):
    turn_ids = await asyncio.gather(*(desk.post(f"{number}", f"chat-{number}") for number in range(250)))
    await asyncio.gather(*(desk.ours.add_card(turn_id, f"card-{turn_id}") for turn_id in turn_ids))
    for delivery in await desk.take(desk.ours, *turn_ids, limit=249):
        await desk.ours.settle(delivery.seq, shown=True)
    desk.clock.advance(200.0)
    assert await desk.ours.prune(100.0) == 249
    assert [len(await desk.ours.cards(turn_id)) for turn_id in turn_ids] == [0] * 249 + [1]


async def test_what_could_not_be_shown_is_kept_for_longer_and_not_for_ever(desk):
    turn_id = await desk.post("one")
    [delivery] = await desk.take(desk.ours, turn_id)
    await desk.ours.settle(delivery.seq, shown=False, error="refused")
    desk.clock.advance(200.0)
    assert (await desk.ours.prune(100.0), await desk.ours.prune_dead(300.0)) == (0, 0)
    desk.clock.advance(200.0)
    assert (await desk.ours.prune_dead(300.0), await desk.ours.prune_dead(300.0)) == (1, 0)


async def test_a_card_that_was_retired_is_not_said_to_be_shown_by_who_was_late(desk):
    first = await desk.ours.add_card("turn", "card-1")
    await desk.ours.card_sent(first, "om_1")
    await desk.ours.retire_card(await desk.ours.card("turn"))
    second = await desk.theirs.add_card("turn", "card-2")
    await desk.theirs.card_sent(first, "om_1")
    card = await desk.ours.card("turn")
    assert (card.card_id, card.message_id, card.retired, card.message_key) == ("card-2", "", "om_1", "turn.1")
    await desk.ours.retire_card(first)  # once more, by another worker
    assert await desk.ours.card("turn") == card
    await desk.ours.taken_back(card)
    assert (await desk.ours.card("turn")).retired == ""
    assert second.generation == 1


async def test_a_turn_has_one_outcome(desk):
    await desk.post("one")
    with pytest.raises(Exception, match="UNIQUE"):
        await desk.post("one")


async def test_an_outcome_that_was_rolled_back_was_never_posted(desk):
    def work(tx):
        message = Message.from_json(
            '{"channel":"feishu","bot_id":"b","external_id":"m","chat_id":"c","sender_id":"s","text":"t","sent_at":0}'
        )
        final = Finished(outcome=Outcome.ANSWERED, text="never")
        desk.ours.post(tx, message, turn_id="t", attempt=1, final=final)
        raise StorageUnavailable("rolled back")

    with pytest.raises(StorageUnavailable):
        await desk.storage.write(work)
    assert (await desk.ours.backlog()).pending == 0


async def test_the_first_card_of_a_turn_stays_its_card(desk):
    first = await desk.ours.add_card("turn", "card-1")
    second = await desk.theirs.add_card("turn", "card-2")
    assert first == second
    await desk.ours.card_sent(first, "om_1")
    card = await desk.theirs.card("turn")
    assert (card.card_id, card.message_id, card.created_at) == ("card-1", "om_1", desk.clock.now())


async def test_other_channels_are_not_touched(desk):
    await desk.post("one")
    desk.clock.advance(1000.0)
    other = Outbox(desk.storage, "lark", clock=desk.clock, lease_s=70.0)
    await other.make_due()
    assert await other.take(10, now_due=(), busy=()) == []
    assert (await other.backlog()).pending == 0
    assert await other.standing("feishu:bot:chat:main", "another") == "free"


async def test_where_a_conversation_stands(desk):
    first = await desk.post("one")
    lane = "feishu:bot:chat:main"
    assert await desk.ours.standing(lane, first) == "ended"
    assert await desk.ours.standing(lane, "another") == "held_up"
    assert await desk.ours.standing("feishu:bot:elsewhere:main", "another") == "free"
    [delivery] = await desk.take(desk.ours, first)
    await desk.ours.settle(delivery.seq, shown=False, error="dead")
    assert await desk.ours.standing(lane, "another") == "free"
    assert await desk.ours.standing(lane, first) == "ended"


async def test_the_migration_makes_the_tables_that_the_code_uses(desk):
    def columns(tx):
        inspected = inspect(tx)
        return {
            name: [
                (column["name"], str(column["type"]), column["nullable"]) for column in inspected.get_columns(name)
            ]
            for name in inspected.get_table_names()
            if name.startswith("feishu_")
        }

    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection)
        expected = columns(connection)
    engine.dispose()
    assert set(expected) == {
        "feishu_calls",
        "feishu_cards",
        "feishu_chats",
        "feishu_edits",
        "feishu_feedback",
        "feishu_outbox",
        "feishu_receipts",
    }
    assert await desk.storage.read(columns) == expected
