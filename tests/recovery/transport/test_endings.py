"""However a call ends, the breaker learns what it means, the caller gets the library's own error, and the one
connection of the pool is free again."""

import asyncio
from collections.abc import Callable

import pytest
from tests.recovery.transport.conftest import NO_BODY, NO_HEADERS, PATIENT, Maker, Peer, wire

from mainstay.errors import Category
from mainstay.recovery.breaker.model import State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

OVERLOADED = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}'


async def whole(peer: Peer) -> None:
    await peer.json({"answer": 42, "error": None})


async def whole_stream(peer: Peer) -> None:
    await peer.head()
    await peer.piece(b'data: {"choices": []}\n\n')
    await peer.end()


async def empty(peer: Peer) -> None:
    await peer.head(200, "application/json")
    await peer.end()


async def left_after_done(peer: Peer) -> None:
    await peer.head()
    for piece in (b'data: {"choices": []}\n\ndata: [DO', b"NE]\n\n"):
        await peer.piece(piece)
    await peer.left()


async def left_after_message_stop(peer: Peer) -> None:
    await peer.head()
    for piece in (b"event: ping\ndata: {}\n\nevent: message", b'_stop\r\ndata: {"type": "message_stop"}\r\n\r\n'):
        await peer.piece(piece)
    await peer.left()


async def cut_after_done(peer: Peer) -> None:
    await peer.head()
    await peer.piece(b"data: [DONE]\n\n")
    peer.reset()


async def begun(peer: Peer) -> None:
    await peer.head()
    await peer.piece(b'data: {"choices": []}\n\n')
    await peer.left()


async def cut(peer: Peer) -> None:
    await peer.head()
    await peer.piece(b'data: {"choices": []}\n\n')
    peer.reset()


async def dropped(peer: Peer) -> None:
    peer.reset()


async def silent(peer: Peer) -> None:
    await peer.left()


async def silent_after_headers(peer: Peer) -> None:
    await peer.head()
    await peer.left()


async def failed(peer: Peer) -> None:
    await peer.json({"error": {"message": "oops", "type": "server_error"}}, status=500)


async def failed_endlessly(peer: Peer) -> None:
    await peer.head(503, "application/json")
    await peer.piece(b'{"error": ')
    await peer.left()


async def limited(peer: Peer) -> None:
    await peer.json({"error": {"code": "rate_limit_exceeded"}}, status=429, retry_after="7")


async def used_up(peer: Peer) -> None:
    await peer.json({"error": {"code": "insufficient_quota"}}, status=429)


async def missing(peer: Peer) -> None:
    await peer.json({"error": {"message": "no such model"}}, status=404)


async def error_event(peer: Peer) -> None:
    await peer.head()
    await peer.piece(b"event: err")
    await peer.piece(b"or\ndata: " + OVERLOADED[:20])
    await peer.piece(OVERLOADED[20:] + b"\n\n")
    await peer.left()


async def error_object(peer: Peer) -> None:
    await peer.json({"error": {"message": "lost", "code": 502}})


ANSWERS = {
    f"/{answer.__name__}": answer
    for answer in (
        whole,
        whole_stream,
        empty,
        left_after_done,
        left_after_message_stop,
        cut_after_done,
        begun,
        cut,
        dropped,
        silent,
        silent_after_headers,
        failed,
        failed_endlessly,
        limited,
        used_up,
        missing,
        error_event,
        error_object,
    )
}

END = b"never sent"
UNREAD = None
LIMITS = {"silent": NO_HEADERS, "silent_after_headers": NO_BODY, "begun": NO_BODY, "failed_endlessly": NO_BODY}
GOOD = (1, 0, None)
SAYS_NOTHING = (0, 0, Category.CANCELLED)


def bad(category: Category) -> tuple[int, int, Category]:
    return (1, 1, category)


@pytest.mark.parametrize(
    ("path", "until", "error", "told"),
    [
        ("whole", END, None, GOOD),
        ("whole_stream", END, None, GOOD),
        ("empty", END, None, GOOD),
        ("left_after_done", b"[DONE]", None, GOOD),
        ("left_after_message_stop", b'"message_stop"', None, GOOD),
        ("cut_after_done", END, "ReadError", GOOD),
        ("begun", b"choices", None, SAYS_NOTHING),
        ("whole", UNREAD, None, SAYS_NOTHING),
        ("begun", END, "ReadTimeout", bad(Category.TIMEOUT)),
        ("cut", END, "ReadError", bad(Category.CONNECTION)),
        ("dropped", END, "ReadError", bad(Category.CONNECTION)),
        ("silent", END, "ReadTimeout", bad(Category.TIMEOUT)),
        ("silent_after_headers", END, "ReadTimeout", bad(Category.TIMEOUT)),
        ("failed", END, None, bad(Category.SERVER_ERROR)),
        ("failed", UNREAD, None, bad(Category.SERVER_ERROR)),
        ("failed_endlessly", END, "ReadTimeout", bad(Category.OVERLOADED)),
        ("limited", END, None, bad(Category.RATE_LIMIT)),
        ("limited", UNREAD, None, bad(Category.RATE_LIMIT)),
        ("used_up", END, None, bad(Category.QUOTA_EXHAUSTED)),
        ("missing", END, None, (0, 0, Category.INVALID_REQUEST)),
        ("error_event", b"overloaded_error", None, bad(Category.OVERLOADED)),
        ("error_object", END, None, bad(Category.SERVER_ERROR)),
    ],
)
async def test_each_ending_is_told_to_the_breaker_and_gives_the_connection_back(
    client: Maker,
    path: str,
    until: bytes | None,
    error: str | None,
    told: tuple[int, int, Category | None],
) -> None:
    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        guarded = client(breaker=breaker, limits=LIMITS.get(path, PATIENT))
        if error is None:
            await guarded.read(f"{server.url}/{path}", until)
        else:
            with pytest.raises(getattr(guarded.library, error)) as raised:
                await guarded.read(f"{server.url}/{path}", until)
            assert raised.value.request.url.path == f"/{path}"
        state, (call,) = breaker.snapshot(), guarded.seen
        assert (state.calls, state.failures, call.category) == told
        assert guarded.guard.counts.open == 0
        await client.around(guarded.inner).get(f"{server.url}/whole")


async def test_a_rate_limit_opens_the_breaker_for_as_long_as_was_asked(client: Maker) -> None:
    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        await client(breaker=breaker).get(f"{server.url}/limited")
    assert 6 < breaker.snapshot().open_s <= 7


@pytest.mark.parametrize("path", ["silent", "silent_after_headers", "begun"])
async def test_a_cancelled_call_says_nothing_and_its_connection_is_closed(task_client: Maker, path: str) -> None:
    breaker, asked, gone = Breaker("target"), asyncio.Event(), asyncio.Event()

    async def watched(peer: Peer) -> None:
        asked.set()
        await ANSWERS[f"/{path}"](peer)
        gone.set()

    async with wire({"/watched": watched, "/whole": whole}) as server:
        guarded = task_client(breaker=breaker)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            calling = tasks.create_task(guarded.read(f"{server.url}/watched", END))
            await asked.wait()
            calling.cancel()
            await gone.wait()
        assert calling.cancelled()
        assert breaker.snapshot().calls == 0
        assert guarded.seen[0].category is Category.CANCELLED
        await guarded.get(f"{server.url}/whole")


async def test_a_limit_that_runs_out_closes_the_socket(client: Maker) -> None:
    gone = asyncio.Event()

    async def watched(peer: Peer) -> None:
        await begun(peer)
        gone.set()

    async with wire({"/watched": watched}) as server:
        guarded = client(limits=NO_BODY)
        with pytest.raises(guarded.library.ReadTimeout):
            await guarded.get(f"{server.url}/watched")
        async with asyncio.timeout(20):
            await gone.wait()


async def test_a_success_is_told_before_the_caller_closes_the_response(task_client: Maker) -> None:
    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        guarded = task_client(breaker=breaker)
        async with guarded.http.stream("GET", f"{server.url}/left_after_done") as response:
            async for piece in response.aiter_raw():
                if b"NE]" in piece:
                    break
            assert breaker.snapshot().calls == 1


@pytest.mark.parametrize("until", [b"choices", UNREAD])
async def test_a_probe_that_its_caller_leaves_gives_its_place_to_the_next(
    client: Maker, half_open: Callable[[], Breaker], until: bytes | None
) -> None:
    breaker = half_open()
    async with wire(ANSWERS) as server:
        guarded = client(breaker=breaker)
        await guarded.read(f"{server.url}/begun", until)
        assert (await guarded.get(f"{server.url}/whole")).status_code == 200
    assert breaker.state is State.CLOSED


async def test_a_response_that_nobody_closes_does_not_keep_the_place_of_the_probe(
    task_client: Maker, clock: ManualClock, half_open: Callable[[], Breaker]
) -> None:
    breaker = half_open()
    async with wire(ANSWERS) as server:
        guarded = task_client(breaker=breaker, connections=2)
        url = f"{server.url}/whole_stream"
        leaked = await guarded.http.send(guarded.http.build_request("GET", url), stream=True)
        assert leaked.status_code == 200
        assert (await guarded.get(url)).status_code == 503
        clock.advance(121)
        assert (await guarded.get(url)).status_code == 200
        assert breaker.state is State.CLOSED
        await leaked.aclose()
