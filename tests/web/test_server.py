"""The server on real sockets: who holds the port, how it drains, what it does not wait for."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mainstay.asgi import Receive, Scope, Send, respond
from mainstay.errors import MainstayError
from mainstay.web import server
from mainstay.web.ports import holder
from mainstay.web.server import listen, serving

pytestmark = pytest.mark.anyio

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


class Slow:
    """An application whose answers wait until they are released."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.release = asyncio.Event()
        self.cancelled = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        await respond(scope, send, 200, b'"done"')


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            yield reader, writer
    finally:
        writer.close()


async def refused(port: int) -> None:
    """Return as soon as nobody listens any more."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with connected(port):
                    await asyncio.sleep(0.01)
            except ConnectionRefusedError:
                return
            except ConnectionResetError:  # it was in the queue when the socket was closed
                continue


async def test_who_has_only_just_connected_is_answered_when_the_server_ends() -> None:
    slow = Slow()
    slow.release.set()
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        async with serving(slow, listener, drain_s=5) as running, connected(port) as (reader, writer):
            while not running.server_state.connections:  # noqa: ASYNC110  it accepts in a callback
                await asyncio.sleep(0)
            running.stop()
            await refused(port)
            writer.write(GET)
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


@linux
def test_a_process_takes_the_socket_that_it_was_handed_and_passes_it_on_to_nobody() -> None:
    code = """if True:
        import os, subprocess, sys
        os.dup2(int(sys.argv[1]), 3)
        os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() + int(sys.argv[2]))}
        from mainstay.web.handed import handed
        given = handed()
        print(given.getsockname()[1] if given else None, os.get_inheritable(3))"""
    udp = socket.socket(type=socket.SOCK_DGRAM)
    with socket.create_server(("127.0.0.1", 0)) as mine, socket.socket(socket.AF_UNIX) as other, udp:
        said = [
            subprocess.run(
                [sys.executable, "-c", code, str(each.fileno()), meant],
                pass_fds=[each.fileno()],
                capture_output=True,
                text=True,
                check=False,
            )
            for each, meant in ((mine, "0"), (mine, "1"), (other, "0"), (udp, "0"))
        ]
        port = mine.getsockname()[1]
    assert [each.stdout for each in said] == [f"{port} False\n", "None True\n", "", ""]
    assert all("none of TCP" in each.stderr for each in said[2:])


GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@linux
def test_a_taken_port_names_the_process_that_holds_it() -> None:
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, "the-holder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        with pytest.raises(MainstayError) as caught:
            listen("127.0.0.1", port)
        child.kill()
    message = str(caught.value)
    assert f"port {port} on 127.0.0.1 is taken by process {child.pid} (" in message
    assert "\n" not in message
    assert message.endswith("stop it, or set another service.port")


@linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_holder_of_a_port_is_found_on_both_protocols(host: str) -> None:
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        assert holder(host, port).startswith(f"process {os.getpid()} (")
    assert holder(host, port) == ""


@linux
def test_who_has_only_a_connection_does_not_hold_the_port() -> None:
    with listen("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        client = socket.create_connection(address)
        listener.settimeout(10)
        accepted, _ = listener.accept()
    with client, accepted:
        assert holder(*address) == ""


@linux
@pytest.mark.parametrize(
    ("taken", "wanted", "is_the_one"),
    [
        ("127.0.0.2", "127.0.0.1", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("127.0.0.1", "0.0.0.0", True),
        ("::", "127.0.0.1", True),
        ("::1", "127.0.0.1", False),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
    ],
)
def test_only_who_is_in_the_way_is_named(taken: str, wanted: str, is_the_one: bool) -> None:
    with listen(taken, 0) as listener:
        assert bool(holder(wanted, listener.getsockname()[1])) is is_the_one


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host.invalid"])
def test_an_address_of_another_machine_is_refused_in_one_line(host: str) -> None:
    with pytest.raises(MainstayError, match=r"^can not listen on .*service\.host") as caught:
        listen(host, 0)
    assert "\n" not in str(caught.value)


async def test_a_port_can_be_taken_again_at_once() -> None:
    async def hello(scope: Scope, _: Receive, send: Send) -> None:
        await respond(scope, send, 200, b'"hello"')

    port = 0
    for _ in range(2):
        listener = listen("127.0.0.1", port)
        port = listener.getsockname()[1]
        async with serving(hello, listener, drain_s=1), connected(port) as (reader, writer):
            # the server closes first, so that its side of the connection lingers
            writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert (await reader.read()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_connections_wait_until_the_service_is_put_together() -> None:
    app = Slow()
    app.release.set()
    listener = listen("127.0.0.1", 0)
    async with connected(listener.getsockname()[1]) as (reader, writer):
        writer.write(GET)
        await writer.drain()
        async with serving(app, listener, drain_s=1):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


async def test_running_requests_finish_and_new_ones_are_refused() -> None:
    app = Slow()
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        stop, stopped = asyncio.Event(), asyncio.Event()

        async def run() -> None:
            async with serving(app, listener, drain_s=20):
                await stop.wait()
            stopped.set()

        group.create_task(run())
        async with connected(port) as (reader, writer):
            writer.write(GET)
            await app.reached.wait()
            stop.set()
            await refused(port)
            assert not stopped.is_set()
            app.release.set()
            assert (await reader.read()).endswith(b'"done"')
    assert stopped.is_set()
    assert not app.cancelled


async def test_what_outlasts_the_drain_is_cut_off() -> None:
    app = Slow()
    listener = listen("127.0.0.1", 0)
    async with connected(listener.getsockname()[1]) as (reader, writer):
        async with serving(app, listener, drain_s=0.1):
            writer.write(GET)
            await app.reached.wait()
        assert app.cancelled
        assert not (await reader.read()).startswith(b"HTTP/1.1 200")


async def test_a_cancelled_block_does_not_wait_for_the_drain() -> None:
    app = Slow()
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]

    async def run() -> None:
        async with serving(app, listener, drain_s=3600):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(run())
        async with connected(port) as (_, writer):
            writer.write(GET)
            await app.reached.wait()
            running.cancel()
            await asyncio.wait([running], timeout=20)
    assert running.cancelled()
    assert app.cancelled
    await refused(port)


async def test_what_the_block_raises_comes_out_as_itself() -> None:
    with pytest.raises(MainstayError, match=r"^as it is$"):
        async with serving(Slow(), listen("127.0.0.1", 0), drain_s=1):
            raise MainstayError("as it is")


async def test_signals_stay_with_the_service() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(Slow(), listen("127.0.0.1", 0), drain_s=1):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_headers_that_do_not_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEAD_TIMEOUT_S", 0.05)
    app = Slow()
    app.release.set()
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with serving(app, listener, drain_s=1):
        async with connected(port) as (reader, _):
            assert await reader.read() == b""
        async with connected(port) as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: local")
            assert await reader.read() == b""
        async with connected(port) as (reader, writer):
            writer.write(GET + b"GET / HTTP/1.1\r\n")
            assert (await reader.read()).count(b"HTTP/1.1 200 OK") == 1


async def test_a_request_may_take_longer_than_its_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_HEAD_TIMEOUT_S", 0.05)
    app = Slow()
    listener = listen("127.0.0.1", 0)
    async with serving(app, listener, drain_s=1), connected(listener.getsockname()[1]) as (reader, writer):
        writer.write(GET)
        await app.reached.wait()
        await asyncio.sleep(0.1)  # not for something: past the limit, in which nothing may happen
        app.release.set()
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("flood", [b"X-Many: 1\r\n" * 8000, b"X-Long: " + b"x" * 100_000, b"x" * 100_000])
async def test_endless_headers_are_refused(flood: bytes) -> None:
    app = Slow()
    listener = listen("127.0.0.1", 0)
    async with serving(app, listener, drain_s=1), connected(listener.getsockname()[1]) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + flood)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        assert not app.reached.is_set()


async def test_it_does_not_say_what_it_is() -> None:
    app = Slow()
    app.release.set()
    listener = listen("127.0.0.1", 0)
    async with serving(app, listener, drain_s=1), connected(listener.getsockname()[1]) as (reader, writer):
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = (await reader.read()).lower()
    assert b"server:" not in answer
    assert b"uvicorn" not in answer


def test_the_listening_socket_is_not_inherited() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert not listener.get_inheritable()
        assert listener.family is socket.AF_INET


class Failing(server.Server):
    """A server with a bug in its loop."""

    broken: asyncio.Event

    async def on_tick(self, counter: int) -> bool:
        if self.broken.is_set():
            raise LookupError("a bug")
        return await super().on_tick(counter)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Once set, the server fails."""
    event = asyncio.Event()
    monkeypatch.setattr(Failing, "broken", event, raising=False)
    monkeypatch.setattr(server, "Server", Failing)
    return event


async def test_who_asks_is_told_that_the_server_failed_and_may_come_to_a_good_end(broken: asyncio.Event) -> None:
    failures: list[Exception] = []
    told = asyncio.Event()

    def failed(error: Exception) -> None:
        failures.append(error)
        told.set()

    async with serving(Slow(), listen("127.0.0.1", 0), drain_s=1, failed=failed):
        broken.set()
        async with asyncio.timeout(20):
            await told.wait()
        await asyncio.sleep(0.2)
    assert [repr(error) for error in failures] == ["LookupError('a bug')"]


async def test_a_server_that_just_ends_has_failed(broken: asyncio.Event) -> None:
    failures: asyncio.Queue[Exception] = asyncio.Queue()
    async with serving(Slow(), listen("127.0.0.1", 0), drain_s=1, failed=failures.put_nowait) as running:
        assert isinstance(running, Failing)
        running.limit_max_requests = 0
        async with asyncio.timeout(20):
            assert str(await failures.get()) == "it came to its end by itself"
    assert failures.empty()


async def test_a_server_that_does_not_start_begins_no_block(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stillborn(server.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            raise LookupError("a bug")

    monkeypatch.setattr(server, "Server", Stillborn)
    failures: list[Exception] = []
    with listen("127.0.0.1", 0) as listener, pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(20), serving(Slow(), listener, drain_s=1, failed=failures.append):
            failures.append(AssertionError("the block began"))
    assert caught.group_contains(LookupError)
    assert failures == []


async def test_without_somebody_to_tell_a_failed_server_ends_the_block(broken: asyncio.Event) -> None:
    async def serve() -> None:
        async with serving(Slow(), listen("127.0.0.1", 0), drain_s=1):
            broken.set()
            await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await serve()
    assert caught.group_contains(LookupError)
