"""Too many calls are refused, with a word on how long to wait; a refused call uses nothing up."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sandbox.feishu.conftest import World

from mainstay.sandbox.feishu.limits import Limits
from mainstay.sandbox.feishu.model import Options, Refusal


def bot(world: World) -> int:
    return world.code("GET", "/bot/v3/info")


def test_the_51st_call_of_an_api_in_a_second_is_refused_with_429_and_the_seconds_to_wait(world: World) -> None:
    assert [bot(world) for _ in range(50)] == [0] * 50
    reply = world.call("GET", "/bot/v3/info")
    assert (reply.status, reply.code) == (429, 99991400)
    assert reply.headers["x-ogw-ratelimit-limit"] == "50"
    assert reply.headers["x-ogw-ratelimit-reset"] == "1"
    world.wait(1.0)
    assert bot(world) == 0


def test_the_1001st_call_in_a_minute_is_told_how_long_the_minute_lasts(world: World) -> None:
    for _ in range(20):
        assert [bot(world) for _ in range(50)] == [0] * 50
        world.wait(1.0)
    reply = world.call("GET", "/bot/v3/info")
    assert (reply.status, reply.headers["x-ogw-ratelimit-reset"]) == (429, "40")


def test_the_limit_of_one_api_leaves_the_others_alone(world: World) -> None:
    message = world.said()
    for _ in range(51):
        bot(world)
    assert world.reply(message).code == 0


def test_a_chat_takes_five_messages_in_a_second_from_send_and_reply_together(world: World) -> None:
    message = world.said()
    body = {"receive_id": "ou_u1", "msg_type": "text", "content": '{"text":"x"}'}
    codes = [world.reply(message).code for _ in range(3)]
    codes += [world.code("POST", "/im/v1/messages", body, receive_id_type="open_id") for _ in range(3)]
    assert codes == [0, 0, 0, 0, 0, 230020]
    other = world.said(chat_type="group")
    assert world.reply(other).code == 0


def test_one_message_is_patched_five_times_in_a_second(world: World) -> None:
    card = '{"config":{"update_multi":true},"elements":[{"tag":"markdown","content":"x"}]}'
    reply = world.reply(world.said(), msg_type="interactive", content=card)
    assert isinstance(reply.body["data"], dict)
    path = f"/im/v1/messages/{reply.body['data']['message_id']}"
    assert [world.code("PATCH", path, {"content": card}) for _ in range(6)] == [0, 0, 0, 0, 0, 230020]


def test_one_card_takes_ten_operations_in_a_second_of_whatever_kind(world: World) -> None:
    card = world.card()
    codes = [world.stream(card, f"text {number}", number) for number in range(1, 10)]
    codes += [world.streaming(card, 10, on=True), world.streaming(card, 11, on=True)]
    assert codes == [0] * 10 + [99991400]
    world.wait(1.0)
    assert world.streaming(card, 12, on=True) == 0


def test_the_months_quota_ends_with_the_month(world: World) -> None:
    world.tenant.options = replace(world.tenant.options, monthly_quota=3)
    assert [bot(world) for _ in range(4)] == [0, 0, 0, 99991403]
    assert world.call("GET", "/bot/v3/info").status == 429
    world.wait(31 * 86400 - 8 * 3600 - 1)  # it is the first of January; the next month begins in UTC+8
    assert bot(world) == 99991403
    world.wait(1)
    assert bot(world) == 0


def test_a_call_that_fails_is_none_of_the_months_calls(world: World) -> None:
    world.tenant.options = replace(world.tenant.options, monthly_quota=2)
    assert world.code("GET", "/im/v1/messages/om_unknown") == 99992354
    assert [bot(world) for _ in range(3)] == [0, 0, 99991403]


def test_limits_count_real_seconds_unless_told_otherwise(world: World) -> None:
    limits, options = Limits(), Options(api_per_s=1)
    now = world.now
    faster = replace(now, real_s=now.real_s + 0.01, platform_s=now.platform_s + 10)
    limits.count("x", options, now)
    refused = None
    try:
        limits.count("x", options, faster)
    except Refusal as why:
        refused = why
    assert refused is not None
    limits.count("x", replace(options, scale_limits=True), replace(faster, platform_s=faster.platform_s + 60))


@settings(deadline=None)
@given(st.lists(st.floats(0, 0.4), min_size=1, max_size=60))
def test_no_second_ever_holds_more_than_the_limit(gaps: list[float]) -> None:
    world, limits, options = World(), Limits(), Options(api_per_s=3)
    passed: list[float] = []
    for gap in gaps:
        world.wait(gap)
        try:
            limits.count("x", options, world.now)
        except Refusal:
            continue
        passed.append(world.now.real_s)
    assert all(passed[i + 3] - passed[i] >= 1.0 for i in range(len(passed) - 3))
