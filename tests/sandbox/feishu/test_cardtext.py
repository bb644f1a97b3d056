"""What a card says is read out of it, however odd it is."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sandbox.feishu.conftest import World, card_body

from mainstay.sandbox.feishu.cardtext import check_tables, elements, summary, template, words
from mainstay.sandbox.feishu.model import Refusal

NAMES = ["tag", "text", "content", "elements", "body", "config", "header", "schema", "element_id", "card_id"]
MORE = ["type", "data", "update_multi", "streaming_mode", "summary", "template", "zh_cn"]
WORDS = ["markdown", "plain_text", "2.0", "card", "button", "table"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, *MORE]), inner | st.sampled_from(WORDS), max_size=5)
    ),
    max_leaves=15,
)
cards = st.dictionaries(st.sampled_from(["schema", "body", "elements", "config", "header", "content"]), json_values)


def test_text_within_columns_and_panels_is_found_in_reading_order() -> None:
    inner = [{"tag": "markdown", "content": "two"}, {"tag": "div", "text": {"tag": "lark_md", "content": "three"}}]
    card = {
        "schema": "2.0",
        "header": {"title": {"tag": "plain_text", "content": "title"}, "template": "red"},
        "config": {"summary": {"content": "short"}},
        "body": {
            "elements": [
                {"tag": "markdown", "content": "one"},
                {"tag": "column_set", "columns": [{"tag": "column", "element_id": "col", "elements": inner}]},
            ]
        },
    }
    assert words(dict(card))[0] == "one\ntwo\nthree"
    assert [each.element_id for each in elements(dict(card))] == ["", "col", "col"]
    assert (template(dict(card)), summary(dict(card))) == ("red", "short")


def test_a_card_of_the_older_schema_says_what_its_elements_say() -> None:
    assert words({"elements": [{"tag": "div", "text": {"tag": "lark_md", "content": "one"}}]})[0] == "one"


def test_only_a_rule_under_a_row_makes_a_table() -> None:
    def refused(markdown: str) -> bool:
        try:
            check_tables({"elements": [{"tag": "markdown", "content": markdown}]})
        except Refusal:
            return True
        return False

    assert refused("a | b\n:-- | --:\n1 | 2\n\n" * 5)
    assert not refused("text\n|---|---|\n\n" * 5)
    assert not refused("text\n---\n\n" * 9)


@settings(deadline=None)
@given(cards)
def test_no_card_is_too_odd_to_be_refused_or_read(card: dict[str, object]) -> None:
    world = World()
    said = world.said()
    assert isinstance(world.code("POST", "/cardkit/v1/cards", card_body(card)), int)
    assert isinstance(world.code("POST", "/cardkit/v1/cards", card_body({**card, "schema": "2.0"})), int)
    assert isinstance(world.reply(said, msg_type="interactive", content=json.dumps(card)).code, int)
    world.tenant.record.snapshot(said, world.now, history=True)


@settings(deadline=None)
@given(st.sampled_from(["text", "post", "image"]), json_values)
def test_no_message_is_too_odd_to_be_refused_or_read(kind: str, content: object) -> None:
    world = World()
    said = world.said()
    assert isinstance(world.reply(said, msg_type=kind, content=json.dumps(content)).code, int)
    world.tenant.record.snapshot(said, world.now, history=True)
