"""The calls themselves, against the sandbox's platform."""

import asyncio

import httpx2
import pytest

from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.clock import SystemClock
from mainstay.errors import Category
from mainstay.guard import Unguarded

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(world):
    errors = []
    async with httpx2.AsyncClient(trust_env=False) as http:
        client = FeishuClient(
            world.settings,
            http=http,
            clock=SystemClock(),
            guard=Unguarded(),
            on_error=lambda refusal, path: errors.append(refusal),
        )
        client.errors = errors
        yield client


async def test_one_token_serves_everybody_who_waits_for_it(world, client):
    before = await world.calls("POST", "/tenant_access_token/")
    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(client.bot()) for _ in range(10)]
    assert {task.result().open_id for task in asking} == {"ou_bot"}
    assert await world.calls("POST", "/tenant_access_token/") == before + 1


async def test_one_failure_to_get_a_token_fails_everybody_who_waits_for_it(world, client):
    before = await world.calls("POST", "/tenant_access_token/")
    await world.platform.platform_fault("POST /tenant_access_token/", status=503, delay_s=0.2)
    results = await asyncio.gather(*(client.bot() for _ in range(10)), return_exceptions=True)
    assert {type(result) for result in results} == {Refused}
    assert await world.calls("POST", "/tenant_access_token/") == before + 1
    assert len(client.errors) == 1
    assert (await client.bot()).open_id == "ou_bot"


async def test_a_token_is_renewed_while_the_old_one_is_still_good(world, client):
    await world.platform.expire_tokens()  # the platform gives the same one out again while it is good
    await client.renew()
    assert 7000 < client.token_left_s <= 7200
    assert client.renew_in_s == pytest.approx(client.token_left_s - 1800, abs=1)
    before = await world.calls("POST", "/tenant_access_token/")
    await client.renew()
    assert await world.calls("POST", "/tenant_access_token/") == before


async def test_a_short_token_is_renewed_at_half_of_its_life(world, client):
    await world.platform.options(token_expire_s=600.0)
    await world.platform.expire_tokens()
    await client.renew()
    await world.platform.options(token_expire_s=7200.0)
    assert 299 < client.renew_in_s <= 300


async def test_a_token_that_is_refused_twice_is_not_fetched_a_third_time(world, client):
    await client.renew()
    before = await world.calls("POST", "/tenant_access_token/")
    await world.platform.platform_fault("GET /bot/v3/info", code=99991663, times=2)
    with pytest.raises(Refused, match="99991663"):
        await client.bot()
    assert await world.calls("POST", "/tenant_access_token/") == before + 1
    assert [refusal.category for refusal in client.errors] == [Category.AUTH]


@pytest.mark.parametrize(
    ("fault", "category"),
    [
        ({"status": 502}, Category.SERVER_ERROR),
        ({"drop": True}, Category.CONNECTION),
        ({"delay_s": 3.0}, Category.TIMEOUT),
        ({"code": 99991400, "status": 429}, Category.RATE_LIMIT),
    ],
    ids=["gateway", "cut", "slow", "rate"],
)
async def test_what_may_pass_later_says_so(world, client, fault, category):
    await client.renew()
    await world.platform.platform_fault("GET /bot/v3/info", **fault)
    with pytest.raises(Refused) as refused:
        await client.bot()
    assert refused.value.retryable
    assert refused.value.refusal.category is category
    assert client.errors == [refused.value.refusal]


async def test_a_refusal_names_the_platform_s_log(world, client):
    await world.platform.platform_fault("GET /bot/v3/info", code=99991672, message="scope missing")
    with pytest.raises(Refused, match=r"99991672.*scope missing.*log_id 20\d{12}"):
        await client.bot()


async def test_no_secret_is_in_a_refusal(world, client):
    await world.platform.platform_fault("* /", times=4, status=500)
    with pytest.raises(Refused) as refused:
        await client.bot()
    assert world.settings.app_secret.reveal() not in str(refused.value)


async def test_an_id_from_outside_stays_one_part_of_the_path(world, client):
    with pytest.raises(Refused):
        await client.delete("../../bot/v3/info?x=1#y")
    call = (await world.platform.calls())[-1]
    assert call["method"] == "DELETE"
    assert call["path"] != "/open-apis/bot/v3/info"


async def test_nobody_there_is_a_broken_connection(world, client, tmp_path):
    async with httpx2.AsyncClient(transport=httpx2.AsyncHTTPTransport(uds=str(tmp_path / "none"))) as http:
        clock, guard = SystemClock(), Unguarded()
        alone = FeishuClient(world.settings, http=http, clock=clock, guard=guard, on_error=lambda *_: None)
        with pytest.raises(Refused) as refused:
            await alone.bot()
    assert refused.value.refusal.category is Category.CONNECTION


async def test_an_app_that_is_not_accepted_is_not_tried_again_at_once(world, client):
    before = await world.calls("POST", "/tenant_access_token/")
    await world.platform.platform_fault("POST /tenant_access_token/", code=10014, status=200, times=2)
    waits = []
    for _ in range(3):
        with pytest.raises(Refused, match="10014") as refused:
            await client.bot()
        waits.append(refused.value.refusal.wait_s)
    assert await world.calls("POST", "/tenant_access_token/") == before + 1
    assert len(client.errors) == 1
    assert waits[0] == 0.0
    assert 0.0 < waits[2] < waits[1] <= world.settings.retry_cap


async def test_every_call_is_counted_by_its_api_and_how_it_went(world, client):
    await client.bot()
    await client.bot()
    await world.platform.platform_fault("GET /bot/v3/info", code=1500)
    with pytest.raises(Refused):
        await client.bot()
    with pytest.raises(Refused):
        await client.delete("om_unknown")
    assert dict(client.calls) == {
        ("POST auth/v3/tenant_access_token/internal", "ok"): 1,
        ("GET bot/v3/info", "ok"): 2,
        ("GET bot/v3/info", "server_error"): 1,
        ("DELETE im/v1/messages/{}", "invalid_request"): 1,
    }


async def test_what_would_wait_too_long_for_its_turn_is_not_sent(world, client):
    headers = {"x-ogw-ratelimit-reset": "30"}
    await world.platform.platform_fault("GET /bot/v3/info", code=99991400, status=429, headers=headers)
    with pytest.raises(Refused):
        await client.bot()
    before = await world.calls("GET", "/bot/v3/info")
    with pytest.raises(Refused, match="no place") as refused:
        await client.bot()
    assert await world.calls("GET", "/bot/v3/info") == before
    assert refused.value.retryable
    assert 20.0 < refused.value.refusal.wait_s <= 30.0
    assert len(client.errors) == 1  # it was heard of why
    assert client.calls["GET bot/v3/info", "held back"] == 1
