"""A platform that does not answer is left alone for a while, and what is to be shown waits for it."""

import httpx2
import pytest

from mainstay.channels.feishu.client import FeishuClient, Refused
from mainstay.clock import SystemClock
from mainstay.events import DeliveryRetried, ErrorSeen, OutcomeDelivered
from mainstay.recovery.breaker.model import BreakerSettings, State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

SETTINGS = BreakerSettings(calls=4, min_calls=4, open_time=5.0, jitter=0.0)


@pytest.fixture
async def guarded(world):
    """The client, its breaker, the clock of the breaker, and what was reported."""
    clock, errors = ManualClock(), []
    breaker = Breaker("channel:feishu", SETTINGS, clock=clock)
    async with httpx2.AsyncClient(trust_env=False) as http:
        client = FeishuClient(
            world.settings,
            http=http,
            clock=SystemClock(),
            guard=breaker,
            on_error=lambda refusal, path: errors.append(refusal),
        )
        await client.renew()
        yield client, breaker, clock, errors


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500, "code": 10101}, {"drop": True}])
async def test_a_platform_that_fails_is_not_asked_until_the_pause_is_over(world, guarded, fault):
    client, breaker, clock, errors = guarded
    await world.platform.platform_fault("GET /bot/v3/info", times=3, **fault)
    for _ in range(3):  # the token makes four
        with pytest.raises(Refused):
            await client.bot()
    before = await world.calls("GET", "/bot/v3/info")
    with pytest.raises(Refused, match="channel:feishu is left alone for 5s more") as refused:
        await client.bot()
    assert refused.value.retryable
    assert refused.value.refusal.wait_s == 5.0
    assert await world.calls("GET", "/bot/v3/info") == before
    assert len(errors) == 3
    clock.advance(5.0)
    assert (await client.bot()).open_id == "ou_bot"
    assert breaker.state is State.CLOSED


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "code": 99991400, "headers": {"x-ogw-ratelimit-reset": "30"}},
        {"status": 400, "code": 230011},
        {"status": 200, "code": 99991672},
    ],
    ids=["rate", "recalled", "scope"],
)
async def test_what_the_platform_refuses_says_nothing_about_its_state(world, guarded, fault):
    client, breaker, _, _ = guarded
    await world.platform.platform_fault("GET /bot/v3/info", times=5, **fault)
    for _ in range(5):
        with pytest.raises(Refused):
            await client.bot()
    assert breaker.state is State.CLOSED


async def test_outcomes_wait_for_the_platform_and_health_says_why(world):
    world.breaker = BreakerSettings(calls=4, min_calls=4, open_time=0.5, longest_open=0.5, jitter=0.0)
    process = await world.process(deliver_wait=0.05)
    messages = [await world.ask(f"number {number}") for number in range(6)]
    await world.platform.platform_fault("* /", times=1000, status=503)
    for message in messages:
        await world.finish(process.channel.replier(message, message.turn_id, 1), f"answer to {message.text}")

    async def left_alone() -> bool:
        condition = process.channel.checks()[0]()
        return condition.status == "degraded" and "the platform is left alone for" in condition.reason

    await world.eventually(left_alone)
    await process.until(DeliveryRetried, len(messages))
    assert all("left alone" not in event.message for event in process.seen(ErrorSeen))
    await world.platform.clear()
    await process.until(OutcomeDelivered, len(messages))
    for message in messages:
        verdict = await world.until_final(message)
        assert (verdict.outcomes, verdict.texts) == (1, (f"answer to {message.text}",))
