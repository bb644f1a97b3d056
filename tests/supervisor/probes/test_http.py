"""What is asked over HTTP and TCP, and what counts as an answer: with real servers, also such that misbehave."""

import asyncio
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.needs import needs

from mainstay.supervisor.command import Launch
from mainstay.supervisor.probes.asking import ask, ask_health
from mainstay.supervisor.probes.model import HealthSettings, ProbeSettings, Result

pytestmark = pytest.mark.anyio

Serve = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(
    serve: Serve | bytes, host: str = "127.0.0.1", path: Path | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Answers with these bytes, or as this function does; gives where."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if isinstance(serve, bytes):
                writer.write(serve)
            else:
                await serve(head, writer)
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    if path is not None:
        listening = await asyncio.start_unix_server(answer, path)
    else:
        listening = await asyncio.start_server(answer, host, 0, ssl=tls)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        yield f"unix:{path}" if path is not None else f"{f'[{host}]' if ':' in host else host}:{port}"


async def http(url: str, timeout_s: float = 30.0) -> Result:
    return await asked(ProbeSettings(http=url, timeout=timeout_s))


async def asked(probe: ProbeSettings) -> Result:
    def order(name: str) -> Launch:
        raise AssertionError(name)

    return await ask("web:0:liveness", probe, commands=None, order=order)  # type: ignore[arg-type]


def status(code: int, *headers: str, content: str = "") -> bytes:
    lines = [f"HTTP/1.1 {code} Any Words", *headers, f"Content-Length: {len(content)}", "", content]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(("code", "passes"), [(200, True), (204, True), (399, True), (400, False), (503, False)])
async def test_it_passes_with_a_status_from_200_to_399(code: int, passes: bool) -> None:
    async with server(status(code)) as place:
        assert await http(f"http://{place}/") == Result(passed=passes, detail=f"HTTP status {code}")


async def test_it_asks_for_the_path_and_says_whom_it_asks() -> None:
    heads: list[bytes] = []

    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        writer.write(status(200))

    async with server(serve) as place:
        assert (await http(f"http://{place}/livez?verbose=1")).passed
        assert (await http(f"http://{place}")).passed
    first, second = (head.decode().split("\r\n") for head in heads)
    assert first[0] == "GET /livez?verbose=1 HTTP/1.1"
    assert f"Host: {place}" in first
    assert second[0] == "GET / HTTP/1.1"


async def test_it_reaches_ipv6_and_unix_sockets(tmp_path: Path) -> None:
    async with server(status(200), host="::1") as place:
        assert (await http(f"http://{place}/")).passed
    async with server(status(200), path=tmp_path / "app.sock") as place:
        assert (await http(f"http://{place}:/livez")).passed


async def test_a_certificate_that_nobody_has_signed_is_good_enough(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [needs("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=other"]
    making = await asyncio.create_subprocess_exec(
        *make, "-keyout", key, "-out", certificate, stderr=subprocess.DEVNULL
    )
    assert await making.wait() == 0
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with server(status(200), tls=tls) as place:
        assert (await http(f"https://{place}/")).passed


async def test_it_follows_redirects_to_the_same_host_only() -> None:
    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        path = head.split()[1].decode()
        where = {"/": "/next", "/next": "other", "/round": "/round", "/away": "http://elsewhere.invalid/"}
        writer.write(status(302, f"Location: {where[path]}") if path in where else status(500))

    async with server(serve) as place:
        assert await http(f"http://{place}/") == Result(passed=False, detail="HTTP status 500")
        assert await http(f"http://{place}/away") == Result(passed=True, detail="HTTP status 302")
        assert await http(f"http://{place}/round") == Result(passed=False, detail="redirected more than 10 times")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "breaks off"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "breaks off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "breaks off"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "breaks off"),
        (b"HTTP/1.1 OK\r\n\r\n", "not HTTP"),
        (b"+PONG\r\n", "not HTTP"),
        (b"\x16\x03\x01" * 100_000, "a line of it has no end"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000, "head has no end"),
    ],
)
async def test_what_is_no_whole_answer_is_a_failure(answer: bytes, why: str) -> None:
    async with server(answer) as place:
        result = await http(f"http://{place}/")
    assert result.passed is False
    assert why in result.detail


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200\r\n\r\nto the end",
        b"HTTP/1.1 100 Continue\r\n\r\n" + status(200),
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nF4240\r\n" + b"x" * 1_000_000 + b"\r\n0\r\n\r\n",
    ],
)
async def test_answers_of_every_kind_are_understood(answer: bytes) -> None:
    async with server(answer) as place:
        assert await http(f"http://{place}/") == Result(passed=True, detail="HTTP status 200")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
async def test_the_deadline_is_for_all_of_it(said: bytes) -> None:
    never = asyncio.Event()

    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await never.wait()

    async with server(serve) as place:
        result = await http(f"http://{place}/", timeout_s=0.05)
        never.set()
    assert result == Result(passed=False, detail="no answer within 50ms")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_who_listens_can_be_connected_to(host: str) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as listening:
        place = f"[{host}]:{listening.getsockname()[1]}"
        assert await asked(ProbeSettings(tcp=place)) == Result(passed=True, detail="connected")
    assert await asked(ProbeSettings(tcp=place)) == Result(passed=False, detail="connection refused")


async def test_who_listens_on_a_unix_socket_can_be_connected_to(tmp_path: Path) -> None:
    probe = ProbeSettings(tcp=f"unix:{tmp_path / 'app.sock'}")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "app.sock"))
        listening.listen()
        assert (await asked(probe)).passed
    assert await asked(probe) == Result(passed=False, detail="connection refused")


async def test_who_does_not_listen_fails() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"127.0.0.1:{listening.getsockname()[1]}"
    assert await asked(ProbeSettings(tcp=place)) == Result(passed=False, detail="connection refused")
    assert await http(f"http://{place}/") == Result(passed=False, detail="connection refused")
    assert (await http("http://no-such-host.invalid/")).passed is False


REPORT = {"status": "unhealthy", "reasons": ["6 rate limits", "primary is down"]}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (status(200, content=json.dumps({"status": "healthy", "reasons": []})), (True, "healthy")),
        (status(200, content="fine"), (True, "HTTP status 200")),
        (status(200, content=json.dumps({"status": "degraded"})), (False, "degraded")),
        (status(503, content=json.dumps(REPORT)), (False, "unhealthy; 6 rate limits, primary is down")),
        (status(503, content="<html>"), (False, "HTTP status 503")),
        (status(503, content="[1]"), (False, "HTTP status 503")),
        (status(503, content='{"status": 7, "reasons": {"a": 1}}'), (False, "HTTP status 503")),
        (status(404), (None, "HTTP status 404")),
        (b"nonsense\r\n", (None, "the answer is not HTTP")),
        (status(200, content="[" * 60_000), (True, "HTTP status 200")),
    ],
)
async def test_health_is_what_is_reported_and_else_nothing(
    answer: bytes, expected: tuple[bool | None, str]
) -> None:
    async with server(answer) as place:
        result = await ask_health(HealthSettings(http=f"http://{place}/health", timeout=30.0))
    assert (result.passed, result.detail) == expected


async def test_health_that_can_not_be_asked_for_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"127.0.0.1:{listening.getsockname()[1]}"
    result = await ask_health(HealthSettings(http=f"http://{place}/health"))
    assert result == Result(passed=None, detail="connection refused")
