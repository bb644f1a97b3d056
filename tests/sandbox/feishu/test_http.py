"""Over HTTP the platform misbehaves on command, and only then."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from tests.sandbox.conftest import served, until
from tests.sandbox.feishu.conftest import World

from mainstay.clock import SystemClock
from mainstay.sandbox.feishu.clock import PlatformClock
from mainstay.sandbox.feishu.faults import PlatformFault, PlatformFaults
from mainstay.sandbox.feishu.http import platform_app

pytestmark = pytest.mark.anyio


class Line:
    def __init__(self, world: World, http: httpx2.AsyncClient, faults: PlatformFaults) -> None:
        self.world = world
        self.http = http
        self.faults = faults
        self.said = world.tenant.say("hello", PlatformClock(SystemClock()).moment()).message_id

    async def reply(self, text: str = "hi", **more: object) -> httpx2.Response:
        body = {"msg_type": "text", "content": f'{{"text":"{text}"}}', **more}
        return await self.http.post(f"/open-apis/im/v1/messages/{self.said}/reply", json=body)

    def replies(self) -> int:
        return len(self.world.tenant.record.snapshot(self.said, self.world.now).replies)


@pytest.fixture
async def line(world: World) -> AsyncIterator[Line]:
    faults, clock = PlatformFaults(), PlatformClock(SystemClock())
    async with (
        served(platform_app(world.platform, faults, clock, lambda: None)) as origin,
        httpx2.AsyncClient(base_url=origin, trust_env=False, timeout=20) as http,
    ):
        body = {"app_id": world.tenant.app.app_id, "app_secret": world.tenant.app.app_secret}
        answer = await http.post("/open-apis/auth/v3/tenant_access_token/internal", json=body)
        http.headers["Authorization"] = f"Bearer {answer.json()['tenant_access_token']}"
        yield Line(world, http, faults)


async def test_a_code_is_answered_in_the_place_of_the_effect(line: Line) -> None:
    line.faults.inject(
        PlatformFault(call="POST /reply", code=99991400, status=429, headers={"x-ogw-ratelimit-reset": "3"})
    )
    refused = await line.reply()
    assert (refused.status_code, refused.json()["code"]) == (429, 99991400)
    assert refused.headers["x-ogw-ratelimit-reset"] == "3"
    assert line.replies() == 0
    assert (await line.reply()).json()["code"] == 0


async def test_a_gateways_error_is_no_json(line: Line) -> None:
    line.faults.inject(PlatformFault(call="POST /reply", status=502))
    refused = await line.reply()
    assert (refused.status_code, refused.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert line.replies() == 0


async def test_a_call_without_a_token_uses_no_fault_up(line: Line) -> None:
    line.faults.inject(PlatformFault(call="POST /reply", code=5))
    body = {"msg_type": "text", "content": '{"text":"x"}'}
    path = f"/open-apis/im/v1/messages/{line.said}/reply"
    refused = await line.http.post(path, json=body, headers={"Authorization": ""})
    assert refused.json()["code"] == 99991661
    assert (await line.reply()).json()["code"] == 5


async def test_the_token_endpoint_can_be_made_to_fail(line: Line) -> None:
    line.faults.inject(PlatformFault(call="POST /tenant_access_token", status=500))
    answer = await line.http.post("/open-apis/auth/v3/tenant_access_token/internal", json={})
    assert answer.status_code == 500


async def test_a_held_answer_has_its_effect_and_comes_when_released(line: Line) -> None:
    line.faults.inject(PlatformFault(call="POST /reply", hold=True))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        asking = group.create_task(line.reply())
        await until(lambda: line.faults.held == 1)
        assert (line.replies(), asking.done()) == (1, False)
        assert line.faults.release() == 1
    assert asking.result().json()["code"] == 0


async def test_who_gives_up_on_a_held_answer_has_lost_it_but_not_the_effect(line: Line) -> None:
    line.faults.inject(PlatformFault(call="POST /reply", hold=True))
    with pytest.raises(httpx2.ReadTimeout):
        async with asyncio.timeout(20):
            await line.http.post(
                f"/open-apis/im/v1/messages/{line.said}/reply",
                json={"msg_type": "text", "content": '{"text":"x"}', "uuid": "u"},
                timeout=0.3,
            )
    await until(lambda: line.faults.held == 0)
    assert (await line.reply(uuid="u")).json()["code"] == 0
    assert line.replies() == 1


async def test_a_dropped_answer_breaks_off_after_the_effect(line: Line) -> None:
    line.faults.inject(PlatformFault(call="POST /reply", drop=True))
    with pytest.raises(httpx2.RemoteProtocolError):
        await line.reply()
    assert line.replies() == 1


async def test_a_delay_comes_before_the_effect(line: Line) -> None:
    line.faults.inject(PlatformFault(call="POST /reply", delay_s=0.2))
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        asking = group.create_task(line.reply())
        await until(lambda: not line.faults.active())
        assert line.replies() == 0
    assert (asking.result().json()["code"], line.replies()) == (0, 1)


async def test_a_body_that_is_no_json_is_a_bad_request_and_not_an_error_of_the_server(line: Line) -> None:
    for content in (b"{", b"[]", b"\xff"):
        answer = await line.http.post(f"/open-apis/im/v1/messages/{line.said}/reply", content=content)
        assert answer.json()["code"] == 230001


async def test_a_giant_body_is_refused(line: Line) -> None:
    answer = await line.http.post("/open-apis/im/v1/messages", content=b"x" * (5 * 1024 * 1024))
    assert answer.status_code == 413
