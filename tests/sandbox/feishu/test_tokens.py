"""Tokens age, are renewed while the old one is good, and can be taken away."""

from tests.sandbox.feishu.conftest import World

from mainstay.sandbox.feishu.model import ApiRequest

BOT = "/open-apis/bot/v3/info"
TOKEN = "/open-apis/auth/v3/tenant_access_token/internal"


def bearer(world: World, token: str) -> int:
    return world.platform.call(ApiRequest(method="GET", path=BOT, bearer=token), world.now).code


def test_the_same_token_is_given_until_half_an_hour_before_its_end(world: World) -> None:
    first = world.token()
    world.wait(5399)
    assert world.token() == first
    world.wait(2)
    assert world.token() != first


def test_after_a_renewal_both_tokens_are_valid_until_the_old_one_ends(world: World) -> None:
    first = world.token()
    world.wait(5500)
    second = world.token()
    assert (bearer(world, first), bearer(world, second)) == (0, 0)
    world.wait(1701)
    assert (bearer(world, first), bearer(world, second)) == (99991663, 0)


def test_no_token_and_a_wrong_token_are_told_apart(world: World) -> None:
    assert (bearer(world, ""), bearer(world, "t-wrong")) == (99991661, 99991663)


def test_a_revoked_token_is_refused_and_the_next_one_works(world: World) -> None:
    first = world.token()
    assert world.tenant.tokens.revoke() == 1
    assert bearer(world, first) == 99991663
    assert bearer(world, world.token()) == 0


def test_a_wrong_secret_gets_code_10014_with_http_200_and_no_token(world: World) -> None:
    body = {"app_id": world.tenant.app.app_id, "app_secret": "wrong"}
    reply = world.platform.call(ApiRequest(method="POST", path=TOKEN, body=dict(body)), world.now)
    assert (reply.code, reply.status) == (10014, 200)
    assert "tenant_access_token" not in reply.body
