"""What a path says about a call."""

import pytest

from mainstay.channels.feishu.governor.calls import call_of
from mainstay.channels.feishu.governor.model import Scope, Urgency

CARDS = "/open-apis/cardkit/v1/cards"
MESSAGES = "/open-apis/im/v1/messages"


@pytest.mark.parametrize(
    ("method", "path", "api", "concerned", "urgency", "counted"),
    [
        ("POST", CARDS, "POST cardkit/v1/cards", [], "OUTCOME", True),
        ("PUT", f"{CARDS}/7", "PUT cardkit/v1/cards/{}", [(Scope.CARD, "7")], "OUTCOME", True),
        (
            "PATCH",
            f"{CARDS}/7/settings",
            "PATCH cardkit/v1/cards/{}/settings",
            [(Scope.CARD, "7")],
            "OUTCOME",
            True,
        ),
        (
            "PUT",
            f"{CARDS}/7/elements/answer/content",
            "PUT cardkit/v1/cards/{}/elements/{}/content",
            [(Scope.CARD, "7")],
            "UPDATE",
            True,
        ),
        ("POST", f"{MESSAGES}?receive_id_type=chat_id", "POST im/v1/messages", [], "OUTCOME", True),
        ("GET", f"{MESSAGES}?container_id=x/y", "GET im/v1/messages", [], "OUTCOME", True),
        ("GET", f"{MESSAGES}/om_1", "GET im/v1/messages/{}", [], "OUTCOME", True),
        ("PATCH", f"{MESSAGES}/om_1", "PATCH im/v1/messages/{}", [(Scope.MESSAGE, "om_1")], "OUTCOME", True),
        ("PUT", f"{MESSAGES}/om_1", "PUT im/v1/messages/{}", [(Scope.MESSAGE, "om_1")], "OUTCOME", True),
        ("DELETE", f"{MESSAGES}/om_1", "DELETE im/v1/messages/{}", [], "OUTCOME", True),
        (
            "DELETE",
            f"{MESSAGES}/om_1/reactions/r_1",
            "DELETE im/v1/messages/{}/reactions/{}",
            [],
            "OUTCOME",
            True,
        ),
        ("POST", f"{MESSAGES}/om_1/reactions", "POST im/v1/messages/{}/reactions", [], "COURTESY", True),
        (
            "GET",
            f"{MESSAGES}/om_1/resources/file_1?type=image",
            "GET im/v1/messages/{}/resources/{}",
            [],
            "OUTCOME",
            True,
        ),
        (
            "POST",
            "/open-apis/auth/v3/tenant_access_token/internal",
            "POST auth/v3/tenant_access_token/internal",
            [],
            "OUTCOME",
            False,
        ),
        ("GET", "/open-apis/contact/v3/users/ou_1", "GET contact/v3/users/{}", [], "OUTCOME", False),
        ("GET", "/open-apis/event/v1/outbound_ip", "GET event/v1/outbound_ip", [], "OUTCOME", False),
        ("GET", "/open-apis/bot/v3/info", "GET bot/v3/info", [], "OUTCOME", True),
    ],
)
def test_a_call_is_known_by_its_path(method, path, api, concerned, urgency, counted):
    call = call_of(method, path)
    assert call.api == api
    assert call.buckets == ((Scope.API, api), *concerned)
    assert (call.urgency, call.counted) == (Urgency[urgency], counted)


def test_a_reply_concerns_the_chat_that_it_goes_to():
    call = call_of("POST", f"{MESSAGES}/om_1/reply", chat_id="oc_1")
    assert call.buckets == ((Scope.API, "POST im/v1/messages/{}/reply"), (Scope.CHAT, "oc_1"))
    assert call.owner == (Scope.CHAT, "oc_1")


def test_ids_from_outside_do_not_make_apis_of_their_own():
    assert call_of("DELETE", f"{MESSAGES}/..%2F..%2Fbot").api == "DELETE im/v1/messages/{}"
    assert call_of("PUT", f"{CARDS}/a").api == call_of("PUT", f"{CARDS}/cards").api
