"""What a guard tells, what it leaves to others, and what it leaves alone."""

import subprocess
import sys
from collections.abc import Callable

import httpx
import httpx2
import pytest
from tests.recovery.transport.conftest import NO_BODY, Maker, Peer, wire

from mainstay.errors import Category
from mainstay.recovery.breaker.model import State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.breaker.recording import recording
from mainstay.recovery.transport.guard import GuardTransport
from mainstay.recovery.transport.model import CallCounts, CallSeen, LimitSeen
from mainstay.recovery.transport.refusal import REFUSED

pytestmark = pytest.mark.anyio


async def good(peer: Peer) -> None:
    await peer.json({"answer": 42}, x_ratelimit_remaining_tokens="99", x_ratelimit_reset_tokens="2s")


async def failing(peer: Peer) -> None:
    await peer.json({}, status=500)


async def dropped(peer: Peer) -> None:
    peer.reset()


async def endless(peer: Peer) -> None:
    await peer.head()
    await peer.piece(b"data: {}\n\n")
    await peer.left()


ANSWERS = {
    "/good": good,
    "/failing": failing,
    "/dropped": dropped,
    "/endless": endless,
    "/v1/sk-abcdefgh1234/x": good,
}


async def test_a_call_is_told_without_its_query_its_headers_and_what_looks_like_a_key(client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = client()
        key = {"authorization": "Bearer sk-abcdefgh1234"}
        await guarded.get(f"http://ada:word@127.0.0.1:{server.port}/v1/sk-abcdefgh1234/x?key=secret", headers=key)
        (call,) = guarded.seen
    assert (call.method, call.host, call.path) == ("GET", f"127.0.0.1:{server.port}", "/v1/***/x")
    assert (call.status, call.bytes, call.category, call.refused) == (200, len(b'{"answer": 42}'), None, False)
    assert call.headers_s is not None
    assert call.first_byte_s is not None
    assert 0 < call.headers_s <= call.first_byte_s <= call.total_s
    assert not any(word in str(call) for word in ("secret", "sk-", "Bearer", "ada"))


async def test_a_call_that_gets_no_response_is_told_as_far_as_it_came(client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = client()
        with pytest.raises(guarded.library.TransportError):
            await guarded.get(f"{server.url}/dropped")
        await guarded.read(f"{server.url}/good", None)
    dropped_, unread = guarded.seen
    assert (dropped_.status, dropped_.headers_s, dropped_.first_byte_s) == (None, None, None)
    assert (unread.status, unread.first_byte_s, unread.bytes) == (200, None, 0)


async def test_everything_that_passes_is_counted_once(client: Maker) -> None:
    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        guarded = client(breaker=breaker)
        assert guarded.guard.counts == CallCounts()
        for path in ("good", "good", "failing"):
            await guarded.get(f"{server.url}/{path}")
        await guarded.read(f"{server.url}/endless", b"{}")
        breaker.open_for(30)
        await guarded.get(f"{server.url}/good")
    assert guarded.guard.counts == CallCounts(
        calls=5,
        refused=1,
        cancelled=1,
        bytes=sum(call.bytes for call in guarded.seen),
        failed={Category.SERVER_ERROR: 1},
    )
    assert len(guarded.seen) == 5


async def test_a_response_that_is_still_read_is_counted_as_open(task_client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = task_client()
        async with guarded.http.stream("GET", f"{server.url}/endless"):
            assert guarded.guard.counts.open == 1
        assert guarded.guard.counts.open == 0


async def test_an_observer_that_raises_changes_nothing_and_is_counted(client: Maker) -> None:
    def broken(call: CallSeen) -> None:
        raise KeyError(call.path)

    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        inner = client().guard
        guarded = client.around(GuardTransport(inner, breaker=breaker, on_call=broken))
        assert (await guarded.get(f"{server.url}/good")).json() == {"answer": 42}
        breaker.open_for(30)
        assert (await guarded.get(f"{server.url}/good")).status_code == 503
    assert guarded.guard._inner.counts.observer_errors == 2


async def test_the_last_rate_limits_are_kept(client: Maker) -> None:
    async with wire(ANSWERS) as server:
        guarded = client()
        assert guarded.guard.limits_seen is None
        for path in ("good", "failing"):
            await guarded.get(f"{server.url}/{path}")
        seen = guarded.guard.limits_seen
    assert seen is not None
    assert seen.by_name == {"tokens": LimitSeen(remaining=99, reset_s=2.0)}


async def test_the_slowness_of_a_stream_is_that_of_its_first_byte(client: Maker) -> None:
    async def stream(peer: Peer) -> None:
        await peer.head()
        await peer.piece(b"data: [DONE]\n\n")
        await peer.end()

    async with wire({"/stream": stream, **ANSWERS}) as server:
        breaker = Breaker("target", slow_after_s=0.0)
        guarded = client(breaker=breaker)
        await guarded.get(f"{server.url}/good")
        assert (breaker.snapshot().calls, breaker.snapshot().slow) == (1, 0)
        await guarded.get(f"{server.url}/stream")
        assert (breaker.snapshot().calls, breaker.snapshot().slow) == (2, 1)


# Exactly one of two guards records an attempt.


async def test_what_somebody_else_records_needs_no_permit_and_is_not_recorded(
    client: Maker, half_open: Callable[[], Breaker]
) -> None:
    breaker = half_open()
    async with wire(ANSWERS) as server:
        guarded = client(breaker=breaker)
        with breaker.permit() as permit:
            with recording(breaker):
                assert (await guarded.get(f"{server.url}/failing")).status_code == 500
            assert breaker.state is State.HALF_OPEN
            permit.succeed()
        assert breaker.state is State.CLOSED
        assert guarded.seen[0].category is Category.SERVER_ERROR


async def test_limits_hold_for_what_somebody_else_records(client: Maker) -> None:
    breaker = Breaker("target")
    async with wire(ANSWERS) as server:
        guarded = client(breaker=breaker, limits=NO_BODY)
        with recording(breaker), pytest.raises(guarded.library.ReadTimeout):
            await guarded.get(f"{server.url}/endless")
    assert breaker.snapshot().calls == 0


async def test_a_call_of_another_breaker_inside_is_recorded_as_its_own(client: Maker) -> None:
    outer, inner = Breaker("model"), Breaker("tool")
    async with wire(ANSWERS) as server:
        with recording(outer):
            await client(breaker=inner).get(f"{server.url}/failing")
    assert (outer.snapshot().failures, inner.snapshot().failures) == (0, 1)


async def test_of_two_guards_inside_one_another_each_keeps_its_own_breaker(client: Maker) -> None:
    host, model = Breaker("host"), Breaker("model")
    async with wire(ANSWERS) as server:
        guarded = client.around(client(breaker=host).guard, breaker=model)
        await guarded.get(f"{server.url}/failing")
        host.open_for(30)
        assert REFUSED in (await guarded.get(f"{server.url}/good")).headers
        assert server.targets == ["/failing"]
    assert (host.snapshot().failures, model.snapshot().failures) == (1, 2)


# What belongs to the inner transport and to the client.


async def test_closing_and_entering_pass_through(client: Maker) -> None:
    heard: list[str] = []

    class Inner(client.library.BaseTransport, client.library.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        def __enter__(self) -> "Inner":
            heard.append("enter")
            return self

        def __exit__(self, *_error: object) -> None:
            heard.append("exit")

        def close(self) -> None:
            heard.append("close")

        async def __aenter__(self) -> "Inner":
            heard.append("enter")
            return self

        async def __aexit__(self, *_error: object) -> None:
            heard.append("exit")

        async def aclose(self) -> None:
            heard.append("close")

    guard = GuardTransport(Inner())
    if client.blocking:
        with guard as entered:
            assert entered is guard
        guard.close()
    else:
        async with guard as entered:
            assert entered is guard
        await guard.aclose()
    assert heard == ["enter", "exit", "close"]


async def test_a_trace_of_the_caller_s_own_is_still_called(client: Maker) -> None:
    events: list[str] = []

    async def trace(event: str, _info: object) -> None:
        events.append(event)

    def blocking_trace(event: str, _info: object) -> None:
        events.append(event)

    async with wire(ANSWERS) as server:
        heard = blocking_trace if client.blocking else trace
        await client().get(f"{server.url}/good", extensions={"trace": heard})
    assert "http11.receive_response_headers.started" in events
    assert "http11.response_closed.complete" in events


async def test_a_request_is_left_as_it_was(task_client: Maker) -> None:
    """Some clients send the same one again: after a redirect, or with credentials."""
    async with wire(ANSWERS) as server:
        http = task_client().http
        request = http.build_request("GET", f"{server.url}/good", timeout=7)
        before = dict(request.extensions)
        await http.send(request)
        assert request.extensions == before


async def test_a_transport_that_does_not_send_anything_is_guarded_too(client: Maker) -> None:
    breaker = Breaker("target")
    mock = client.library.MockTransport(
        lambda _: client.library.Response(500, json={"error": {"code": "overloaded"}})
    )
    guarded = client.around(mock, breaker=breaker)
    assert (await guarded.get("http://nowhere/")).status_code == 500
    failure = breaker.snapshot().failure
    assert failure is not None
    assert failure.category is Category.OVERLOADED


@pytest.mark.parametrize("library", [httpx2, httpx])
def test_a_guard_is_a_transport_of_the_library_of_the_one_inside(library: type) -> None:
    for inner in (library.HTTPTransport(), library.AsyncHTTPTransport(), library.MockTransport(lambda _: None)):
        guard = GuardTransport(inner)
        assert isinstance(guard, GuardTransport)
        assert isinstance(guard, library.BaseTransport)
        assert isinstance(guard, library.AsyncBaseTransport)
        assert type(guard) is type(GuardTransport(inner))


@pytest.mark.parametrize("wrong", [None, object(), "http://", httpx2.Client])
def test_what_is_no_transport_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="is no transport of httpx or httpx2"):
        GuardTransport(wrong)


def test_neither_library_is_imported() -> None:
    code = "import sys, mainstay.recovery.transport.guard; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "mainstay.recovery.transport.guard" in loaded
    assert not {"httpx", "httpx2", "httpcore", "httpcore2", "pydantic", "anyio"} & set(loaded)
