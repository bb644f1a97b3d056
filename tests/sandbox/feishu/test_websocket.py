"""A bot that is subscribed by connection gets its events there, and the platform writes down how it takes them."""

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator

import pytest
from tests.sandbox.conftest import until
from tests.sandbox.feishu.conftest import APP
from tests.sandbox.feishu.connected import Connected, Line, platform
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.frames import Frame

pytestmark = pytest.mark.anyio


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    async with platform() as connected:
        yield connected


async def test_an_event_is_a_frame_that_is_acknowledged_with_its_own_headers(connected: Connected) -> None:
    async with connected.line() as line:
        message_id = connected.say("你好")
        frame = await line.read()
        assert (frame.method, frame.header("type"), frame.header("sum"), frame.header("seq")) == (
            1,
            "event",
            "1",
            "0",
        )
        event = json.loads(frame.payload or b"")
        assert event["event"]["message"]["message_id"] == message_id
        await line.answer(frame)
        assert await connected.answers(message_id) == ["200"]
    sent = connected.seen[0].events[0]
    assert (sent.event_id, sent.frame_id, sent.answer) == (message_id[3:], frame.header("message_id"), "200")
    assert sent.seconds > 0


async def test_what_is_not_acknowledged_with_200_comes_again(connected: Connected) -> None:
    async with connected.line() as line:
        message_id = connected.say("hello")
        first = await line.read()
        await line.answer(first, 500)
        await connected.answers(message_id, 1)
        connected.clock.advance(15)
        second = await line.read()
        assert second.payload == first.payload
        await line.answer(second)
        assert await connected.answers(message_id, 2) == ["500", "200"]


async def test_without_a_connection_an_event_waits_for_its_repeat(connected: Connected) -> None:
    message_id = connected.say("hello")
    assert await connected.answers(message_id) == ["no connection"]
    async with connected.line() as line:
        connected.clock.advance(15)
        await line.answer(await line.read())
        assert await connected.answers(message_id, 2) == ["no connection", "200"]


async def test_a_press_is_answered_in_its_acknowledgement(connected: Connected) -> None:
    message = connected.tenant.messages.messages[connected.say("hello")]
    now = connected.clock.moment()
    body = events.clicked(APP, message, {"value": {"a": 1}, "tag": "button"}, "ou_u1", "e1", now)
    async with connected.line() as line, asyncio.TaskGroup() as group:
        pressing = group.create_task(connected.pusher.callback(body))
        frame = await line.read()
        toast = base64.b64encode(json.dumps({"toast": {"content": "ok"}}).encode()).decode()
        await line.answer(frame, data=toast)
        assert await pressing == (200, {"toast": {"content": "ok"}})


@pytest.mark.parametrize("data", ["no base64!", "e30", base64.b64encode(b"no json").decode(), "e30=!", 7])
async def test_an_answer_to_a_press_that_can_not_be_read_is_none(connected: Connected, data: object) -> None:
    message = connected.tenant.messages.messages[connected.say("hello")]
    body = events.clicked(APP, message, {"tag": "button"}, "ou_u1", "e1", connected.clock.moment())
    async with connected.line() as line, asyncio.TaskGroup() as group:
        pressing = group.create_task(connected.pusher.callback(body))
        await line.answer(await line.read(), data=data)
        assert await pressing == (200, None)


async def test_a_ping_is_answered_with_the_configuration_of_the_client(connected: Connected) -> None:
    connected.options(ping_interval_s=7)
    expected = {"ReconnectCount": -1, "ReconnectInterval": 120, "ReconnectNonce": 30, "PingInterval": 7}
    async with connected.line() as line:
        assert line.config == expected
        connected.options(ping_interval_s=8)
        assert await line.ping() == {**expected, "PingInterval": 8}
    assert len(connected.seen[0].pings) == 1


async def test_an_event_may_come_in_parts(connected: Connected) -> None:
    connected.options(event_parts=3)
    async with connected.line() as line:
        message_id = connected.say("你好，世界")
        parts = [await line.read() for _ in range(3)]
        assert [(each.header("sum"), each.header("seq")) for each in parts] == [("3", "0"), ("3", "1"), ("3", "2")]
        whole = b"".join(each.payload or b"" for each in parts)
        assert json.loads(whole)["event"]["message"]["message_id"] == message_id
        await line.answer(parts[-1])
        assert await connected.answers(message_id) == ["200"]


@pytest.mark.parametrize(
    ("changes", "code"), [({"AppID": "cli_0000000000000000"}, 10003), ({"AppSecret": "wrong"}, 10014)]
)
async def test_wrong_credentials_get_no_address(connected: Connected, changes: dict[str, str], code: int) -> None:
    answer = await connected.endpoint(**changes)
    assert answer["code"] == code
    assert "data" not in answer


async def test_a_ticket_is_good_for_one_connection(connected: Connected) -> None:
    url = (await connected.endpoint())["data"]["URL"]
    async with connect(url, proxy=None):
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
    assert refused.value.response.headers["handshake-status"] == "514"
    other = (await connected.endpoint())["data"]["URL"]
    with pytest.raises(InvalidStatus):
        await connect(other.replace("device_id=", "device_id=1"), proxy=None)


async def test_the_51st_connection_is_refused_as_documented(connected: Connected) -> None:
    urls = [(await connected.endpoint())["data"]["URL"] for _ in range(51)]
    sockets = [await connect(url, proxy=None) for url in urls[:50]]
    with pytest.raises(InvalidStatus) as refused:
        await connect(urls[50], proxy=None)
    headers = refused.value.response.headers
    assert (headers["handshake-status"], headers["handshake-autherrcode"]) == ("514", "1000040350")
    for socket in sockets:
        await socket.close()


async def test_each_event_goes_to_one_connection_and_all_get_some(connected: Connected) -> None:
    async def take(line: Line) -> None:
        try:
            while True:
                await line.answer(await line.read())
        except ConnectionClosed:
            pass

    async with (
        asyncio.TaskGroup() as group,
        connected.line() as one,
        connected.line() as two,
        connected.line() as three,
    ):
        for line in (one, two, three):
            group.create_task(take(line))
        said = [connected.say(f"number {number}") for number in range(40)]
        await until(lambda: all(connected.delivery(each).state == "acknowledged" for each in said))
    got = [[event.event_id for event in each.events] for each in connected.seen]
    assert sorted(itertools.chain(*got)) == sorted(each[3:] for each in said)
    assert all(got)


async def test_how_a_connection_ended_is_written_down(connected: Connected) -> None:
    async with connected.line() as line:
        await line.socket.close(4001)
    async with connected.line() as line:
        line.socket.transport.abort()
        await until(lambda: not connected.ready())
    async with connected.line() as line:
        await line.socket.send("text")
        await line.socket.send(b"\xff")
        await line.answer(Frame(headers=(("message_id", "none"),)))
        await until(lambda: len(connected.seen[2].oddities) == 3)
    await until(lambda: not connected.ready())
    ends = [(each.close_code, each.closed_by) for each in connected.seen]
    assert ends == [(4001, "bot"), (1006, "nobody"), (1000, "bot")]
    assert connected.seen[2].oddities == (
        "a message of text",
        "a frame that can not be read: cut off",
        "an acknowledgement of none unasked",
    )
