"""Several bots live in one service, each for itself."""

from pathlib import Path
from uuid import uuid4

import pytest
from tests.channels.feishu.house import at_home

from mainstay.channels.feishu.model import FeishuSettings
from mainstay.events import ErrorSeen
from mainstay.sandbox.process import start, stop
from mainstay.settings import SETTING

pytestmark = pytest.mark.anyio


async def test_two_bots_in_one_group_that_are_told_the_same_message_answer_it_each_once(
    tmp_path: Path, sandbox_process, served
):
    (tmp_path / "other").mkdir()
    other = await start(tmp_path / "other")
    try:
        async with at_home(tmp_path, {"feishu": sandbox_process, "sales": other}, served) as home:
            assert sandbox_process.app_id != other.app_id
            worker = await home.worker()
            group, message_id = f"oc_{uuid4().hex}", f"om_{uuid4().hex}"
            same = {"chat": group, "chat_type": "group", "message_id": message_id, "sender": "ou_ann"}
            await home.platforms["sales"].platform_fault("POST /cardkit/v1/cards", code=1500, status=500)
            for platform in home.platforms.values():
                await platform.say("hello, both of you", **same)
            for platform in home.platforms.values():
                await platform.deliver_again(message_id, new_event_id=True)
            for name, platform in home.platforms.items():
                await home.snapshot(message_id, name)
                [verdict] = [each for each in await platform.outcomes() if each.message_id == message_id]
                assert (verdict.outcomes, verdict.unfinished) == (1, 0)
            assert sorted(message.channel for message in worker.asked) == ["feishu", "sales"]
            failed = {event.where for event in worker.events if isinstance(event, ErrorSeen)}
            assert failed == {"sales /open-apis/cardkit/v1/cards"}, "an operator is told of which of them"
            for key in ("turn_id", "lane", "person", "bot_id"):
                assert len({getattr(message, key) for message in worker.asked}) == 2, key
            lanes = await home.rows("select lane, count(*) from memory_exchanges group by lane order by lane")
            assert lanes == [
                (f"feishu:{sandbox_process.app_id}:{group}:{message_id}", 1),
                (f"sales:{other.app_id}:{group}:{message_id}", 1),
            ]
    finally:
        await stop(other)


async def test_an_event_for_one_bot_that_comes_to_the_address_of_another_is_turned_away(
    tmp_path: Path, sandbox_process, served
):
    (tmp_path / "other").mkdir()
    other = await start(tmp_path / "other")
    try:
        async with at_home(tmp_path, {"feishu": sandbox_process, "sales": other}, served) as home:
            await home.worker()
            crossed = (await home.platforms["sales"].state())["url"]
            with pytest.raises(Exception, match="challenge"):
                await home.platforms["feishu"].subscribe(crossed)
    finally:
        await stop(other)


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("feishu", "https://open.feishu.cn"),
        ("Lark", "https://open.larksuite.com"),
        ("https://open.larksuite.com/", "https://open.larksuite.com"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_the_platform_is_written_as_a_word_or_as_an_address(written, domain):
    assert FeishuSettings.__dataclass_fields__["domain"].metadata[SETTING].parse(written) == domain


@pytest.mark.parametrize("written", ["larksuite", "http://open.feishu.cn", "https://open.feishu.cn/x", ""])
def test_what_is_neither_is_refused_with_what_to_write(written):
    with pytest.raises(ValueError, match="write feishu, lark, or an address"):
        FeishuSettings.__dataclass_fields__["domain"].metadata[SETTING].parse(written)
