"""Parts of a card can be added, changed and taken away, one by one or together; what is refused changes nothing."""

import json
from typing import Any

import pytest
from tests.sandbox.feishu.conftest import World, button, card_with

NOTE = {"tag": "markdown", "element_id": "note", "content": "a note"}
BOX = {
    "tag": "column_set",
    "element_id": "box",
    "columns": [{"tag": "column", "element_id": "col", "elements": []}],
}


def card_of(world: World) -> tuple[str, str]:
    card = world.card(card_with(BOX))
    return card, f"/cardkit/v1/cards/{card}"


def ids(world: World, card: str) -> list[str]:
    body = world.tenant.cards.cards[card].content["body"]
    return [each["element_id"] for each in body["elements"]]


@pytest.mark.parametrize(
    ("how", "target", "expected"),
    [
        ("insert_before", "answer", ["note", "answer", "status", "box"]),
        ("insert_after", "answer", ["answer", "note", "status", "box"]),
        ("append", "", ["answer", "status", "box", "note"]),
        ("insert_after", "", ["answer", "status", "box", "note"]),
    ],
)
def test_an_element_is_added_where_it_is_wanted(world: World, how: str, target: str, expected: list[str]) -> None:
    card, path = card_of(world)
    body = {"type": how, "target_element_id": target, "elements": json.dumps([NOTE]), "sequence": 1}
    assert world.code("POST", f"{path}/elements", body) == 0
    assert ids(world, card) == expected


def test_an_element_is_changed_replaced_and_taken_away_also_inside_of_another(world: World) -> None:
    card, path = card_of(world)
    inside = {"type": "append", "target_element_id": "col", "elements": json.dumps([NOTE]), "sequence": 1}
    assert world.code("POST", f"{path}/elements", inside) == 0
    changed = {"partial_element": json.dumps({"content": "changed"}), "sequence": 2}
    assert world.code("PATCH", f"{path}/elements/note", changed) == 0
    content = world.tenant.cards.cards[card].content
    assert content["body"]["elements"][2]["columns"][0]["elements"] == [NOTE | {"content": "changed"}]
    assert world.code("PUT", f"{path}/elements/note", {"element": json.dumps(button()), "sequence": 3}) == 0
    assert world.code("DELETE", f"{path}/elements/more", {"sequence": 4}) == 0
    assert world.code("DELETE", f"{path}/elements/box", {"sequence": 5}) == 0
    assert ids(world, card) == ["answer", "status"]


@pytest.mark.parametrize(
    ("method", "tail", "body", "code"),
    [
        ("POST", "", {"type": "beside", "elements": json.dumps([NOTE])}, 300315),
        ("POST", "", {"type": "append", "elements": "[]"}, 300315),
        ("POST", "", {"type": "append", "elements": "["}, 10002),
        ("POST", "", {"type": "append", "target_element_id": "answer", "elements": json.dumps([NOTE])}, 300315),
        ("POST", "", {"type": "append", "elements": json.dumps([NOTE | {"element_id": "answer"}])}, 300301),
        ("POST", "", {"type": "append", "elements": json.dumps([NOTE | {"content": "x" * 31_000}])}, 200860),
        ("PATCH", "/nowhere", {"partial_element": "{}"}, 300313),
        ("PATCH", "/answer", {"partial_element": '{"tag": "button"}'}, 300312),
        ("PUT", "/nowhere", {"element": json.dumps(NOTE)}, 300121),
        ("PUT", "/answer", {"element": "5"}, 300121),
        ("DELETE", "/nowhere", {}, 300314),
    ],
    ids=str,
)
def test_what_can_not_be_done_is_refused_and_changes_nothing(
    world: World, method: str, tail: str, body: dict[str, Any], code: int
) -> None:
    card, path = card_of(world)
    before = json.dumps(world.tenant.cards.cards[card].content)
    assert world.code(method, f"{path}/elements{tail}", body | {"sequence": 1}) == code
    assert json.dumps(world.tenant.cards.cards[card].content) == before
    assert world.code("DELETE", f"{path}/elements/status", {"sequence": 1}) == 0, "the sequence is still free"


def action(name: str, **params: object) -> dict[str, object]:
    return {"action": name, "params": params}


def batch(world: World, path: str, sequence: int, *actions: object) -> int:
    body = {"actions": json.dumps(actions), "sequence": sequence, "uuid": f"u{sequence}"}
    return world.code("POST", f"{path}/batch_update", body)


def test_a_batch_is_done_as_a_whole_or_not_at_all(world: World) -> None:
    card, path = card_of(world)
    opened = action("partial_update_setting", settings={"config": {"streaming_mode": True}})
    added = action("add_elements", type="append", elements=[NOTE])
    gone = action("delete_elements", element_ids=["status", "box"])
    assert batch(world, path, 1, opened, added, action("delete_elements", element_ids=["nowhere"])) == 300314
    assert (ids(world, card), world.tenant.cards.cards[card].streaming) == (["answer", "status", "box"], False)
    assert batch(world, path, 1, opened, added, gone) == 0
    assert (ids(world, card), world.tenant.cards.cards[card].streaming) == (["answer", "note"], True)
    assert world.stream(card, "more", 2) == 0
    assert batch(world, path, 2, added) == 300317
    assert batch(world, path, 3, action("add_elements", type="append", elements=[button()])) == 99992402
    assert batch(world, path, 3, action("partial_update_setting", settings=5)) == 300122


@pytest.mark.parametrize("actions", ["", "[]", "{}", "[5]", '[{"action": "explode", "params": {}}]'])
def test_what_is_no_batch_is_refused(world: World, actions: str) -> None:
    _, path = card_of(world)
    assert world.code("POST", f"{path}/batch_update", {"actions": actions, "sequence": 1}) == 10002
