"""Reactions say that a message was seen and what became of it, and nothing depends on them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from tests.channels.feishu.conftest import eventually
from tests.channels.feishu.house import Home, at_home

from mainstay.errors import Category
from mainstay.events import ErrorSeen
from mainstay.messages import AnswerEvent, Finished, Message, Outcome, Turn
from mainstay.sandbox.model import SandboxAddress

pytestmark = pytest.mark.anyio


@pytest.fixture
async def home(tmp_path: Path, sandbox_process: SandboxAddress, served) -> AsyncIterator[Home]:
    async with at_home(tmp_path, {"feishu": sandbox_process}, served, receipts="reaction") as home:
        yield home


async def reactions(home: Home, message_id: str) -> tuple[str, ...]:
    record = await home.platform.record()
    return next(each.reactions for each in record.messages if each.message_id == message_id)


async def until_shown(home: Home, message_id: str, *wanted: str) -> None:
    async def shown() -> bool:
        return await reactions(home, message_id) == wanted

    await eventually(shown)


async def say(home: Home) -> str:
    return (await home.platform.say("hello", sender=f"ou_{uuid4().hex}")).message_id


def waiting(released: asyncio.Event, **final: object):
    async def script(message: Message, turn: Turn) -> AsyncGenerator[AnswerEvent, None]:
        await released.wait()
        yield Finished(**{"outcome": Outcome.ANSWERED, "text": "done", "agent": "manager"} | final)

    return script


@pytest.mark.parametrize(
    ("final", "emoji"),
    [({}, "DONE"), ({"outcome": Outcome.FAILED, "text": "", "category": Category.TIMEOUT}, "ERROR")],
)
async def test_seen_gives_way_to_what_became_of_it(home, final, emoji):
    released = asyncio.Event()
    await home.worker(waiting(released, **final))
    message_id = await say(home)
    await until_shown(home, message_id, "OnIt")
    released.set()
    await until_shown(home, message_id, emoji)
    assert await home.rows("select message_id from feishu_receipts") == []


async def test_without_the_setting_there_are_none(tmp_path, sandbox_process, served):
    async with at_home(tmp_path, {"feishu": sandbox_process}, served) as home:
        await home.worker()
        message_id = await say(home)
        await home.snapshot(message_id)
        calls = [call["path"] for call in await home.platform.calls() if message_id in call["path"]]
        assert [path.rpartition("/")[2] for path in calls] == ["reply"]


async def test_killed_after_it_said_seen_the_next_worker_says_what_became_of_it(home):
    worker = await home.worker(waiting(asyncio.Event()))
    message_id = await say(home)
    await until_shown(home, message_id, "OnIt")
    await worker.kill()
    await home.worker()
    await until_shown(home, message_id, "DONE")


async def test_killed_between_an_outcome_and_its_receipt_the_next_worker_shows_it(home):
    released = asyncio.Event()
    worker = await home.worker(waiting(released))
    message_id = await say(home)
    await until_shown(home, message_id, "OnIt")
    await home.platform.platform_fault(f"DELETE /im/v1/messages/{message_id}/reactions", hold=True, code=1)
    released.set()
    await home.snapshot(message_id)

    async def held() -> bool:
        return bool((await home.platform.state())["held"])

    await eventually(held)
    await worker.kill()
    assert await reactions(home, message_id) == ("OnIt",)
    await home.worker()
    await until_shown(home, message_id, "DONE")


async def test_of_messages_that_are_answered_together_one_that_is_refused_holds_up_no_other(home):
    """The answer to the first request is lost, so that the platform finds nothing to take away at a second one."""
    released, sender = asyncio.Event(), f"ou_{uuid4().hex}"
    worker = await home.worker(waiting(released))
    said = [(await home.platform.say(f"question {number}", sender=sender)).message_id for number in range(9)]
    for message_id in said:
        await until_shown(home, message_id, "OnIt")
    await home.platform.platform_fault(f"DELETE /im/v1/messages/{said[6]}/reactions", drop=True)
    released.set()
    for message_id in (*said[:6], *said[7:]):
        await until_shown(home, message_id, "DONE")
    await worker.kill()
    await home.worker()
    await until_shown(home, said[6], "DONE")
    assert await home.rows("select message_id from feishu_receipts") == []


async def test_a_platform_that_takes_no_reactions_changes_nothing_else(home):
    await home.platform.platform_fault("POST /reactions", times=50, code=99991672)
    worker = await home.worker()
    message_id = await say(home)
    await home.snapshot(message_id)
    channel = worker.house.channels["feishu"]

    async def counted() -> bool:
        return channel.checks()[0]().detail["receiptsDropped"] == 1

    await eventually(counted)
    assert (await home.verdict(message_id)).outcomes == 1
    assert [event for event in worker.events if isinstance(event, ErrorSeen)] == []
    assert channel.checks()[0]().status == "ok"


async def test_where_there_is_no_call_for_it_nothing_is_shown_and_everything_answered(home):
    headers = {"x-ogw-ratelimit-reset": "600"}
    await home.platform.platform_fault("POST /reactions", code=99991400, status=429, headers=headers)
    worker = await home.worker()
    said = [await say(home) for _ in range(3)]
    for message_id in said:
        await home.snapshot(message_id)
    [check] = worker.house.channels["feishu"].checks()

    async def left_out() -> bool:
        return check().detail["receiptsDropped"] == 3

    await eventually(left_out)
    assert [await reactions(home, message_id) for message_id in said] == [()] * 3
