"""By the token of a press its card can be changed, as the platform's documentation says."""

import json

import pytest
from tests.sandbox.feishu.conftest import World

PATH, TOKEN = "/interactive/v1/card/update", "c-1"


def card(text: str) -> dict[str, object]:
    body = {"elements": [{"tag": "markdown", "element_id": "answer", "content": text}]}
    return {"schema": "2.0", "config": {"update_multi": True}, "body": body}


def pressed(world: World, *, answered: bool = True, entity: bool = True) -> str:
    """The bot has answered in a card, which was pressed."""
    said = world.tenant.say("hi", world.now)
    content = json.dumps(card("before"))
    if entity:
        made = world.call("POST", "/cardkit/v1/cards", {"type": "card_json", "data": content}).body["data"]
        content = json.dumps({"type": "card", "data": made})
    sent = world.call(
        "POST", f"/im/v1/messages/{said.message_id}/reply", {"msg_type": "interactive", "content": content}
    )
    message_id = str(sent.body["data"]["message_id"])
    world.tenant.delayed.pressed(TOKEN, message_id, world.now)
    if answered:
        world.tenant.delayed.answered(TOKEN)
    return message_id


def update(world: World, token: object = TOKEN, given: object = None) -> int:
    return world.call("POST", PATH, {"token": token, "card": card("after") if given is None else given}).code


def shown(world: World, message_id: str) -> str:
    return world.tenant.record.reply(message_id, world.now).text


@pytest.mark.parametrize("entity", [True, False])
def test_it_is_another_card_twice_within_half_an_hour(world: World, entity: bool) -> None:
    message_id = pressed(world, entity=entity)
    assert (update(world), shown(world, message_id)) == (0, "after")
    assert update(world, given=card("later")) == 0
    assert (update(world, given=card("too often")), shown(world, message_id)) == (300040, "later")
    world.tenant.delayed.pressed("c-2", message_id, world.now)
    world.wait(1801)
    assert update(world, "c-2") == 300030


def test_before_the_press_is_answered_it_is_undone_by_the_answer(world: World) -> None:
    message_id = pressed(world, answered=False)
    assert (update(world), shown(world, message_id)) == (0, "before")


@pytest.mark.parametrize(
    ("token", "given", "code"),
    [
        ("x", None, 300020),
        (7, None, 300020),
        ("c-another", None, 300030),
        (TOKEN, [], 10002),
        (TOKEN, {"schema": "2.0"}, 11311),
        (TOKEN, {"elements": []}, 300090),
        (TOKEN, {"elements": [], "open_ids": [7]}, 200320),
    ],
)
def test_what_the_platform_refuses_uses_nothing_up(world: World, token: object, given: object, code: int) -> None:
    message_id = pressed(world)
    assert (update(world, token, given), shown(world, message_id)) == (code, "before")
    assert (update(world), update(world)) == (0, 0)


def test_what_was_taken_back_is_not_changed(world: World) -> None:
    message_id = pressed(world)
    world.call("DELETE", f"/im/v1/messages/{message_id}")
    assert update(world) == 200000
