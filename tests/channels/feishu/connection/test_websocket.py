"""What goes over a connection, and what becomes of it when the platform does not behave."""

import asyncio
import base64
import json

import pytest
from starlette.responses import JSONResponse, PlainTextResponse
from tests.channels.feishu.connection.conftest import SERVICE, event, frame

from mainstay.channels.feishu.connection import websocket
from mainstay.channels.feishu.connection.frame import CONTROL, Frame, encode
from mainstay.channels.feishu.press import Told, answer
from mainstay.events import ConnectionLost, ConnectionOpened, ConnectionRefused, ErrorSeen, FrameRejected

pytestmark = pytest.mark.anyio


def said(acknowledgement: Frame) -> dict[str, object]:
    return json.loads(acknowledgement.payload)


async def test_an_event_is_acknowledged_by_its_own_frame_once_it_is_stored(bot):
    bot.storing = asyncio.Event()
    await bot.connect()
    socket = await bot.gate.connected()
    await socket.send(frame("f1", event()))
    await socket.send(frame("f2", event(kind="x.unheard_of_v9")))
    unheard_of = await bot.gate.acknowledged("f2")
    assert said(unheard_of) == {"code": 200}
    assert [each.header("message_id") for each in bot.gate.came] == ["f2"], "acknowledged before it was stored"
    bot.storing.set()
    acknowledgement = await bot.gate.acknowledged("f1")
    assert said(acknowledgement) == {"code": 200}
    assert (acknowledgement.service, acknowledgement.method) == (SERVICE, 1)
    assert [key for key, _ in acknowledgement.headers] == ["type", "message_id", "sum", "seq", "trace_id", "biz_rt"]
    assert acknowledgement.header("biz_rt").isdigit()
    assert [message.text for message in bot.accepted] == ["hello"]


async def test_what_could_not_be_stored_is_delivered_again(bot):
    bot.full = True
    await bot.connect()
    socket = await bot.gate.connected()
    await socket.send(frame("f1", event()))
    assert said(await bot.gate.acknowledged("f1")) == {"code": 500}


async def test_storing_has_a_deadline(bot):
    bot.storing = asyncio.Event()
    await bot.connect(ack_timeout=0.05)
    socket = await bot.gate.connected()
    await socket.send(frame("f1", event()))
    assert said(await bot.gate.acknowledged("f1")) == {"code": 500}
    assert bot.accepted == []


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("event", {"schema": "2.0", "header": {"event_type": "card.action.trigger"}, "event": {"action": {}}}),
        ("card", {"open_message_id": "om_1", "action": {}}),
    ],
)
async def test_a_press_is_answered_in_the_acknowledgement_and_only_then_followed_up(bot, kind, payload):
    await bot.connect()
    socket = await bot.gate.connected()
    await socket.send(frame("f1", json.dumps(payload).encode(), kind=kind))
    told = said(await bot.gate.acknowledged("f1"))
    assert told["code"] == 200
    assert json.loads(base64.b64decode(told["data"])) == answer(Told.TRYING)
    await bot.gate.until(lambda: len(bot.answered) == 1)


async def test_who_pressed_is_told_before_the_platform_gives_up(bot):
    bot.storing = asyncio.Event()
    await bot.connect(ack_timeout=0.05)
    socket = await bot.gate.connected()
    payload = {"schema": "2.0", "header": {"event_type": "card.action.trigger"}, "event": {"action": {}}}
    await socket.send(frame("f1", json.dumps(payload).encode()))
    told = said(await bot.gate.acknowledged("f1"))
    assert json.loads(base64.b64decode(told["data"])) == answer(Told.NOT_NOW)
    assert bot.answered == []


async def test_parts_in_any_order_become_one_event_that_is_acknowledged_once(bot):
    await bot.connect()
    socket = await bot.gate.connected()
    payload = event(content=json.dumps({"text": "你好 👋🏽"}, ensure_ascii=False))
    third = len(payload) // 3
    parts = [payload[:third], payload[third : 2 * third], payload[2 * third :]]
    for number in (2, 0, 0, 1):
        await socket.send(frame("f1", parts[number], total=3, number=number))
    assert said(await bot.gate.acknowledged("f1")) == {"code": 200}
    assert [message.text for message in bot.accepted] == ["你好 👋🏽"]


NONSENSE = {
    "bytes": b"\xff" * 40,
    "nothing": b"",
    "cut off": frame("f0", event())[:-7],
    "text": "hello",
    "an unknown method": encode(Frame(service=SERVICE, method=7, headers=(("type", "event"),))),
    "an unknown control": encode(Frame(service=SERVICE, method=CONTROL, headers=(("type", "dance"),))),
    "an unknown type": frame("f0", b"{}", kind="dance"),
    "no json": frame("f0", b"{nope"),
    "json that is no object": frame("f0", b"[]"),
    "no event": frame("f0", b"{}"),
    "no message": frame("f0", event(message_id="")),
    "a number that is none": frame("f0", event(), total=1, number=0).replace(b"\x12\x010", b"\x12\x01x"),
    "a part too many": frame("f0", event(), total=3, number=3),
    "very many parts": frame("f0", event(), total=10_000_000, number=0),
    "too large": frame("f0", event(content="x" * 30_000)),
    "a pong of nonsense": encode(
        Frame(service=SERVICE, method=CONTROL, headers=(("type", "pong"),), payload=b"\xff[")
    ),
}


async def test_nonsense_is_told_and_is_not_the_end_of_the_connection(bot):
    made = await bot.connect(body_limit=8192)
    socket = await bot.gate.connected()
    for number, (name, nonsense) in enumerate(NONSENSE.items()):
        told = len(bot.seen(FrameRejected))
        await socket.send(nonsense)
        await socket.send(frame(f"f{number}", event()))
        assert said(await bot.gate.acknowledged(f"f{number}")) == {"code": 200}
        assert len(bot.seen(FrameRejected)) - told == (0 if name == "a pong of nonsense" else 1), name
    assert made.rejected.total() == len(bot.seen(FrameRejected))
    assert bot.gate.opened == 1
    assert bot.seen(ConnectionLost) == []
    assert all("hello" not in each.reason and len(each.reason) < 100 for each in bot.seen(FrameRejected))


async def test_what_is_larger_than_any_frame_costs_the_connection_and_not_the_memory(bot):
    await bot.connect()
    socket = await bot.gate.connected()
    await socket.send(b"x" * (4 * bot.settings.body_limit + 1))
    await bot.gate.connected(2)
    [lost] = bot.seen(ConnectionLost)
    assert "too large" in lost.reason


async def test_more_events_than_can_be_held_are_left_to_be_delivered_again(bot, monkeypatch):
    monkeypatch.setattr(websocket, "_MOST_AT_ONCE", 3)
    bot.storing = asyncio.Event()
    made = await bot.connect()
    socket = await bot.gate.connected()
    for number in range(5):
        await socket.send(frame(f"f{number}", event(f"om_{number}")))
    await bot.gate.until(lambda: made.rejected["too many events at once"] == 2)
    bot.storing.set()
    for number in range(3):
        assert said(await bot.gate.acknowledged(f"f{number}")) == {"code": 200}
    await socket.send(frame("f9", event("om_9")))
    assert said(await bot.gate.acknowledged("f9")) == {"code": 200}


async def test_a_bug_in_one_event_is_told_and_costs_only_that_event(bot):
    async def broken(_):
        raise RuntimeError("a bug")

    bot.press = broken
    await bot.connect()
    socket = await bot.gate.connected()
    payload = {"schema": "2.0", "header": {"event_type": "card.action.trigger"}, "event": {"action": {}}}
    await socket.send(frame("f1", json.dumps(payload).encode()))
    assert said(await bot.gate.acknowledged("f1")) == {"code": 500}
    await socket.send(frame("f2", event()))
    assert said(await bot.gate.acknowledged("f2")) == {"code": 200}
    assert [each.message for each in bot.seen(ErrorSeen)] == ["RuntimeError"]


async def test_a_connection_that_ends_is_opened_again(bot):
    made = await bot.connect()
    for count in range(1, 4):
        socket = await bot.gate.connected(count)
        await (socket.close(1001) if count == 2 else asyncio.sleep(0, socket.transport.abort()))
    await bot.gate.connected(4)
    assert bot.gate.most == 1
    reasons = [each.reason for each in bot.seen(ConnectionLost)]
    assert "closed by the platform with 1001" in reasons
    assert "it broke off without a goodbye" in reasons
    detail = made.detail()
    assert detail["reconnects"] == 3
    assert detail["lastReason"] == reasons[-1]
    assert bot.gate.asked == bot.gate.opened, "an address is good for one connection"


async def test_a_half_open_connection_is_found_by_its_missing_pongs(bot):
    made = await bot.connect()
    await bot.gate.connected()
    await bot.gate.until(lambda: made.detail()["lastPong"] is not None)
    bot.gate.pongs = False
    await bot.until(ConnectionLost)
    bot.gate.pongs = True
    await bot.gate.connected(2)
    assert "half-open" in bot.seen(ConnectionLost)[0].reason
    assert bot.gate.most == 1


async def test_whatever_the_platform_says_instead_of_an_address_it_is_asked_again(bot):
    bot.gate.answers = [
        JSONResponse({"code": 1, "msg": "system busy"}),
        JSONResponse({"code": 1, "msg": "system busy"}),
        JSONResponse({"code": 1000040343, "msg": "internal"}),
        JSONResponse({"code": 424242, "msg": "who knows"}),
        JSONResponse({"code": 0, "data": {"URL": "wss://"}}),
        JSONResponse([]),
        PlainTextResponse("<html>", 502),
    ]
    made = await bot.connect()
    await bot.until(ConnectionRefused)
    assert made.status()[0] == "down", "it was never connected"
    await bot.until(ConnectionOpened)
    assert made.status() == ("ok", "")
    assert bot.gate.asked == 8
    assert len(bot.seen(ConnectionRefused)) == 6, "the same reason is told once"


async def test_a_platform_that_is_not_there_is_asked_again(bot):
    made = await bot.connect(domain="http://127.0.0.1:1")
    await bot.until(ConnectionRefused)
    assert made.status() == ("down", "the platform is not reached (ConnectError)")


async def test_wrong_credentials_are_shown_as_what_they_are_and_never_as_connected(bot):
    bot.gate.answers = [JSONResponse({"code": 10014, "msg": "app secret invalid"})] * 2
    made = await bot.connect()
    await bot.until(ConnectionRefused)
    assert bot.seen(ConnectionRefused)[0].kind == "rejected"
    status, reason = made.status()
    assert status == "down"
    assert "does not accept the app" in reason
    assert "10014" in reason
    assert not made.opened.is_set()
    await bot.gate.connected()


async def test_a_refused_ticket_is_replaced_and_too_many_connections_are_called_that(bot):
    bot.gate.handshakes = [
        {"Handshake-Status": "514", "Handshake-Msg": "invalid ticket", "Handshake-Autherrcode": "1000040349"},
        {"Handshake-Status": "514", "Handshake-Msg": "exceeded", "Handshake-Autherrcode": "1000040350"},
        {},
    ]
    made = await bot.connect()
    await bot.gate.connected()
    await bot.until(ConnectionOpened)
    assert [each.kind for each in bot.seen(ConnectionRefused)] == ["ticket", "crowded", "transient"]
    assert "too many connections" in bot.seen(ConnectionRefused)[1].reason
    assert bot.gate.asked == 4, "a ticket was used twice"
    assert made.status() == ("ok", "")


async def test_while_it_is_connected_again_it_is_degraded_and_not_down(bot):
    made = await bot.connect(deaf_after=0.3)
    socket = await bot.gate.connected()
    await bot.until(ConnectionOpened)
    bot.gate.answers = [JSONResponse({"code": 1, "msg": "system busy"})] * 1000
    assert not made.is_deaf
    socket.transport.abort()
    await bot.until(ConnectionRefused)
    status, reason = made.status()
    assert status == "degraded"
    assert reason.startswith("0 of 1 connections are open: code 1")
    await bot.gate.until(lambda: made.is_deaf)


async def test_pings_go_on_whatever_the_platform_says_about_them(bot):
    await bot.connect()
    await bot.gate.connected()
    for config in ({"PingInterval": 0}, {"PingInterval": 1e308}, {"PingInterval": None}, {"ReconnectCount": 0}, []):
        bot.gate.config, before = config, bot.gate.pings
        await bot.gate.until(lambda before=before: bot.gate.pings >= before + 2)
    assert bot.gate.opened == 1


async def test_so_many_connections_as_were_asked_for_each_with_its_own_state(bot):
    made = await bot.connect(connections=3)
    await bot.gate.until(lambda: len(bot.gate.open) == 3)
    await bot.until(ConnectionOpened, 3)
    assert {check().name for check in made.checks()} == {"feishu:1", "feishu:2", "feishu:3"}
    assert made.detail()["connections"] == "3/3"
    bot.gate.answers = [JSONResponse({"code": 1, "msg": "busy"})] * 1000
    bot.gate.open[0].transport.abort()
    await bot.until(ConnectionLost)
    assert made.status()[0] == "degraded"
    assert sorted(check().status for check in made.checks()) == ["degraded", "ok", "ok"]
    assert bot.gate.most == 3


async def test_one_of_several_over_which_nothing_comes_is_replaced_because_the_others_bring_something(bot):
    made = await bot.connect(connections=2, ping_interval=30.0)
    await bot.until(ConnectionOpened, 2)
    socket = bot.gate.open[0]
    for number in range(30):
        assert bot.seen(ConnectionLost) == []
        await socket.send(frame(f"f{number}", event(f"om_{number}")))
        await bot.gate.acknowledged(f"f{number}")
    await bot.until(ConnectionOpened, 3)
    [lost] = bot.seen(ConnectionLost)
    assert lost.reason.startswith("stale: event after event came over the other connections")
    assert bot.gate.open[0] is socket
    assert (bot.gate.most, bot.gate.closed_with) == (2, [1000])
    assert made.status() == ("ok", "")


async def test_of_several_the_latest_reason_is_shown(bot):
    made = await bot.connect(connections=3)
    await bot.until(ConnectionOpened, 3)
    for count, code in enumerate((1001, 1011, 4000, 1012, 4001), start=4):
        await bot.gate.open[0].close(code)
        await bot.until(ConnectionOpened, count)
        assert made.detail()["lastReason"] == f"closed by the platform with {code}"


async def test_who_stops_says_goodbye(bot):
    await bot.connect(connections=2)
    await bot.until(ConnectionOpened, 2)
    await bot.stop()
    await bot.gate.until(lambda: not bot.gate.open)
    assert bot.gate.closed_with == [1000, 1000]
    assert bot.gate.opened == 2


async def test_what_was_cut_off_at_any_moment_can_be_run_again(bot):
    made = await bot.connect()
    await bot.until(ConnectionOpened)
    for count in (2, 3):
        await bot.stop()
        bot.task = asyncio.get_running_loop().create_task(made.run())
        if count == 2:
            await bot.gate.until(lambda: bot.gate.asked == 2)  # it is asking, or connecting
    await bot.gate.until(lambda: made.status() == ("ok", ""))


async def test_a_process_that_fails_leaves_the_platform_while_it_goes_on_itself(bot):
    made = await bot.connect()
    await bot.until(ConnectionOpened)
    made.leave()
    await asyncio.wait({bot.task})
    assert bot.task.exception() is None
    await bot.gate.until(lambda: bot.gate.closed_with == [1000])
    assert made.status()[0] == "degraded"


async def test_nothing_that_is_secret_is_told(bot, caplog):
    caplog.set_level("DEBUG")
    bot.gate.answers = [JSONResponse({"code": 10014, "msg": "app secret invalid"})]
    await bot.connect()
    socket = await bot.gate.connected()
    await socket.send(frame("f1", event()))
    await bot.gate.acknowledged("f1")
    socket.transport.abort()
    await bot.gate.connected(2)
    told = (
        f"{bot.events} {[record.getMessage() for record in caplog.records if record.name.startswith('mainstay')]}"
    )
    for secret in ("ticket=", "hello", '"secret"'):
        assert secret not in told
    assert not [record for record in caplog.records if record.name.startswith("websockets.client")]
