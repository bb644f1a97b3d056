"""A card entity obeys sequence, streaming mode and its limits."""

import json
from typing import Any

import pytest
from tests.sandbox.feishu.conftest import World, button, card_body, card_with, streaming_card


def create(world: World, content: object) -> int:
    return world.code("POST", "/cardkit/v1/cards", card_body(content))


def replace(world: World, card: str, content: object, sequence: int) -> int:
    return world.code("PUT", f"/cardkit/v1/cards/{card}", {"card": card_body(content), "sequence": sequence})


def test_sequence_must_grow_across_all_operations_and_may_leave_gaps(world: World) -> None:
    card = world.card()
    assert world.stream(card, "a", 5) == 0
    assert world.stream(card, "ab", 5) == 300317
    assert world.streaming(card, 4, on=False) == 300317
    assert world.streaming(card, 65536, on=True) == 0
    assert replace(world, card, streaming_card("x"), 65536) == 300317
    assert replace(world, card, streaming_card("x"), 2**31 - 1) == 0
    assert world.stream(card, "b", 2**31) == 10002


@pytest.mark.parametrize("sequence", [0, -1, "1", 1.5, None, True])
def test_a_sequence_is_a_positive_integer(world: World, sequence: object) -> None:
    assert world.stream(world.card(), "a", sequence) == 10002


def test_a_refused_operation_uses_no_sequence_up(world: World) -> None:
    card = world.card()
    assert world.stream(card, "a", 7, element="nowhere") == 300313
    assert world.stream(card, "a", 7) == 0


def test_a_uuid_is_taken_once(world: World) -> None:
    card = world.card()
    assert world.stream(card, "a", 1, uuid="u") == 0
    assert world.stream(card, "ab", 2, uuid="u") == 200770


def test_a_closed_card_takes_no_stream_until_it_is_opened_again(world: World) -> None:
    card = world.card()
    assert world.streaming(card, 1, on=False) == 0
    assert world.stream(card, "a", 2) == 300309
    assert world.streaming(card, 3, on=True) == 0
    assert world.stream(card, "a", 4) == 0


def test_a_card_can_be_replaced_whether_or_not_it_streams(world: World) -> None:
    card = world.card()
    assert replace(world, card, streaming_card("x", streaming=False), 1) == 0
    assert world.stream(card, "a", 2) == 300309
    assert replace(world, card, streaming_card("y", streaming=False), 3) == 0


def test_streaming_ends_by_itself_after_ten_minutes_and_says_so_once(world: World) -> None:
    card = world.card()
    world.wait(599)
    assert world.stream(card, "a", 1) == 0
    world.wait(1)
    assert world.stream(card, "ab", 2) == 200850
    assert world.stream(card, "ab", 3) == 300309
    assert world.streaming(card, 4, on=True) == 0
    world.wait(599)
    assert world.stream(card, "abc", 5) == 0


def test_a_card_that_is_being_pressed_can_not_be_changed(world: World) -> None:
    card = world.card()
    with world.tenant.cards.interaction(card):
        assert world.stream(card, "a", 1) == 200810
        assert world.streaming(card, 1, on=False) == 200810
        assert replace(world, card, streaming_card(), 1) == 200810
    assert world.stream(card, "a", 1) == 0


def test_only_texts_are_streamed_to(world: World) -> None:
    content = streaming_card()
    content["body"]["elements"].append({"tag": "hr", "element_id": "line"})
    assert world.stream(world.card(content), "a", 1, element="line") == 300310


def test_a_card_that_streams_has_nothing_to_press(world: World) -> None:
    still = card_with(button())
    streaming = still | {"config": {"streaming_mode": True}}
    assert create(world, streaming) == 99992402
    card = world.card()
    assert replace(world, card, streaming, 1) == 99992402
    assert replace(world, card, still, 2) == 0
    assert world.streaming(card, 3, on=True) == 99992402
    assert not world.tenant.cards.cards[card].streaming


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "loud"},
        {"text": "More"},
        {"text": {"tag": "plain_text", "content": "x" * 101}},
        {"text": {"tag": "plain_text", "content": 5}},
        {"behaviors": {}},
        {"behaviors": ["callback"]},
        {"behaviors": [{"type": "explode"}]},
        {"behaviors": [{"type": "callback"}]},
        {"behaviors": [{"type": "callback", "value": 5}]},
        {"value": 5},
    ],
    ids=str,
)
def test_a_button_that_is_none_is_refused(world: World, wrong: dict[str, Any]) -> None:
    assert create(world, card_with(button(**wrong))) == 200220


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"type": "primary_filled"},
        {"behaviors": [{"type": "open_url", "default_url": "https://example.com"}]},
        {"behaviors": [{"type": "callback", "value": {"tag": "action"}}]},
        {"behaviors": [{"type": "callback", "value": "text"}]},
        {"behaviors": [], "value": {"a": 1}},
    ],
    ids=str,
)
def test_a_button_as_it_is_documented_is_taken(world: World, right: dict[str, Any]) -> None:
    assert create(world, card_with(button(**right))) == 0


@pytest.mark.parametrize("tag", ["action", "note"])
def test_what_schema_2_has_dropped_is_refused(world: World, tag: str) -> None:
    card = card_with({"tag": tag, "actions": [], "elements": []})
    assert create(world, card) == 200861
    reply = world.reply(world.said(), msg_type="interactive", content=json.dumps(card))
    assert reply.code == 230099
    assert "200861" in str(reply.body["msg"])


def test_a_card_lives_for_fourteen_days(world: World) -> None:
    card = world.card()
    world.wait(14 * 86400 + 1)
    assert world.stream(card, "a", 1) == 200750
    assert world.stream("7000000000000000000", "a", 1) == 200740


def test_what_a_card_must_be_is_checked_when_it_is_created(world: World) -> None:
    assert create(world, {**streaming_card(), "schema": "1.0"}) == 300303
    assert create(world, {}) == 300307
    assert create(world, []) == 200220
    assert create(world, {"schema": "2.0"}) == 200220
    assert create(world, {**streaming_card(), "config": {"update_multi": False}}) == 300302
    assert world.code("POST", "/cardkit/v1/cards", {"type": "card_json", "data": "{"}) == 200220
    assert world.code("POST", "/cardkit/v1/cards", {"type": "poem", "data": "{}"}) == 10002


def test_element_ids_are_unique_and_short(world: World) -> None:
    def with_ids(*ids: object) -> dict[str, Any]:
        elements = [{"tag": "markdown", "content": "x", "element_id": each} for each in ids]
        return {"schema": "2.0", "body": {"elements": elements}}

    assert create(world, with_ids("a", "b_1")) == 0
    assert create(world, with_ids("a", "a")) == 300301
    for wrong in ("x" * 21, "1a", "a-b", "", 5):
        assert create(world, with_ids(wrong)) == 10002


def test_a_card_has_200_elements_at_most(world: World) -> None:
    def of(count: int) -> dict[str, Any]:
        return {"schema": "2.0", "body": {"elements": [{"tag": "hr"}] * count}}

    assert (create(world, of(200)), create(world, of(201))) == (0, 300305)


def test_a_card_is_30_kilobytes_at_most_also_after_a_stream(world: World) -> None:
    assert create(world, streaming_card("x" * 31_000)) == 200860
    card = world.card()
    assert world.stream(card, "x" * 31_000, 1) == 200860
    assert "x" * 31_000 not in str(world.tenant.cards.cards[card].content)
    assert world.stream(card, "x" * 100_001, 1) == 10002
    assert world.stream(card, "short", 1) == 0
    assert world.tenant.cards.cards[card].history[-1][2] == "short"


def test_a_stream_with_five_tables_is_refused_and_shows_nothing(world: World) -> None:
    card = world.card()
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n\n"
    assert world.stream(card, table * 4, 1) == 0
    assert world.stream(card, table * 5, 2) == 230099
    assert table * 5 not in str(world.tenant.cards.cards[card].content)
    assert world.streaming(card, 2, on=True) == 0
    assert world.stream(card, "```\n" + table * 5 + "```", 3) == 0


def test_a_card_has_five_table_components_at_most(world: World) -> None:
    def of(count: int) -> dict[str, Any]:
        return {"schema": "2.0", "body": {"elements": [{"tag": "table", "columns": [], "rows": []}] * count}}

    assert (create(world, of(5)), create(world, of(6))) == (0, 230099)


def test_settings_keep_what_they_do_not_name(world: World) -> None:
    card = world.card()
    settings = json.dumps({"config": {"summary": {"content": "short"}}})
    assert world.code("PATCH", f"/cardkit/v1/cards/{card}/settings", {"settings": settings, "sequence": 1}) == 0
    assert world.stream(card, "still open", 2) == 0


def test_histories_together_stay_within_their_bound(world: World) -> None:
    first, second = world.card(), world.card()
    sequence = 0
    for card in (first, second):
        for number in range(900):
            sequence += 1
            assert world.stream(card, f"{number:04}" + "x" * 25_000, sequence) == 0
            world.wait(0.11)
    texts = [len(world.tenant.cards.cards[each].history) for each in (first, second)]
    assert texts == [2, 901]


def test_a_card_in_the_answer_to_a_press_takes_the_place_of_the_one_that_was_pressed(world: World) -> None:
    said = world.said()
    card = world.card(card_with(button()))
    shown = str(world.show(said, card).body["data"]["message_id"])
    world.tenant.messages.answered(shown, {"card": {"type": "raw", "data": card_with(text="Pressed")}}, world.now)
    assert world.tenant.record.snapshot(said, world.now).text == "Pressed"
    assert world.tenant.record.snapshot(said, world.now).replies[0].actions == ()
    raw = {"config": {"update_multi": True}, "elements": [{"tag": "markdown", "content": "one"}]}
    body = {"msg_type": "interactive", "content": json.dumps(raw)}
    reply = world.call("POST", f"/im/v1/messages/{said}/reply", body)
    raw["elements"] = [{"tag": "markdown", "content": "two"}]
    plain = str(reply.body["data"]["message_id"])
    world.tenant.messages.answered(plain, {"card": {"type": "raw", "data": raw}}, world.now)
    assert world.tenant.record.snapshot(said, world.now).text == "two"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        None,
        {"toast": {"content": "ok"}},
        {"card": {"type": "raw"}},
        {"card": {"type": "template", "data": card_with(text="Pressed")}},
        {"card": {"type": "raw", "data": {"schema": "1.0"}}},
    ],
)
def test_an_answer_to_a_press_without_a_card_that_is_one_changes_nothing(world: World, answer: object) -> None:
    said = world.said()
    shown = str(world.show(said, world.card(card_with(button()))).body["data"]["message_id"])
    world.tenant.messages.answered(shown, answer, world.now)
    assert world.tenant.record.snapshot(said, world.now).text == "The answer"


def test_the_answer_to_a_press_can_not_change_a_card_that_streams(world: World) -> None:
    said = world.said()
    shown = str(world.show(said, world.card()).body["data"]["message_id"])
    world.tenant.messages.answered(shown, {"card": {"type": "raw", "data": card_with(text="Pressed")}}, world.now)
    assert world.tenant.record.snapshot(said, world.now).text == "Thinking…"
