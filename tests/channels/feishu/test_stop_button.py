"""Who asked can end an answer: what was written stays, with a word about it, and is the one outcome."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from tests.channels.feishu.conftest import eventually
from tests.channels.feishu.house import at_home

from mainstay.clock import SystemClock
from mainstay.events import CardUpdated, TurnFinished
from mainstay.inbox.sqlite import Inbox
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Suggestions, TextAppended, Turn

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("question", "said", "word"),
    [("hello", "half of", "Stopped, as you asked."), ("你好", "一半", "已按您的要求停止。")],
)
async def test_an_answer_that_is_stopped_keeps_what_was_written(
    tmp_path, sandbox_process, served, question: str, said: str, word: str
) -> None:
    async def endless(_message: Message, _turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended(said)
        await asyncio.Event().wait()

    async with at_home(tmp_path, {"feishu": sandbox_process}, served, stop_button=True) as home:
        await home.platform.options(pressable_streams=True)
        worker = await home.worker(endless)
        asked = await home.platform.say(question, sender="ou_asker")
        async with asyncio.timeout(60):
            async for snapshot in home.platform.watch(asked.message_id):
                if snapshot.text == said:
                    break
        [reply] = snapshot.replies
        _, answer = await home.platform.press(reply.message_id, reply.actions[0], user="ou_asker")
        assert answer["toast"]["type"] == "success"
        snapshot = await home.snapshot(asked.message_id)
        await home.platform.options(pressable_streams=False)
        [reply] = snapshot.replies
        assert (reply.text, reply.parts["notice"], reply.actions) == (f"{said}\n{word}", word, ())
        [finished] = [event for event in worker.events if isinstance(event, TurnFinished)]
        assert finished.outcome is Outcome.CANCELLED
        assert any(isinstance(event, CardUpdated) for event in worker.events)
        verdict = await home.verdict(asked.message_id)
        assert (verdict.outcomes, verdict.unfinished) == (1, 0)


async def test_an_answer_that_waits_to_be_gone_on_with_can_be_stopped_and_is_not_gone_on_with(
    tmp_path, sandbox_process, served
) -> None:
    async def endless(_message: Message, _turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        yield TextAppended("half of")
        await asyncio.Event().wait()

    async with at_home(tmp_path, {"feishu": sandbox_process}, served, stop_button=True) as home:
        await home.platform.options(pressable_streams=True)
        worker = await home.worker(endless)
        asked = await home.platform.say("hello", sender="ou_asker")
        async with asyncio.timeout(60):
            async for snapshot in home.platform.watch(asked.message_id):
                if snapshot.text == "half of":
                    break
        await worker.kill()
        successor = await home.worker(endless, beside=True)  # the dead one's lease holds for a while
        [reply] = snapshot.replies
        for person, kind in (("ou_other", "warning"), ("ou_asker", "success")):
            _, answer = await home.platform.press(reply.message_id, "Stop", user=person)
            assert answer["toast"]["type"] == kind
        await Inbox(home.storage, home.config.inbox, clock=SystemClock(), worker="test").recover(lambda _: False)
        snapshot = await home.snapshot(asked.message_id)
        await home.platform.options(pressable_streams=False)
        assert (snapshot.text, len(snapshot.replies)) == ("Stopped, as you asked.", 1)
        assert successor.asked == []


async def test_to_stop_one_answer_leaves_what_is_asked_next_from_the_same_card_alone(
    tmp_path, sandbox_process, served
) -> None:
    async def script(message: Message, _turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        if message.text == "first":
            yield TextAppended("half of")
            await asyncio.Event().wait()
        yield Suggestions(("first", "second"))
        yield Finished(outcome=Outcome.ANSWERED, text=f"re: {message.text}")

    async with at_home(tmp_path, {"feishu": sandbox_process}, served, stop_button=True) as home:
        await home.platform.options(pressable_streams=True)
        await home.worker(script)
        asked = await home.platform.say("hello", sender="ou_asker")
        [card] = (await home.snapshot(asked.message_id)).replies

        async def texts() -> list[str]:
            record = await home.platform.record()
            return [
                reply.text
                for each in record.messages
                if each.message_id == asked.message_id
                for reply in each.replies
            ]

        async def last_says(text: str) -> bool:
            return (await texts())[-1] == text

        await home.platform.press(card.message_id, "first", user="ou_asker")
        await eventually(lambda: last_says("half of"))
        record = await home.platform.record()
        [being_written] = [
            reply for each in record.messages if each.message_id == asked.message_id for reply in each.replies[-1:]
        ]
        await home.platform.press(being_written.message_id, "Stop", user="ou_asker")
        await eventually(lambda: last_says("half of\nStopped, as you asked."))
        await home.platform.press(card.message_id, "second", user="ou_asker")
        await eventually(lambda: last_says("re: second"))
        await home.platform.options(pressable_streams=False)
