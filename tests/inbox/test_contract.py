"""What every inbox promises, in memory or on SQLite."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from mainstay.errors import LeaseLost
from mainstay.inbox.model import Depth, State
from mainstay.messages import Outcome

pytestmark = pytest.mark.anyio


async def names(inbox, limit: int = 10) -> list[str]:
    return [claim.message.external_id for claim in await inbox.claim(limit)]


async def test_a_message_is_accepted_once(post) -> None:
    inbox = post.open("one")
    assert await inbox.put(post.message("a"))
    assert not await inbox.put(post.message("a"))
    assert not await post.open("two").put(post.message("a"))
    assert (await inbox.depth()).queued == 1


async def test_a_click_and_a_message_with_the_same_id_are_two(post) -> None:
    inbox = post.open("one")
    assert await inbox.put(post.message("a"))
    assert await inbox.put(replace(post.message("a"), kind="callback"))


async def test_a_claim_carries_the_message_as_it_was_put(post) -> None:
    inbox = post.open("one")
    message = post.message("a")
    await inbox.put(message)
    post.clock.advance(7)
    (claim,) = await inbox.claim(1)
    assert claim.message == message
    assert claim.turn_id == message.turn_id
    assert (claim.attempt, claim.crashes) == (1, 0)
    assert claim.waited_s == pytest.approx(7)
    assert claim.accepted_at == message.sent_at


async def test_a_lane_is_worked_on_one_message_at_a_time_in_order(post) -> None:
    inbox = post.open("one")
    for name in "abc":
        await inbox.put(post.message(name))
    answered = []
    while claims := await inbox.claim(10):
        (claim,) = claims
        assert await post.open("two").claim(10) == []
        answered.append(claim.message.external_id)
        await post.finish(inbox, claim)
    assert answered == ["a", "b", "c"]


async def test_other_lanes_do_not_wait_and_the_oldest_goes_first(post) -> None:
    inbox = post.open("one")
    for name, chat in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("c1", "c")):
        await inbox.put(post.message(name, chat))
    assert await names(inbox, 2) == ["a1", "b1"]
    assert await names(post.open("two")) == ["c1"]


async def test_nothing_is_claimed_when_nothing_is_asked_for(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    assert await inbox.claim(0) == []
    assert await inbox.claim(-1) == []


async def test_a_silent_worker_loses_its_message_when_the_lease_runs_out(post) -> None:
    slow, quick = post.open("slow"), post.open("quick")
    await slow.put(post.message("a"))
    (lost,) = await slow.claim(1)
    post.clock.advance(29.9)
    assert await quick.claim(1) == []
    post.clock.advance(0.1)
    (taken,) = await quick.claim(1)
    assert (taken.attempt, taken.crashes) == (2, 1)
    with pytest.raises(LeaseLost, match="attempt 1 of slow"):
        await post.finish(slow, lost)
    with pytest.raises(LeaseLost):
        await slow.release(lost)
    with pytest.raises(LeaseLost):
        await slow.bury(lost, "no")
    assert await slow.renew([lost]) == set()
    await post.finish(quick, taken)
    assert (await quick.find(taken.turn_id)).attempt == 2


async def test_the_same_worker_can_not_finish_with_an_older_claim(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    (first,) = await inbox.claim(1)
    post.clock.advance(31)
    (second,) = await inbox.claim(1)
    with pytest.raises(LeaseLost):
        await post.finish(inbox, first)
    await post.finish(inbox, second)


async def test_renewing_keeps_a_message(post) -> None:
    inbox, other = post.open("one"), post.open("two")
    await inbox.put(post.message("a"))
    claims = await inbox.claim(1)
    for _ in range(5):
        post.clock.advance(20)
        assert await inbox.renew(claims) == {claims[0].turn_id}
        assert await other.claim(1) == []
    await post.finish(inbox, claims[0])


async def test_a_late_worker_may_finish_what_nobody_has_taken_over(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    (claim,) = await inbox.claim(1)
    post.clock.advance(300)
    await post.finish(inbox, claim)


async def test_a_finished_message_is_over(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    (claim,) = await inbox.claim(1)
    await post.finish(inbox, claim, Outcome.FAILED, '{"agent": "manager"}')
    with pytest.raises(LeaseLost, match="finished"):
        await post.finish(inbox, claim)
    post.clock.advance(3600)
    assert await inbox.claim(1) == []
    assert not await inbox.put(post.message("a"))
    entry = await inbox.find(claim.turn_id)
    assert (entry.state, entry.outcome, entry.attempt) == (State.FINISHED, Outcome.FAILED, 1)
    assert entry.detail == '{"agent": "manager"}'
    assert entry.closed_at == entry.accepted_at


async def test_finishing_undoes_the_whole_transaction_when_the_lease_is_lost(post) -> None:
    one, two = post.open("one"), post.open("two")
    await one.put(post.message("a", "x"))
    await one.put(post.message("b", "y"))
    first, second = await one.claim(2)
    post.clock.advance(31)
    (taken,) = await two.claim(1)
    assert taken.turn_id == first.turn_id

    def both(tx) -> None:
        one.finish(tx, second, Outcome.ANSWERED, "")
        one.finish(tx, first, Outcome.ANSWERED, "")

    with pytest.raises(LeaseLost):
        await post.write(both)
    assert (await one.find(second.turn_id)).state is State.RUNNING


async def test_proof_is_given_only_while_the_message_is_held(post) -> None:
    one, two = post.open("one"), post.open("two")
    await one.put(post.message("a"))
    (claim,) = await one.claim(1)
    await post.write(lambda tx: one.prove(tx, claim))
    post.clock.advance(31)
    await two.claim(1)
    with pytest.raises(LeaseLost):
        await post.write(lambda tx: one.prove(tx, claim))


async def test_a_released_message_waits_for_its_delay_and_holds_up_only_its_lane(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a1", "a"))
    await inbox.put(post.message("a2", "a"))
    (claim,) = await inbox.claim(1)
    await inbox.release(claim, delay_s=5, reason="busy")
    await inbox.put(post.message("b1", "b"))
    assert await names(inbox) == ["b1"]
    assert await inbox.next_due() == pytest.approx(5)
    post.clock.advance(5)
    (again,) = await inbox.claim(10)
    assert again.message.external_id == "a1"
    assert (again.attempt, again.crashes) == (2, 0)
    assert (await inbox.find(again.turn_id)).reason == "busy"


async def test_a_release_delays_at_most_as_long_as_is_allowed(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    (claim,) = await inbox.claim(1)
    await inbox.release(claim, delay_s=1e9)
    assert await inbox.next_due() == pytest.approx(60)


async def test_a_message_that_workers_vanish_with_waits_longer_each_time(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    waits = []
    for _ in range(9):
        await inbox.claim(1)
        waits.append(await inbox.next_due() - 30)
        post.clock.advance(waits[-1] + 30)
    assert waits == [0, 1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_dead_workers_messages_are_freed_at_once(post) -> None:
    dead, alive = post.open("dead"), post.open("alive")
    for name in "abc":
        await dead.put(post.message(name, chat=name))
    (lost,) = await dead.claim(1)
    (kept,) = await alive.claim(1)
    alive.changed.clear()
    assert await alive.recover(lambda owner: owner != "dead") == 1
    assert alive.changed.is_set()
    (taken, new) = await alive.claim(10)
    assert (taken.turn_id, taken.attempt, taken.crashes) == (lost.turn_id, 2, 1)
    assert new.attempt == 1
    with pytest.raises(LeaseLost):
        await post.finish(dead, lost)
    await post.finish(alive, kept)
    assert await alive.recover(lambda owner: True) == 0


async def test_a_dead_letter_leaves_the_lane_and_is_counted(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    await inbox.put(post.message("b"))
    (claim,) = await inbox.claim(1)
    await inbox.bury(claim, "the chat is gone")
    assert await inbox.depth() == Depth(queued=1, running=0, dead=1, oldest_age_s=0)
    entry = await inbox.find(claim.turn_id)
    assert (entry.state, entry.reason, entry.outcome) == (State.DEAD, "the chat is gone", None)
    assert await names(inbox) == ["b"]
    assert not await inbox.put(post.message("a"))
    assert post.buried == []


async def test_a_message_nobody_could_begin_becomes_a_dead_letter_that_is_told(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("old"))
    post.clock.advance(24 * 3600 + 1)
    await inbox.put(post.message("new"))
    assert await names(inbox) == []
    assert await inbox.next_due() == 0
    assert await names(inbox) == ["new"]
    ((turn_id, reason),) = post.buried
    assert turn_id == post.message("old").turn_id
    assert "not begun" in reason
    assert (await inbox.depth()).dead == 1


async def test_a_message_that_was_begun_is_never_too_old_to_be_ended(post) -> None:
    dead, inbox = post.open("dead"), post.open("one")
    await inbox.put(post.message("a"))
    await dead.claim(1)
    post.clock.advance(24 * 3600 + 1)
    assert await inbox.prune() == 0
    (claim,) = await inbox.claim(1)
    await post.finish(inbox, claim)
    assert post.buried == []


async def test_age_alone_does_not_take_a_message_from_its_worker(post) -> None:
    inbox, other = post.open("one"), post.open("two")
    await inbox.put(post.message("a"))
    post.clock.advance(24 * 3600 - 10)
    (claim,) = await inbox.claim(1)
    post.clock.advance(20)
    assert await other.claim(1) == []
    assert await other.prune() == 0
    await post.finish(inbox, claim)


async def test_pruning_buries_all_that_is_too_old_at_once(post) -> None:
    inbox = post.open("one")
    count = 501  # one more than is done in one transaction
    await asyncio.gather(*(inbox.put(post.message(str(number))) for number in range(count)))
    post.clock.advance(24 * 3600 + 1)
    assert await inbox.prune() == count
    assert (await inbox.depth()).dead == count
    assert len(post.buried) == count


async def test_a_repeat_is_recognised_until_retention_ends(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    (claim,) = await inbox.claim(1)
    await post.finish(inbox, claim)
    post.clock.advance(24 * 3600)
    assert await inbox.prune() == 0
    assert not await inbox.put(post.message("a"))
    post.clock.advance(1)
    assert await inbox.prune() == 1
    assert await inbox.find(claim.turn_id) is None
    assert await inbox.put(post.message("a"))


async def test_dead_letters_are_kept_longer_than_finished_messages(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    (claim,) = await inbox.claim(1)
    await inbox.bury(claim, "gone")
    post.clock.advance(30 * 24 * 3600)
    assert await inbox.prune() == 0
    post.clock.advance(1)
    assert await inbox.prune() == 1
    assert (await inbox.depth()).dead == 0


async def test_depth_tells_states_and_the_oldest_age(post) -> None:
    inbox = post.open("one")
    assert await inbox.depth() == Depth(queued=0, running=0, dead=0, oldest_age_s=0)
    assert await inbox.next_due() is None
    await inbox.put(post.message("a", "a"))
    post.clock.advance(3)
    await inbox.put(post.message("b", "b"))
    await inbox.claim(1)
    assert await inbox.depth() == Depth(queued=1, running=1, dead=0, oldest_age_s=3)
    assert await inbox.next_due() == 0


async def test_what_has_no_outcome_yet_in_a_chat_is_told_in_order_whatever_its_thread(post) -> None:
    inbox = post.open("one")
    for name, chat, thread in (("a", "x", "main"), ("b", "x", "om_1"), ("c", "xy", "main"), ("d", "x%", "main")):
        await inbox.put(replace(post.message(name, chat), thread_id=thread))
    [first, *_] = await inbox.claim(1)
    assert [each.external_id for each in await inbox.unanswered(first.message.chat)] == ["a", "b"]
    await post.finish(inbox, first)
    assert await inbox.unanswered(first.message.chat) == [replace(post.message("b", "x"), thread_id="om_1")]


async def test_putting_and_giving_back_announce_a_change(post) -> None:
    inbox = post.open("one")
    await inbox.put(post.message("a"))
    assert inbox.changed.is_set()
    (claim,) = await inbox.claim(1)
    inbox.changed.clear()
    await inbox.put(post.message("a"))
    assert not inbox.changed.is_set()
    await inbox.release(claim)
    assert inbox.changed.is_set()


async def test_a_clock_set_back_strands_no_message(post) -> None:
    inbox, other = post.open("one"), post.open("two")
    for name in "ab":
        await inbox.put(post.message(name, chat=name))
    running, released = await inbox.claim(2)
    await inbox.release(released, delay_s=30)
    post.clock.jump(-7200)
    assert await inbox.next_due() == 0
    assert {claim.turn_id for claim in await other.claim(10)} == {running.turn_id, released.turn_id}
    assert (await inbox.depth()).oldest_age_s == 0


async def test_what_was_never_accepted_is_not_found(post) -> None:
    assert await post.open("one").find("00000000-0000-0000-0000-000000000000") is None


async def test_who_says_more_than_is_answered_one_by_one_is_told_so_once(post) -> None:
    inbox = post.open("one", merge_after=2)
    aside = replace(post.message("many"), kind="event", thread_id="many", notice="many")
    for name in "abcde":
        assert await inbox.put(post.message(name), aside=aside)
    assert (await inbox.depth()).queued == 3
    claims = await inbox.claim(10)
    assert [claim.message.external_id for claim in claims if claim.message.kind == "message"] == ["a"]
    [told] = [claim.message for claim in claims if claim.message.kind == "event"]
    host = post.message("b").turn_id
    assert told == replace(aside, external_id=told.external_id)
    assert [(message.external_id, into) for message, into in post.joined] == [(each, host) for each in "cde"]
    entry = await inbox.find(post.message("d").turn_id)
    assert (entry.state, entry.outcome, entry.reason) == (State.FINISHED, None, f"answered together with {host}")


async def test_a_dead_letter_is_announced_for_every_message_that_was_joined_to_it(post) -> None:
    inbox = post.open("one", merge_after=1)
    for name in "abc":
        await inbox.put(post.message(name))
    post.clock.advance(24 * 3600 + 1)
    await inbox.prune()
    assert sorted(turn_id for turn_id, _ in post.buried) == sorted(post.message(name).turn_id for name in "abc")


async def test_that_many_messages_wait_is_told_once_in_a_while_however_many_answers_name_them(post) -> None:
    inbox = post.open("one", merge_after=1)
    told = []
    for _ in range(60):  # an hour, in which one minute in two a message begins to be answered
        for _ in range(3):
            said = post.message(f"m{post.clock.now().timestamp()}{len(told)}")
            notice = replace(said, kind="event", external_id="many", thread_id="many")
            await inbox.put(said, aside=notice)
            post.clock.advance(20)
        for claim in await inbox.claim(9):
            if claim.message.kind == "event":
                told.append(post.clock.now())
            await post.finish(inbox, claim)
    apart_s = [(later - earlier).total_seconds() for earlier, later in pairwise(told)]
    assert told
    assert all(540 <= each <= 1260 for each in apart_s), apart_s


async def test_what_is_told_beside_is_told_in_each_chat(post) -> None:
    inbox = post.open("one", merge_after=1)
    for chat in ("c1", "c2"):
        notice = replace(post.message("x", chat), kind="event", external_id="many", thread_id="many")
        for number in range(3):
            await inbox.put(post.message(f"{chat}{number}", chat), aside=notice)
    claims = await inbox.claim(9)
    assert sorted(claim.message.chat_id for claim in claims if claim.message.kind == "event") == ["c1", "c2"]
