"""What a client of the long connection has to keep, tried with three of them.

What an official SDK does not keep is listed with the reason; should it keep it one day, the test fails.
"""

import itertools
import signal
from collections.abc import AsyncIterator

import pytest
from tests.channels.feishu.conformance.bots import BOTS, Bot, Program, bot
from tests.sandbox.feishu.conftest import APP
from tests.sandbox.feishu.connected import platform

from mainstay.sandbox.feishu import events
from mainstay.sandbox.feishu.faults import PlatformFault
from mainstay.sandbox.feishu.trouble import HandshakeFault, Spoil

pytestmark = pytest.mark.anyio

ENDPOINT = "POST /callback/ws/endpoint"


def kept_by_all(*, lark: str = "", node: str = "") -> pytest.MarkDecorator:
    """By all clients, but for those that have a reason here."""
    known = {"lark-oapi": lark, "node-sdk": node}
    kinds = [
        pytest.param(
            kind,
            marks=[pytest.mark.xfail(strict=True, reason=known[kind], raises=(AssertionError, TimeoutError))]
            if known.get(kind)
            else [],
        )
        for kind in BOTS
    ]
    return pytest.mark.parametrize("program", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def program(request: pytest.FixtureRequest) -> Program:
    """Of the bot; where it is not installed the tests are skipped."""
    return BOTS[request.param]()


@pytest.fixture(scope="module")
async def running(program: Program) -> AsyncIterator[Bot]:
    async with platform() as connected, bot(program, connected) as made:
        yield made


@pytest.fixture
async def client(running: Bot, request: pytest.FixtureRequest) -> Bot:
    await running.restore(fails=request.node.get_closest_marker("xfail") is not None)
    return running


@kept_by_all()
async def test_a_message_is_handled_acknowledged_with_its_own_headers_and_answered(client: Bot) -> None:
    message_id = client.platform.say("你好 👋🏽")
    assert await client.acknowledged(message_id) == ["200"]
    await client.until(lambda: {"got": message_id, "text": "你好 👋🏽"} in client.told)
    await client.until(lambda: client.platform.said_to(message_id) == ["你好 👋🏽"])
    assert client.connection.oddities == ()


@kept_by_all()
@pytest.mark.parametrize("how", ["parts-reversed", "part-twice"])
async def test_a_message_in_parts_is_put_together(client: Bot, how: str) -> None:
    client.platform.gateway.trouble.spoils.append(Spoil(how=how))
    message_id = client.platform.say("in parts")
    assert await client.acknowledged(message_id) == ["200"]
    assert await client.handled(message_id) == 1


@kept_by_all()
async def test_a_press_is_answered_in_the_acknowledgement(client: Bot) -> None:
    message = client.platform.tenant.messages.messages[client.platform.say("a card")]
    action: dict[str, object] = {"value": {"a": 1}, "tag": "button"}
    now = client.platform.clock.moment()
    body = events.clicked(APP, message, action, "ou_u1", f"press-{message.message_id}", now)
    code, answer = await client.platform.pusher.callback(body)
    assert code == 200
    assert isinstance(answer, dict)
    assert answer["toast"]["content"]


@kept_by_all(lark="answers 500 to an event that nobody has registered for, so that it comes again four times")
async def test_an_event_of_a_kind_that_it_does_not_know_is_acknowledged(client: Bot) -> None:
    message = client.platform.tenant.messages.messages[client.platform.say("hello")]
    body = events.recalled(APP, message, f"recall-{message.message_id}", client.platform.clock.moment())
    client.platform.pusher.push(body, message_id=f"recall:{message.message_id}", chat_id=message.chat_id)
    assert await client.acknowledged(f"recall:{message.message_id}") == ["200"]


@kept_by_all()
async def test_frames_that_are_none_end_nothing_and_their_events_come_again(client: Bot) -> None:
    ways = ["truncated", "text", "unknown-type", "unknown-method", "no-headers", "not-json", "bad-parts"]
    ways.append("part-missing")
    connection = client.connection
    client.platform.gateway.trouble.spoils += [Spoil(how=how) for how in ways]
    spoilt = [client.platform.say(how, sender=f"ou_{how}") for how in ways]
    await client.until(lambda: not client.platform.gateway.trouble.spoils)
    await client.platform.gateway.write(b"")
    assert await client.acknowledged(client.platform.say("well")) == ["200"]
    await client.until(lambda: all(client.platform.delivery(each).attempts for each in spoilt))
    client.platform.clock.advance(15)
    for each in spoilt:
        assert (await client.acknowledged(each))[-1] == "200"
    assert client.connection.id == connection.id


@kept_by_all()
async def test_a_frame_that_is_too_large_costs_a_connection_at_most(client: Bot) -> None:
    client.platform.gateway.trouble.spoils.append(Spoil(how="oversized"))
    message_id = client.platform.say("large")
    await client.until(lambda: bool(client.platform.delivery(message_id).attempts))
    await client.until(lambda: len(client.platform.ready()) == 1)
    client.platform.clock.advance(15)
    assert (await client.acknowledged(message_id))[-1] == "200"


@kept_by_all()
async def test_it_pings_as_it_is_told_and_a_quiet_time_ends_nothing(client: Bot) -> None:
    connection, before = client.connection, len(client.connection.pings)
    await client.until(lambda: len(client.platform.ready()[0].pings) >= before + 3)
    assert client.connection.id == connection.id


@kept_by_all(
    lark="takes what a pong leaves out for None, on which its loop of pings ends",
    node="takes what a pong leaves out for no time at all, and pings a thousand times in a second",
)
@pytest.mark.parametrize("pong", ['{"ReconnectCount":-1}', '{"PingInterval":"soon"}', "[]"])
async def test_what_a_pong_does_not_say_or_not_rightly_stays_as_it_was(client: Bot, pong: str) -> None:
    client.platform.options(pong=pong)
    before = len(client.connection.pings)
    await client.until(lambda: len(client.platform.ready()[0].pings) >= before + 4)
    pings = client.connection.pings[before + 1 :]
    assert all(later - earlier > 0.5 for earlier, later in itertools.pairwise(pings))


@kept_by_all()
@pytest.mark.parametrize("pong", ["", "null"])
async def test_a_pong_that_says_nothing_ends_nothing(client: Bot, pong: str) -> None:
    await goes_on_after(client, pong)


@kept_by_all(lark="takes a pong that is no JSON for one that leaves everything out")
async def test_a_pong_that_is_no_json_ends_nothing(client: Bot) -> None:
    await goes_on_after(client, "no json")


async def goes_on_after(client: Bot, pong: str) -> None:
    """It pings, and takes messages, although pongs are like this."""
    client.platform.options(pong=pong)
    before = len(client.connection.pings)
    await client.until(lambda: len(client.platform.ready()[0].pings) >= before + 2)
    client.platform.options(pong=None)
    assert await client.acknowledged(client.platform.say("hello")) == ["200"]


@kept_by_all()
@pytest.mark.parametrize("code", [1000, 1001, 4403, 1006])
async def test_a_connection_that_was_ended_is_followed_by_another(client: Bot, code: int) -> None:
    before = client.connection
    await client.platform.gateway.kick(code)
    await client.another(before)
    assert await client.acknowledged(client.platform.say("hello")) == ["200"]


@kept_by_all(lark="ends its thread of reading on a refusal that it does not know, and sleeps for ever")
async def test_a_platform_that_refuses_an_address_for_a_while_is_asked_again(client: Bot) -> None:
    before = client.connection
    client.platform.faults.inject(PlatformFault(call=ENDPOINT, code=1000040351, status=200))
    await client.platform.gateway.kick(1000)
    await client.another(before)


@kept_by_all()
async def test_a_gateway_that_answers_with_a_page_is_asked_again(client: Bot) -> None:
    before = client.connection
    client.platform.faults.inject(PlatformFault(call=ENDPOINT, status=502))
    client.platform.gateway.trouble.handshakes.append(HandshakeFault(status=0, message="bad gateway", http=502))
    await client.platform.gateway.kick(1000)
    await client.another(before)


@kept_by_all(lark="ends its thread of reading on a handshake that is forbidden, and sleeps for ever")
@pytest.mark.parametrize(
    "fault", [HandshakeFault(status=403, message="forbidden"), HandshakeFault(autherrcode=1000040350)]
)
async def test_a_handshake_that_was_refused_is_tried_again(client: Bot, fault: HandshakeFault) -> None:
    before = client.connection
    client.platform.gateway.trouble.handshakes.append(fault)
    await client.platform.gateway.kick(1000)
    await client.another(before)


@kept_by_all(
    lark="does not miss a pong; only the pings of its WebSocket find it, after 40 seconds",
    node="does not miss a pong, unless its pingTimeout is set",
)
async def test_a_connection_on_which_nothing_comes_back_is_replaced(client: Bot) -> None:
    before = client.connection
    client.platform.gateway.fall_ill("half-open")
    await client.another(before)


@kept_by_all(
    lark="runs its handlers on the loop that acknowledges",
    node="acknowledges when its handler has ended",
)
async def test_it_acknowledges_at_once_however_long_the_work_takes(client: Bot) -> None:
    message_id = client.platform.say("long work")
    assert (await client.platform.answers(message_id))[0] == "200"


@kept_by_all(lark="knows of no duplicates", node="knows of no duplicates")
async def test_a_message_that_comes_again_is_acknowledged_and_not_handled_again(client: Bot) -> None:
    message_id = client.platform.say("once")
    assert await client.acknowledged(message_id) == ["200"]
    client.platform.pusher.again(message_id)
    await client.until(lambda: len(client.platform.delivery(message_id).attempts) == 2)
    client.platform.deliver(message_id, f"again-{message_id}")
    assert await client.handled(message_id) == 1


@kept_by_all(lark="has no way to be stopped")
async def test_on_sigterm_it_says_close(client: Bot) -> None:
    client.broken = True
    client.end(signal.SIGTERM)
    await client.until(lambda: not client.platform.ready())
    assert client.platform.seen[-1].closed_by == "bot"


@kept_by_all(
    lark="goes on with a token that was refused until it would have expired",
    node="goes on with a token that was refused until it would have expired",
)
async def test_a_token_that_was_revoked_costs_no_answer(client: Bot) -> None:
    first = client.platform.say("first")
    await client.until(lambda: client.platform.said_to(first) == ["first"])
    client.platform.tenant.tokens.revoke()
    second = client.platform.say("second")
    await client.until(lambda: client.platform.said_to(second) == ["second"])


@kept_by_all(lark="tries nothing again", node="tries nothing again")
async def test_a_rate_limit_costs_no_answer(client: Bot) -> None:
    headers = {"x-ogw-ratelimit-limit": "50", "x-ogw-ratelimit-reset": "1"}
    client.platform.faults.inject(PlatformFault(call="POST /reply", code=99991400, status=429, headers=headers))
    message_id = client.platform.say("in time")
    await client.until(lambda: client.platform.said_to(message_id) == ["in time"])
