"""Every answer has the platform's form."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sandbox.feishu.conftest import World

from mainstay.sandbox.feishu.tenant import P2P


def test_an_error_names_its_log_id_in_the_body_and_in_a_header(world: World) -> None:
    reply = world.call("GET", "/im/v1/messages/om_none")
    assert (reply.code, reply.status) == (99992354, 400)
    error = reply.body["error"]
    assert isinstance(error, dict)
    assert re.fullmatch(r"\d{14}[0-9A-F]{18}", error["log_id"])
    assert reply.headers["X-Tt-Logid"] == error["log_id"]


def test_the_bot_is_under_bot_and_not_under_data(world: World) -> None:
    body = world.call("GET", "/bot/v3/info").body
    assert isinstance(body["bot"], dict)
    assert body["bot"]["open_id"] == "ou_bot"
    assert "data" not in body


def test_an_unknown_path_and_an_unknown_method_are_404(world: World) -> None:
    assert world.call("GET", "/im/v9/nothing").status == 404
    assert world.call("DELETE", "/im/v1/messages").status == 404


FIELDS = [
    "content",
    "sequence",
    "uuid",
    "settings",
    "card",
    "type",
    "data",
    "msg_type",
    "receive_id",
    "reaction_type",
]
values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.just("{}") | st.just("text")
)
bodies = st.dictionaries(
    st.sampled_from(FIELDS), values | st.lists(values, max_size=2) | st.just({"type": "card_json"})
)


@settings(deadline=None)
@given(bodies)
def test_no_body_is_too_odd_for_an_answer(body: dict[str, object]) -> None:
    world = World()
    said, card = world.said(), world.card()
    own = world.reply(said).body["data"]
    assert isinstance(own, dict)
    calls = [
        ("POST", "/im/v1/messages"),
        ("POST", f"/im/v1/messages/{said}/reply"),
        ("POST", f"/im/v1/messages/{said}/reactions"),
        ("PATCH", f"/im/v1/messages/{own['message_id']}"),
        ("PUT", f"/im/v1/messages/{own['message_id']}"),
        ("POST", "/cardkit/v1/cards"),
        ("PUT", f"/cardkit/v1/cards/{card}"),
        ("PUT", f"/cardkit/v1/cards/{card}/elements/answer/content"),
        ("PATCH", f"/cardkit/v1/cards/{card}/settings"),
    ]
    assert all(isinstance(world.code(method, path, body), int) for method, path in calls)


def test_every_call_is_listed_with_its_code(world: World) -> None:
    world.code("GET", "/im/v1/messages/om_none")
    world.code("GET", "/im/v1/messages", container_id_type="chat", container_id=P2P)
    listed = [(method, code) for _, method, path, _, code in world.platform.calls if "messages" in path]
    assert listed == [("GET", 99992354), ("GET", 0)]
