"""What a stranger sends to a running service is turned away at once, counted, stored nowhere and not repeated."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.process.conftest import (
    answered,
    end_of,
    event,
    eventually,
    inbox,
    logged,
    sealed,
    seen_but_not_meant,
    signed,
    turn_of,
    visiting,
)

from mainstay.sandbox.model import SandboxSettings
from mainstay.testing.project import Project, project

pytestmark = pytest.mark.anyio

MARK = "hostile-9f2c"
LIMIT = 64 * 1024

Request = tuple[bytes, dict[str, str]]


@pytest.fixture(scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Project]:
    fast = SandboxSettings(tokens_per_second=0)
    configuration = (
        f'[channels.feishu]\nmode = "webhook"\nbody_limit = "{LIMIT // 1024}KiB"\nack_timeout = "500ms"\n'
    )
    async with project(tmp_path_factory.mktemp("bad"), configuration, sandbox=fast) as made:
        await made.start()
        yield made


def plain(made: Project, **header: str) -> bytes:
    return json.dumps(event(made, {"content": json.dumps({"text": MARK})}, **header)).encode()


def proper(made: Project, content: bytes) -> Request:
    body = sealed(made, content)
    return body, signed(made, body)


def forged(made: Project) -> Request:
    body, headers = proper(made, plain(made))
    return body, headers | {"X-Lark-Signature": "0" * 64}


def changed_on_the_way(made: Project) -> Request:
    body, headers = proper(made, plain(made))
    return body.replace(b'"encrypt"', b'"encrypt" '), headers


def unsigned(made: Project) -> Request:
    return sealed(made, plain(made)), {"Content-Type": "application/json"}


def in_the_clear(made: Project) -> Request:
    return plain(made), {"Content-Type": "application/json"}


def signed_with_another_key(made: Project) -> Request:
    body = sealed(made, plain(made))
    return body, signed(made, body, key=MARK)


def stale(made: Project) -> Request:
    body = sealed(made, plain(made))
    return body, signed(made, body, age_s=9 * 3600)


def from_the_future(made: Project) -> Request:
    body = sealed(made, plain(made))
    return body, signed(made, body, age_s=-3600)


def no_json(made: Project) -> Request:
    body = f"{{{MARK}".encode()
    return body, signed(made, body)


def json_of_nothing(made: Project) -> Request:
    return proper(made, json.dumps([MARK]).encode())


def without_its_parts(made: Project) -> Request:
    content = event(made, {"message_id": "", "content": MARK})
    return proper(made, json.dumps(content).encode())


def encrypted_with_another_key(made: Project) -> Request:
    body = sealed(made, plain(made), key=MARK)
    return body, signed(made, body)


def no_cipher_text(made: Project) -> Request:
    body = json.dumps({"encrypt": MARK}).encode()
    return body, signed(made, body)


def of_another_app(made: Project) -> Request:
    return proper(made, plain(made, app_id=f"cli_{MARK}"))


def with_a_wrong_token(made: Project) -> Request:
    return proper(made, plain(made, token=MARK))


def oversized(made: Project) -> Request:
    return proper(made, plain(made) + b" " * LIMIT)


def no_media_type_of_json(made: Project) -> Request:
    body, headers = proper(made, plain(made))
    return body, headers | {"Content-Type": f"text/{MARK}"}


def a_challenge_with_a_wrong_token(made: Project) -> Request:
    challenge = {"type": "url_verification", "token": MARK, "challenge": MARK}
    return sealed(made, json.dumps(challenge).encode()), {"Content-Type": "application/json"}


BAD: list[tuple[Callable[[Project], Request], int]] = [
    (forged, 401),
    (changed_on_the_way, 401),
    (unsigned, 401),
    (in_the_clear, 401),
    (signed_with_another_key, 401),
    (stale, 401),
    (from_the_future, 401),
    (no_json, 400),
    (json_of_nothing, 400),
    (without_its_parts, 400),
    (encrypted_with_another_key, 400),
    (no_cipher_text, 400),
    (of_another_app, 403),
    (with_a_wrong_token, 401),
    (oversized, 413),
    (no_media_type_of_json, 415),
    (a_challenge_with_a_wrong_token, 401),
]


async def rejected(made: Project, count: int) -> list[dict[str, Any]]:
    """The rejections in the log, once there are that many."""

    async def written() -> bool:
        return len(logged(made, "webhook.rejected")) >= count

    await eventually(written)
    return logged(made, "webhook.rejected")


async def test_the_proper_form_of_it_all_is_accepted(made: Project) -> None:
    said = await seen_but_not_meant(made)
    content = event(made, {"message_id": said.message_id, "chat_id": said.chat_id})
    body, headers = proper(made, json.dumps(content).encode())
    async with visiting(made) as http:
        response = await http.post("/webhook/event", content=body, headers=headers)
    assert (response.status_code, response.json()) == (200, {})
    assert turn_of(made, said.message_id) in inbox(made)
    assert (await end_of(made, said.message_id)).final


@pytest.mark.parametrize(
    ("build", "status", "path"),
    [
        pytest.param(build, status, path, id=f"{build.__name__}-{path}")
        for path in ("/webhook/event", "/webhook/card")
        for build, status in BAD
        if path == "/webhook/event" or build is not without_its_parts  # of a click no part is needed
    ],
)
async def test_it_is_turned_away_counted_and_not_repeated(
    made: Project, build: Callable[[Project], Request], status: int, path: str
) -> None:
    known, before = len(inbox(made)), len(logged(made, "webhook.rejected"))
    body, headers = build(made)
    async with visiting(made) as http:
        response = await http.post(path, content=body, headers=headers)
    assert response.status_code == status
    assert MARK not in response.text + str(response.headers)
    assert len(inbox(made)) == known
    lines = await rejected(made, before + 1)
    assert [(line["data"]["channel"], line["data"]["status"]) for line in lines[before:]] == [("feishu", status)]
    assert MARK not in made.log()


async def test_a_body_that_turns_out_too_large_is_not_read_to_its_end(made: Project) -> None:
    before = len(logged(made, "webhook.rejected"))

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 4096

    async with visiting(made) as http:
        response = await http.post(
            "/webhook/event", content=endless(), headers={"Content-Type": "application/json"}
        )
    assert response.status_code == 413
    assert [line["data"]["status"] for line in (await rejected(made, before + 1))[before:]] == [413]


async def test_who_stops_in_the_middle_of_a_body_is_sent_away(made: Project) -> None:
    before = len(logged(made, "webhook.rejected"))
    reader, writer = await asyncio.open_connection(*made.url.removeprefix("http://").split(":"))
    writer.write(b"POST /webhook/event HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    async with asyncio.timeout(20):
        assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert [line["data"]["status"] for line in (await rejected(made, before + 1))[before:]] == [408]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/webhook/event", 405),
        ("POST", "/webhook/../webhook/event", 401),
        ("POST", "/webhook/event/", 401),
        ("GET", f"/{MARK}", 401),
        ("POST", "/health", 405),
    ],
)
async def test_what_is_not_served_is_refused_without_repeating_it(
    made: Project, method: str, path: str, status: int
) -> None:
    reader, writer = await asyncio.open_connection(*made.url.removeprefix("http://").split(":"))
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert MARK.encode() not in answer


async def test_a_service_that_was_attacked_goes_on_answering(made: Project) -> None:
    async with visiting(made) as http:
        for build, _ in BAD:
            body, headers = build(made)
            await http.post("/webhook/event", content=body, headers=headers)
    assert (await answered(made, "hello")).final
    report = await made.health()
    assert (report["status"], report["errors"]["total"]) == ("healthy", 0)  # type: ignore[index]
