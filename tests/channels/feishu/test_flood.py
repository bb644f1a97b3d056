"""Somebody says fifty things in a second: alone with the bot, in a thread, in a group, by either way in."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.channels.feishu.conftest import eventually
from tests.channels.feishu.house import Home, at_home
from tests.channels.feishu.test_people import Held, a_group, nobody

from mainstay.events import MessageJoined
from mainstay.sandbox.model import SandboxAddress

pytestmark = pytest.mark.anyio

MANY = 50
MODES = ["webhook", "subscription"]


@pytest.fixture(params=MODES)
async def home(
    request: pytest.FixtureRequest, tmp_path: Path, sandbox_process: SandboxAddress, served
) -> AsyncIterator[Home]:
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, mode=request.param) as home:
        yield home


async def said_at_once(home: Home, held: Held, lines: list[str], **where: object) -> list[str]:
    """Say all of it while the first is being answered, then let them be answered; returns the ids."""
    known = len(await home.rows("select seq from inbox"))
    said = [await home.platform.say(line, **where) for line in lines]

    async def all_in() -> bool:
        return len(await home.rows("select seq from inbox where lane not like '%:many'")) == known + len(lines)

    await eventually(all_in)
    held.released.set()
    for each in said:
        await home.snapshot(each.message_id)
    return [each.message_id for each in said]


async def outcomes(home: Home, message_ids: list[str]) -> set[tuple[int, int]]:
    verdicts = [await home.verdict(each) for each in message_ids]
    return {(verdict.outcomes, verdict.unfinished) for verdict in verdicts}


QUESTIONS = [f"question {number:02}" for number in range(MANY)]


async def test_alone_with_the_bot_all_have_their_outcomes_in_order_and_one_notice_says_that_it_is_much(home):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    before = len((await home.platform.record()).unprompted)
    said = await said_at_once(home, held, QUESTIONS, sender=sender)
    assert await outcomes(home, said) == {(1, 0)}
    assert [line for message in worker.asked for line in message.text.split("\n\n")] == QUESTIONS
    assert len(worker.asked) == 6
    assert sum(isinstance(event, MessageJoined) for event in worker.events) == 44

    async def told() -> bool:
        return len((await home.platform.record()).unprompted) > before

    await eventually(told)
    notices = (await home.platform.record()).unprompted[before:]
    assert [notice.text.partition(".")[0] for notice in notices] == ["These are many messages at once"]


async def test_in_a_thread_all_have_their_outcomes_in_order_and_no_notice_is_added_for_everybody(home):
    held, sender, group = Held(), nobody(), a_group()
    worker = await home.worker(held)
    root = await home.platform.say("root", sender=sender, chat=group, chat_type="group")
    await held.begun.wait()
    before = len((await home.platform.record()).unprompted)
    said = await said_at_once(home, held, QUESTIONS, sender=sender, thread=root.message_id)
    assert await outcomes(home, [root.message_id, *said]) == {(1, 0)}
    assert [line for message in worker.asked for line in message.text.split("\n\n")] == ["root", *QUESTIONS]
    assert len(worker.asked) == 6
    assert (await home.platform.record()).unprompted[before:] == ()


async def test_in_a_group_each_begins_a_thread_and_has_an_answer_of_its_own_there(home):
    held, sender, group = Held(), nobody(), a_group()
    worker = await home.worker(held)
    said = await said_at_once(home, held, QUESTIONS, sender=sender, chat=group, chat_type="group")
    assert await outcomes(home, said) == {(1, 0)}
    assert sorted(message.text for message in worker.asked) == QUESTIONS
    assert not any(isinstance(event, MessageJoined) for event in worker.events)
    record = {each.message_id: each.replies for each in (await home.platform.record()).messages}
    assert {(len(record[each]), record[each][0].in_thread) for each in said} == {(1, True)}


HOSTILE = [
    *(
        "<at id=all></at> look",
        "![x](https://e.org/i.png) see",
        "他说“你好”，对吗？",
        "**bold** `code",
        "a\nb\n\nc",
    ),
    *(
        '{"schema":"2.0"} and more of it',
        "@_all @_user_1",
        "<button>pay</button>",
        "| a | b |\n|---|---|",
        "👩‍👩‍👧‍👦" * 9,
    ),
]


async def test_whatever_they_say_each_is_named_so_that_one_knows_it_by_it(home):
    held, sender = Held(), nobody()
    worker = await home.worker(held)
    said = await said_at_once(home, held, [*QUESTIONS[:6], *HOSTILE], sender=sender)
    assert await outcomes(home, said) == {(1, 0)}
    assert len(worker.asked) == 6
    shown = next(each for each in (await home.platform.record()).messages if each.message_id == said[5])
    assert [reply.kind for reply in shown.replies] == ["card"]
    assert "<at" not in shown.replies[0].parts["notice"]
