"""What goes wrong on the long connections goes wrong as it was ordered, and the record says so."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from tests.sandbox.conftest import until
from tests.sandbox.feishu.connected import Connected, platform
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from mainstay.sandbox.feishu import frames
from mainstay.sandbox.feishu.frames import Frame
from mainstay.sandbox.feishu.trouble import SPOILS, HandshakeFault, Spoil, illness, parts, spoilt

pytestmark = pytest.mark.anyio

EVENT = Frame(
    headers=(("type", "event"), ("message_id", "m1"), ("sum", "1"), ("seq", "0")),
    payload='{"schema":"2.0","text":"你好"}'.encode(),
)


@pytest.fixture
async def connected() -> AsyncIterator[Connected]:
    """Its time goes faster: an acknowledgement is awaited for 0.9 s of the test's time."""
    async with platform(0.3) as connected:
        yield connected


async def test_half_open_nothing_is_read_or_written_and_the_connection_stays(connected: Connected) -> None:
    async with connected.line() as line:
        assert connected.gateway.fall_ill("half-open") == 1
        message_id = connected.say("hello")
        await line.send_ping()
        assert (await connected.answers(message_id))[0] == "timeout"
        assert connected.seen[0].pings == ()
        assert [each.illness for each in connected.ready()] == ["half-open"]
        connected.gateway.fall_ill("none")
        connected.clock.advance(15)
        types = {(await line.read()).header("type") for _ in range(2)}
        assert types == {"pong", "event"}  # what it sent meanwhile was not lost, as TCP has it


async def test_a_half_open_connection_is_taken_for_alive_when_its_bot_is_long_gone(connected: Connected) -> None:
    async with connected.line() as line:
        connected.gateway.fall_ill("half-open")
        line.socket.transport.abort()
    assert await connected.answers(connected.say("hello")) == ["timeout"]
    assert len(connected.ready()) == 1


async def test_on_a_quiet_connection_pings_are_answered_and_no_events_come(connected: Connected) -> None:
    async with connected.line() as line:
        connected.gateway.fall_ill("quiet")
        message_id = connected.say("hello")
        assert await connected.answers(message_id) == ["timeout"]
        assert (await line.ping())["PingInterval"] == 120


async def test_without_pongs_events_come_and_pings_are_not_answered(connected: Connected) -> None:
    async with connected.line() as line:
        connected.gateway.fall_ill("no-pongs")
        await line.send_ping()
        await until(lambda: len(connected.seen[0].pings) == 1)
        connected.say("hello")
        assert (await line.read()).header("type") == "event"


async def test_only_the_connection_that_is_named_falls_ill(connected: Connected) -> None:
    async with connected.line(), connected.line():
        first, second = connected.seen
        assert connected.gateway.fall_ill("quiet", second.id) == 1
        assert [each.illness for each in connected.seen] == ["none", "quiet"]
        with pytest.raises(KeyError, match="nobody"):
            connected.gateway.fall_ill("quiet", "nobody")
        connected.gateway.clear()
        assert [each.illness for each in connected.seen] == ["none", "none"]
        assert first.ready


async def test_a_connection_is_ended_with_the_code_that_was_asked_for(connected: Connected) -> None:
    async with connected.line() as line, asyncio.TaskGroup() as group:
        group.create_task(connected.gateway.kick(4403, "go"))
        with pytest.raises(ConnectionClosedError) as ended:
            await line.socket.recv()
        assert ended.value.rcvd is not None
        assert (ended.value.rcvd.code, ended.value.rcvd.reason) == (4403, "go")
    async with connected.line() as line, asyncio.TaskGroup() as group:
        group.create_task(connected.gateway.kick(1000))
        with pytest.raises(ConnectionClosedOK):
            await line.socket.recv()
    async with connected.line() as line:
        assert await connected.gateway.kick(1006) == 1
        with pytest.raises(ConnectionClosedError) as ended:
            await line.socket.recv()
        assert ended.value.rcvd is None
    ends = [(each.close_code, each.closed_by) for each in connected.seen]
    assert ends == [(4403, "platform"), (1000, "platform"), (1006, "platform")]


@pytest.mark.parametrize("code", [0, 1004, 1005, 1015, 5000])
async def test_a_code_that_nobody_may_send_is_refused(connected: Connected, code: int) -> None:
    with pytest.raises(ValueError, match=str(code)):
        await connected.gateway.kick(code)


async def test_what_a_killed_bot_leaves_gets_events_for_as_long_as_the_option_says() -> None:
    async with platform(0.3) as connected:
        connected.options(stale_s=600.0)
        url = (await connected.endpoint())["data"]["URL"]
        script = "import sys, websockets.sync.client as c; s = c.connect(sys.argv[1], proxy=None); s.recv()"
        bot = await asyncio.create_subprocess_exec(sys.executable, "-c", script, url)
        await until(lambda: bool(connected.ready()))
        bot.send_signal(signal.SIGKILL)
        await bot.wait()
        await until(lambda: not connected.ready())
        assert (connected.seen[0].close_code, connected.seen[0].closed_by) == (1006, "nobody")
        message_id = connected.say("hello")
        assert await connected.answers(message_id) == ["timeout"]
        connected.clock.advance(600)
        assert (await connected.answers(message_id, 2))[1] == "no connection"
        assert [each.answer for each in connected.seen[0].events] == ["timeout"]


async def test_one_that_said_close_gets_nothing_more(connected: Connected) -> None:
    connected.options(stale_s=600.0)
    async with connected.line():
        pass
    await until(lambda: not connected.ready())
    assert (await connected.answers(connected.say("hello")))[0] == "no connection"


async def test_a_handshake_is_refused_as_it_was_ordered(connected: Connected) -> None:
    connected.gateway.trouble.handshakes += [
        HandshakeFault(status=403, message="no"),
        HandshakeFault(status=514, message="who?", autherrcode=1000040350, http=400),
        HandshakeFault(status=0, message="bad gateway", http=502),
    ]
    got = []
    for _ in range(3):
        url = (await connected.endpoint())["data"]["URL"]
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, proxy=None)
        response = refused.value.response
        found = [response.headers.get(f"handshake-{name}") for name in ("status", "msg", "autherrcode")]
        got.append((response.status_code, *found))
    assert got == [
        (403, "403", "no", None),
        (400, "514", "who?", "1000040350"),
        (502, None, None, None),
    ]
    assert [each.refused for each in connected.seen] == ["403 no", "514 who?", "HTTP 502 bad gateway"]
    assert connected.ready() == []
    async with connected.line():
        assert len(connected.ready()) == 1


async def test_a_handshake_hangs_until_the_faults_are_cleared(connected: Connected) -> None:
    connected.gateway.trouble.handshakes.append(HandshakeFault(hang=True))
    url = (await connected.endpoint())["data"]["URL"]
    async with asyncio.TaskGroup() as group:
        connecting = group.create_task(connect(url, proxy=None).__aenter__())
        await until(lambda: len(connected.seen) == 1)
        assert connected.ready() == []
        assert not connecting.done()
        connected.gateway.clear()
        await (await connecting).close()


async def test_a_platform_ends_although_a_handshake_hangs() -> None:
    async with platform() as connected:
        connected.gateway.trouble.handshakes.append(HandshakeFault(hang=True))
        url = (await connected.endpoint())["data"]["URL"]
        connecting = asyncio.get_running_loop().create_task(connect(url, proxy=None).__aenter__())
        await until(lambda: len(connected.seen) == 1)
    with pytest.raises(Exception):  # noqa: B017, PT011  whatever the library makes of it
        await connecting


@pytest.mark.parametrize("how", ["parts-reversed", "part-twice", "twice"])
async def test_what_arrives_all_the_same_is_acknowledged(connected: Connected, how: str) -> None:
    connected.gateway.trouble.spoils.append(Spoil(how=how))
    async with connected.line() as line:
        message_id = connected.say("你好")
        got: dict[str, bytes] = {}
        frame = await line.read()
        got[frame.header("seq")] = frame.payload or b""
        while len(got) < int(frame.header("sum")):
            frame = await line.read()
            got[frame.header("seq")] = frame.payload or b""
        await line.answer(frame)
        assert (await connected.answers(message_id))[0] == "200"
    event = json.loads(b"".join(got[key] for key in sorted(got)))
    assert event["event"]["message"]["message_id"] == message_id


async def test_an_acknowledgement_that_is_lost_brings_the_event_again(connected: Connected) -> None:
    connected.gateway.trouble.spoils.append(Spoil(how="acknowledgement-lost"))
    async with connected.line() as line:
        message_id = connected.say("hello")
        first = await line.read()
        await line.answer(first)
        await connected.answers(message_id)
        connected.clock.advance(15)
        second = await line.read()
        await line.answer(second)
        assert await connected.answers(message_id, 2) == ["timeout", "200"]
        assert first.payload == second.payload
        assert first.header("message_id") != second.header("message_id")


async def test_an_acknowledgement_that_comes_late_or_twice_or_changed_is_written_down(connected: Connected) -> None:
    async with connected.line() as line:
        message_id = connected.say("hello")
        first = await line.read()
        await connected.answers(message_id)
        await line.answer(first)
        connected.clock.advance(15)
        second = await line.read()
        await line.answer(Frame(headers=second.headers[2:]))
        await connected.answers(message_id, 2)
        await line.answer(second)
        await line.socket.send(frames.encode(Frame(headers=second.headers, payload=b"[]")))
        await until(lambda: len(connected.seen[0].oddities) == 4)
    assert connected.seen[0].oddities == (
        f"an acknowledgement of {first.header('message_id')} too many or too late",
        "an acknowledgement with other headers: timestamp, type",
        f"an acknowledgement of {second.header('message_id')} too many or too late",
        "an acknowledgement that is no JSON with a code",
    )


async def test_an_oversized_frame_is_as_large_as_was_asked_for(connected: Connected) -> None:
    connected.gateway.trouble.spoils.append(Spoil(how="oversized", size_bytes=2_000_000))
    async with connected.line() as line:
        connected.say("hello")
        with pytest.raises(ConnectionClosedError):
            await line.read()
    await until(lambda: not connected.ready())
    assert (connected.seen[0].close_code, connected.seen[0].events[0].answer) == (1009, "connection lost")


@pytest.mark.parametrize("how", SPOILS)
def test_each_way_to_spoil_an_event_changes_what_is_sent(how: str) -> None:
    sent = spoilt(EVENT, Spoil(how=how, size_bytes=100))
    assert (sent == [frames.encode(EVENT)]) == (how == "acknowledgement-lost")


def test_the_parts_of_an_event_are_the_event() -> None:
    for count in range(1, 60):
        made = parts(EVENT, count)
        assert b"".join(each.payload or b"" for each in made) == EVENT.payload
        assert [(each.header("sum"), each.header("seq")) for each in made] == [
            (str(len(made)), str(seq)) for seq in range(len(made))
        ]


def test_what_is_unknown_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="truncated"):
        Spoil(how="truncate")
    with pytest.raises(ValueError, match="half-open"):
        illness("halfopen")
    with pytest.raises(ValueError, match="300 or more"):
        HandshakeFault(http=200)


@pytest.mark.parametrize("pong", ['{"ReconnectCount":-1}', "", "no json", '{"PingInterval":"soon"}'])
async def test_a_pong_carries_what_was_ordered(connected: Connected, pong: str) -> None:
    connected.options(pong=pong)
    async with connected.line() as line:
        await line.send_ping()
        assert (await line.read()).payload == pong.encode()


async def test_events_that_were_held_back_come_late_and_in_the_order_that_was_asked_for(
    connected: Connected,
) -> None:
    connected.pusher.hold()
    said = [connected.say(f"number {number}") for number in range(5)]
    async with connected.line() as line:
        assert connected.pusher.release("reversed") == 5
        got = []
        for _ in said:
            frame = await line.read()
            got.append(json.loads(frame.payload or b"")["event"]["message"]["message_id"])
            await line.answer(frame)
    assert got == said[::-1]
    with pytest.raises(ValueError, match="shuffled"):
        connected.pusher.release("sideways")
