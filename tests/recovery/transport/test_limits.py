"""Each limit bounds the wait it is about, and no other."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from tests.recovery.transport.conftest import PATIENT, Maker, Peer, limited, wire

from mainstay.errors import Category
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.deadline import within
from mainstay.recovery.transport.model import TransportLimits

pytestmark = pytest.mark.anyio


async def silent(peer: Peer) -> None:
    await peer.left()


async def silent_after_headers(peer: Peer) -> None:
    await peer.head()
    await peer.left()


async def stalled(peer: Peer) -> None:
    await peer.head()
    await peer.piece(b"data: {}\n\n")
    await peer.left()


async def pinging(peer: Peer) -> None:
    await peer.head()
    for _ in range(12):
        await peer.piece(b": ping\n\n")
        await asyncio.sleep(0.1)
    await peer.end()


ANSWERS = {
    "/silent": silent,
    "/silent-after-headers": silent_after_headers,
    "/stalled": stalled,
    "/pinging": pinging,
}


@pytest.mark.parametrize(
    ("path", "limits", "message"),
    [
        ("silent", limited(header_s=0.1), "no response headers came within the header limit (0.1 s)"),
        (
            "silent-after-headers",
            limited(first_byte_s=0.1),
            "no first byte of the body came within the first byte limit",
        ),
        ("stalled", limited(idle_s=0.1), "no further byte of the body came within the idle limit (0.1 s)"),
    ],
)
async def test_each_limit_says_what_did_not_come(
    task_client: Maker, path: str, limits: TransportLimits, message: str
) -> None:
    async with wire(ANSWERS) as server:
        guarded = task_client(limits=limits)
        with pytest.raises(guarded.library.ReadTimeout) as raised:
            await guarded.get(f"{server.url}/{path}")
    assert message in str(raised.value)


async def test_a_blocking_client_waits_for_a_piece_as_long_as_the_longer_limit_allows(client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = client(limits=limited(first_byte_s=0.1, idle_s=0.1))
        with pytest.raises(guarded.library.ReadTimeout):
            await guarded.get(f"{server.url}/stalled")


async def test_a_shorter_timeout_of_the_client_still_holds(client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = client(limits=PATIENT)
        with pytest.raises(guarded.library.ReadTimeout):
            await guarded.get(f"{server.url}/stalled", timeout=0.1)


async def test_a_comment_is_a_sign_of_life(client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = client(limits=limited(first_byte_s=1, idle_s=1))
        assert (await guarded.get(f"{server.url}/pinging")).text.count("ping") == 12


async def test_a_caller_who_takes_long_is_no_idle_server(task_client: Maker) -> None:
    on = asyncio.Event()

    async def waiting(peer: Peer) -> None:
        await peer.head()
        await peer.piece(b"one")
        await on.wait()
        await peer.piece(b"two")
        await peer.end()

    async with wire({"/waiting": waiting}) as server:
        guarded = task_client(limits=limited(idle_s=1))
        async with guarded.http.stream("GET", f"{server.url}/waiting") as response:
            pieces = response.aiter_raw()
            assert await anext(pieces) == b"one"
            await asyncio.sleep(1.2)
            on.set()
            assert await anext(pieces) == b"two"


async def test_the_header_limit_begins_when_the_request_has_been_sent(task_client: Maker) -> None:
    held, on = asyncio.Event(), asyncio.Event()

    async def holding(peer: Peer) -> None:
        await peer.head()
        held.set()
        await on.wait()
        await peer.end()

    async def late(peer: Peer) -> None:
        await asyncio.sleep(1.2)
        await peer.json({})

    async with wire({"/holding": holding, "/late": late}) as server, asyncio.timeout(20):
        guarded = task_client(limits=limited(header_s=2))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(guarded.get(f"{server.url}/holding"))
            await held.wait()
            queued = tasks.create_task(guarded.get(f"{server.url}/late"))
            await asyncio.sleep(1.2)
            on.set()
        assert queued.result().status_code == 200


async def test_waiting_for_a_connection_of_our_own_is_nobody_s_fault(client: Maker) -> None:
    breaker, held, on = Breaker("target"), asyncio.Event(), asyncio.Event()

    async def holding(peer: Peer) -> None:
        held.set()
        await on.wait()
        await peer.json({})

    async with wire({"/holding": holding}) as server, asyncio.timeout(20):
        guarded = client(breaker=breaker, limits=limited(header_s=5))
        hurried = client.around(guarded.guard, breaker=None, limits=limited(header_s=0.1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(guarded.get(f"{server.url}/holding"))
            await held.wait()
            with pytest.raises(guarded.library.PoolTimeout):
                await hurried.get(f"{server.url}/holding")
            on.set()
        assert (breaker.snapshot().calls, breaker.snapshot().failures) == (1, 0)
        assert guarded.guard.counts.failed == hurried.guard.counts.failed == {Category.TIMEOUT: 1}


@pytest.fixture
async def deaf() -> AsyncIterator[str]:
    """A server that takes connections and reads nothing; gives ``host:port``."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def test_a_connection_that_is_not_made_and_a_request_that_is_not_taken_are_told_apart(
    client: Maker, deaf: str
) -> None:
    guarded = client(limits=limited(header_s=0.2), connections=2)
    with pytest.raises(guarded.library.ConnectTimeout):
        await guarded.get(f"https://{deaf}/")
    with pytest.raises(guarded.library.WriteTimeout):
        await guarded.request("POST", f"http://{deaf}/", content=bytes(32 * 1024**2))
    assert [call.category for call in guarded.seen] == [Category.TIMEOUT, Category.TIMEOUT]


@pytest.mark.parametrize("path", ["silent", "silent-after-headers", "stalled"])
async def test_no_wait_is_longer_than_what_is_left_before_the_deadline(client: Maker, path: str) -> None:
    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        guarded = client(breaker=breaker, limits=PATIENT)
        with within(1), pytest.raises(guarded.library.ReadTimeout):
            await guarded.get(f"{server.url}/{path}")
    assert breaker.snapshot().failures == 1


async def test_the_message_names_the_deadline_when_it_came_first(task_client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = task_client(limits=PATIENT)
        with within(1), pytest.raises(guarded.library.ReadTimeout, match="time left before the deadline"):
            await guarded.get(f"{server.url}/silent")


async def test_a_stream_that_keeps_coming_ends_at_the_deadline(client: Maker) -> None:
    async def endless(peer: Peer) -> None:
        await peer.head()
        while True:
            await peer.piece(b"data: {}\n\n")
            await asyncio.sleep(0.01)

    async with wire({"/endless": endless}) as server:
        guarded = client(limits=PATIENT)
        with within(1), pytest.raises(guarded.library.ReadTimeout):
            await guarded.get(f"{server.url}/endless")


async def test_after_the_deadline_nothing_is_sent(client: Maker) -> None:
    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        guarded = client(breaker=breaker)
        with within(0):
            response = await guarded.get(f"{server.url}/silent")
        assert (response.status_code, response.headers["x-should-retry"]) == (504, "false")
        assert server.targets == []
    (call,) = guarded.seen
    assert (call.refused, call.status, call.category) == (True, None, Category.TIMEOUT)
    assert breaker.snapshot().calls == 0


@pytest.mark.parametrize("name", ["header_s", "first_byte_s", "idle_s"])
@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan")])
def test_a_limit_that_makes_no_sense_is_refused_by_name(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=name):
        TransportLimits(**{name: wrong})
