"""Whatever form an outcome takes, and wherever its answer is lost, it is said once."""

from dataclasses import replace
from uuid import uuid4

import pytest

from mainstay.events import CardSent, OutcomeDelivered
from mainstay.messages import Finished, Outcome

pytestmark = pytest.mark.anyio

NO_CARD = ("POST /cardkit/v1/cards", 300305)
FORBIDDEN = ("POST /cardkit/v1/cards", 230028)
NO_THREAD = ("POST /reply", 230071)
FORMS = {
    "card": ([], "POST /reply"),
    "card that was made": ([], "POST /cardkit/v1/cards"),
    "text": ([NO_CARD], "POST /reply"),
    "apology": ([FORBIDDEN], "POST /reply"),
    "card in the chat": ([NO_THREAD], "POST /im/v1/messages"),
    "text in the chat": ([NO_CARD, NO_THREAD], "POST /im/v1/messages"),
}
"""What the platform refuses, so that the outcome takes this form, and the call whose answer is lost."""


class Said:
    """One answer, and everything of the bot that a person could take for it."""

    def __init__(self, world, message):
        self.world, self.message = world, message
        self.text = f"the answer {uuid4().hex}"
        self.final = Finished(outcome=Outcome.ANSWERED, text=self.text)

    async def times(self) -> int:
        record = await self.world.platform.record()
        replies = await self.world.replies(self.message)
        return len(replies) + sum(reply.text == self.text for reply in record.unprompted)


async def asked(world, form):
    refusals, lost = FORMS[form]
    message = replace(await world.ask(), reply_in_thread=True)
    for call, code in refusals:
        await world.platform.platform_fault(call, code=code, times=1000)
    return Said(world, message), lost


@pytest.mark.parametrize("form", FORMS)
async def test_an_answer_that_is_lost_on_its_way_back(world, form):
    process = await world.process()
    said, lost = await asked(world, form)
    await world.platform.platform_fault(lost, drop=True, times=2)
    replier = process.channel.replier(said.message, said.message.turn_id, 1)
    await world.post(replier, said.final)
    await replier.deliver()
    await process.until(OutcomeDelivered)
    assert await said.times() == 1


@pytest.mark.parametrize("later_s", [0.0, 4000.0])
@pytest.mark.parametrize("form", FORMS)
async def test_a_kill_between_the_call_and_its_answer(world, form, later_s):
    process = await world.process()
    said, lost = await asked(world, form)
    await world.platform.platform_fault(lost, hold=True)
    replier = process.channel.replier(said.message, said.message.turn_id, 1)
    await world.post(replier, said.final)
    delivering = world.start(replier.deliver())
    await world.until_held()
    await process.kill()
    delivering.cancel()
    await world.platform.advance(later_s)
    process = await world.process(later_s=later_s)
    await process.until(OutcomeDelivered)
    assert await said.times() == 1


@pytest.mark.parametrize("later_s", [0.0, 4000.0])
async def test_a_kill_while_the_card_is_taken_back_for_a_text(world, later_s):
    process = await world.process()
    said, _ = await asked(world, "card")
    replier = process.channel.replier(said.message, said.message.turn_id, 1)
    await process.until(CardSent)
    await world.platform.platform_fault("PUT /cardkit/v1/cards/", code=300305, times=1000)
    await world.platform.platform_fault("DELETE /im/v1/messages/", hold=True)
    await world.post(replier, said.final)
    delivering = world.start(replier.deliver())
    await world.until_held()
    await process.kill()
    delivering.cancel()
    await world.platform.advance(later_s)
    process = await world.process(later_s=later_s)
    await process.until(OutcomeDelivered)
    assert await said.times() == 1
