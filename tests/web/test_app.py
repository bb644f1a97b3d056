"""What is served to whom, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx2
import pytest

from mainstay.asgi import ASGIApp, Mount, Receive, Scope, Send, respond
from mainstay.health.http import health, probes
from mainstay.health.monitor import HealthMonitor
from mainstay.web.access import Access
from mainstay.web.app import App, build

pytestmark = pytest.mark.anyio

Visit = Callable[[ASGIApp], AbstractAsyncContextManager[httpx2.AsyncClient]]

OPERATOR = {"Authorization": f"Bearer {'o' * 40}"}
VIEWER = {"Authorization": f"Bearer {'v' * 40}"}


async def reached(scope: Scope, _: Receive, send: Send) -> None:
    await respond(scope, send, 200, b'"reached"')


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await respond(scope, send, 200, str(len(body)).encode())


async def _dropped(_: object) -> None:
    pass


async def broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("a bug")


async def half_broken(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"half", "more_body": True})
    raise RuntimeError("a bug")


def unexpected(path: str, error: Exception) -> None:
    raise AssertionError(path) from error


@pytest.fixture
def failures() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def app(access: Access, failures: list[tuple[str, str]]) -> App:
    monitor = HealthMonitor()
    probing = probes(monitor)
    return build(
        [
            Mount(path="/health", app=health(monitor, detailed=access.trusted), access="public"),
            *(Mount(path=path, app=probing, access="public") for path in ("/livez", "/readyz", "/startupz")),
            Mount(path="/webhook/event", app=echo, access="signature", max_body_bytes=1000),
            Mount(path="/metrics", app=reached, access="viewer"),
            Mount(path="/devtools", app=reached, access="viewer"),
            Mount(path="/chat", app=reached),
            Mount(path="/broken", app=broken),
            Mount(path="/half", app=half_broken),
            Mount(path="/slow", app=echo, body_timeout_s=0.05),
        ],
        access=access,
        service="feishu-agent",
        mode="subscription",
        sandbox=True,
        failed=lambda path, error: failures.append((path, str(error))),
    )


async def test_the_front_page_says_what_this_is(app: App, visit: Visit) -> None:
    async with visit(app) as client:
        answer = await client.get("/")
        assert answer.json() == {
            "status": "ok",
            "service": "feishu-agent",
            "mode": "subscription",
            "sandbox": True,
        }
        assert (await client.head("/")).status_code == 200
        assert (await client.post("/")).status_code == 405


PUBLIC = ["/", "/health", "/livez", "/readyz", "/startupz"]
GUARDED = ["/metrics", "/devtools", "/chat"]
BOGUS = [
    "/nothing",
    "/health/",
    "//health",
    "/HEALTH",
    "/Health",
    "/%68ealth",
    "/health%2f",
    "/health%00",
    "/./health",
    "/%2e/health",
    "/chat/%2e%2e/health",
    "/health/../chat",
    "/health;x",
    "/livez/",
    "//",
    "///",
    "/%2f",
    "/CHAT",
    "/chat/",
    "//chat",
    "/%63hat",
    "/metrics/",
    "/metrics%20",
    "/devtools/api/events",
    "/webhook/",
    "/webhook/event/",
    "/webhook/event/x",
    "/WEBHOOK/EVENT",
    "/.mainstay/tokens.json",
    "/tokens.json",
    "/docs",
    "/favicon.ico",
    "*",
    "http://127.0.0.1/chat",
]


async def raw(client: httpx2.AsyncClient, method: str, target: str, headers: str = "") -> tuple[int, bytes]:
    """One request, exactly as written here: no client has the chance to tidy up the path."""
    assert client.base_url.port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
    try:
        request = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n"
        writer.write(request.encode("latin-1"))
        async with asyncio.timeout(10):
            answer = await reader.read()
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE"])
async def test_without_a_token_only_what_is_public_or_signed_answers(app: App, visit: Visit, method: str) -> None:
    async with visit(app) as client:
        for path in PUBLIC:
            status, _ = await raw(client, method, path)
            assert status == (200 if method in {"GET", "HEAD"} else 405), path
        assert (await raw(client, method, "/webhook/event"))[0] == 200
        refused = set()
        for path in [*GUARDED, *BOGUS]:
            status, body = await raw(client, method, path)
            assert status in {401, 400}, path
            if status == 401:
                refused.add(body)
            assert b"reached" not in body
        assert len(refused) == 1  # nobody learns which paths there are


async def test_with_a_token_what_is_not_there_is_404_and_is_not_repeated(app: App, visit: Visit) -> None:
    async with visit(app) as client:
        for path in ("/nothing", "/%3Cscript%3E", "/chat/"):
            answer = await client.get(path, headers=OPERATOR)
            assert answer.status_code == 404
            assert answer.json() == {"error": "not found"}


async def test_a_mount_needs_its_role_and_an_operators_if_nobody_said_so(app: App, visit: Visit) -> None:
    async with visit(app) as client:
        assert (await client.get("/metrics", headers=VIEWER)).status_code == 200
        assert (await client.get("/metrics", headers=OPERATOR)).status_code == 200
        assert (await client.get("/chat", headers=OPERATOR)).status_code == 200
        answer = await client.get("/chat", headers=VIEWER)
        assert answer.status_code == 403
        answer = await client.get("/chat")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_token_does_not_help_under_a_foreign_name_or_from_a_foreign_page(app: App, visit: Visit) -> None:
    async with visit(app) as client:
        rebound = await client.get("/metrics", headers=VIEWER | {"Host": "attacker.example"})
        assert rebound.status_code == 403
        assert "attacker" not in rebound.text
        assert (await client.get("/metrics", headers=VIEWER | {"Host": "bot.example"})).status_code == 200
        foreign = await client.post("/chat", headers=OPERATOR | {"Origin": "http://attacker.example"})
        assert foreign.status_code == 403
        cookie = {"Cookie": f"mainstay_token={'o' * 40}"}
        assert (await client.get("/chat", headers=cookie)).status_code == 200
        assert (await client.post("/chat", headers=cookie)).status_code == 403
        same = {"Origin": str(client.base_url).rstrip("/")}
        assert (await client.post("/chat", headers=cookie | same)).status_code == 200


async def test_the_detailed_health_is_for_token_holders_and_direct_local_callers(app: App, visit: Visit) -> None:
    proxied = {"X-Forwarded-For": "10.0.0.7"}
    async with visit(app) as client:
        assert "process" in (await client.get("/health")).json()
        assert "process" not in (await client.get("/health", headers=proxied)).json()
        assert "process" in (await client.get("/health", headers=proxied | VIEWER)).json()


async def test_while_draining_only_what_is_public_goes_on(app: App, visit: Visit) -> None:
    app.draining = True
    async with visit(app) as client:
        assert (await client.get("/health")).status_code == 200
        for path, headers in (("/webhook/event", {}), ("/chat", OPERATOR), ("/metrics", VIEWER)):
            answer = await client.get(path, headers=headers)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5"), path
        assert (await client.get("/chat")).status_code == 401


async def chunks(size: int, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


async def test_a_body_may_be_as_large_as_the_mount_allows(app: App, visit: Visit) -> None:
    async with visit(app) as client:
        assert (await client.post("/webhook/event", content=b"x" * 1000)).text == "1000"
        assert (await client.post("/webhook/event", content=chunks(100, 10))).text == "1000"
        announced = await client.post("/webhook/event", content=b"x" * 1001)
        assert announced.status_code == 413
        assert announced.json() == {"error": "request body too large"}
        assert announced.headers["connection"] == "close"
        assert (await client.post("/webhook/event", content=chunks(100, 11))).status_code == 413
        # refused for what was announced: this body never comes
        assert (await raw(client, "POST", "/webhook/event", "Content-Length: 1001\r\n"))[0] == 413


async def test_a_body_that_does_not_come_is_408(app: App, visit: Visit) -> None:
    async with visit(app) as client:
        status, _ = await raw(
            client, "POST", "/slow", f"Authorization: {OPERATOR['Authorization']}\r\nContent-Length: 5\r\n"
        )
        assert status == 408


async def test_an_answer_may_take_longer_than_the_body(access: Access, visit: Visit) -> None:
    async def waits_for_the_end(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, _dropped)
        try:
            async with asyncio.timeout(0.2):
                await receive()
        except TimeoutError:
            await respond(scope, send, 200, b'"patient"')

    mount = Mount(path="/stream", app=waits_for_the_end, access="public", body_timeout_s=0.05)
    async with visit(App([mount], access, unexpected)) as client:
        assert (await client.post("/stream", content=b"x")).json() == "patient"


async def test_a_bug_is_a_500_without_its_text_and_is_told_once(
    app: App, visit: Visit, failures: list[tuple[str, str]], caplog: pytest.LogCaptureFixture
) -> None:
    async with visit(app) as client:
        answer = await client.get("/broken", headers=OPERATOR)
        assert answer.status_code == 500
        assert answer.json() == {"error": "internal error"}
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/half", headers=OPERATOR)
    assert failures == [("/broken", "a bug"), ("/half", "a bug")]
    assert "a bug" not in caplog.text
    assert "ASGI message" not in caplog.text  # half an answer is broken off, not followed by another


async def test_a_mount_with_items_answers_what_is_one_plain_segment_below_it(access: Access, visit: Visit) -> None:
    mounts = [
        Mount(path="/chat", app=reached, items=True, actions=("retry",)),
        Mount(path="/chat/own", app=echo),
        Mount(path="/x", app=reached),
    ]
    async with visit(App(mounts, access, unexpected)) as client:
        for path in ("/chat", "/chat/a", "/chat/A-b_c.d~e", "/chat/" + "a" * 128, "/chat/a/retry", "/chat/retry"):
            assert (await client.get(path, headers=OPERATOR)).status_code == 200, path
            assert (await client.get(path)).status_code == 401, path
            assert (await client.get(path, headers=VIEWER)).status_code == 403, path
        assert (await client.post("/chat/own", content=b"mine", headers=OPERATOR)).content == b"4"
        for path in (
            "/chat/",
            "/chat/a/b",
            "/chat/a/retry/",
            "/chat/a/b/retry",
            "/chat//retry",
            "/chat/.a/retry",
            "/chat/own/retry",
            "/x/a/retry",
            "/chat/.a",
            "/chat/%61",
            "/chat/a%2fb",
            "/chat/" + "a" * 129,
            "/x/a",
            "/chata",
        ):
            assert (await client.get(path, headers=OPERATOR)).status_code == 404, path


async def test_two_mounts_can_not_have_one_path(access: Access) -> None:
    with pytest.raises(ValueError, match="two mounts at /chat"):
        App([Mount(path="/chat", app=reached), Mount(path="/chat", app=echo)], access, unexpected)
