"""A bot that is connected to the platform of the sandbox, which judges it by what came over the connection."""

import pytest

from mainstay.errors import Category
from mainstay.events import CardSent, ConnectionLost, ConnectionOpened, ConnectionRefused
from mainstay.messages import Outcome
from mainstay.settings import Secret

pytestmark = pytest.mark.anyio


@pytest.fixture
async def connected(world):
    """The platform's record of connections begins here."""
    await world.platform.subscribe_by_connection()
    world.connections_before = len(await world.platform.connections())
    yield world
    await world.platform.options(event_parts=1)


async def seen(world):
    return (await world.platform.connections())[world.connections_before :]


async def test_what_is_said_comes_over_the_connection_in_however_many_frames(connected):
    process = await connected.process(mode="subscription")
    assert process.channel.routes == []
    await process.until(ConnectionOpened)
    await connected.ask("hello")
    await connected.platform.options(event_parts=5)
    message = await connected.ask("in five parts: 你好 👋🏽 שלום")
    assert message.text == "in five parts: 你好 👋🏽 שלום"

    async def acknowledged():
        [line] = await seen(connected)
        return [each.answer for each in line.events] == ["200", "200"]

    await connected.eventually(acknowledged)
    [line] = await seen(connected)
    assert line.pings, "the first ping goes out at once"
    assert line.oddities == ()
    [check] = process.channel.checks()
    condition = check()
    assert (condition.status, condition.required) == ("ok", True)
    assert condition.detail["connections"] == "1/1"
    assert condition.detail["lastEvent"]


async def test_a_button_is_pressed_over_the_connection(connected):
    process = await connected.process(mode="subscription")
    await process.until(ConnectionOpened)
    message = await connected.ask("hello")
    replier = process.channel.replier(message, message.turn_id, 1)
    await process.until(CardSent)
    await connected.finish(
        replier, "", Outcome.FAILED, notice="The model is away.", category=Category.TIMEOUT, retryable=True
    )
    [reply] = await connected.replies(message)
    status, told = await connected.platform.press(reply.message_id, reply.actions[0])
    assert (status, told["toast"]["type"]) == (200, "info")
    tries = [each for each in connected.accepted if each.retry_of == message.turn_id]
    assert len(tries) == 1

    async def withdrawn():
        [now] = await connected.replies(message)
        return now.actions == ()

    await connected.eventually(withdrawn)


async def test_each_connection_takes_its_share_and_all_are_closed_with_a_goodbye(connected):
    process = await connected.process(mode="subscription", connections=3)
    await process.until(ConnectionOpened, 3)
    for number in range(12):
        await connected.ask(f"number {number}")
    lines = await seen(connected)
    assert [line.open for line in lines] == [True] * 3
    assert sum(len(line.events) for line in lines) == 12
    await process.kill()

    async def closed():
        return not any(line.open for line in await seen(connected))

    await connected.eventually(closed)
    assert {(line.close_code, line.closed_by) for line in await seen(connected)} == {(1000, "bot")}
    assert process.seen(ConnectionLost) == []


async def test_with_a_wrong_secret_the_service_is_not_ready_and_never_says_connected(connected):
    process = await connected.process(mode="subscription", app_secret=Secret("wrong"), request_timeout=0.5)
    await process.until(ConnectionRefused)
    [check] = process.channel.checks()
    condition = check()
    assert (condition.status, condition.required) == ("down", True)
    assert "does not accept the app" in condition.reason
    assert "10014" in condition.reason
    assert process.seen(ConnectionOpened) == []
    assert await seen(connected) == []


async def test_a_half_open_one_of_several_is_found_by_its_own_pings_whatever_the_others_bring(connected):
    process = await connected.process(mode="subscription", connections=3, ping_interval=0.5, pong_timeout=0.2)
    await process.until(ConnectionOpened, 3)
    ill, *well = [line.id for line in await seen(connected)]
    await connected.platform.half_open(ill)
    before = {line.id: len(line.pings) for line in await seen(connected)}
    said = set()

    async def replaced():
        told = await connected.platform.say("is anybody there?", sender=f"ou_{len(said)}")
        said.add(told.message_id)
        return len(process.seen(ConnectionOpened)) == 4

    await connected.eventually(replaced)
    [lost] = process.seen(ConnectionLost)
    assert "half-open" in lost.reason
    lines = {line.id: line for line in await seen(connected)}
    assert [lines[each].open for each in well] == [True, True]
    assert all(len(lines[each].pings) > before[each] for each in well)
    assert any(lines[each].events for each in well), "there was nothing that could have hidden it"

    await connected.platform.kick(1006, connection=ill)  # now the platform has noticed, too

    async def all_have_come():
        await connected.platform.advance(15)
        return said <= {message.external_id for message in connected.accepted}

    await connected.eventually(all_have_come)
