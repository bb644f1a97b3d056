import pytest

from mainstay.sandbox.provider.schema import fill, mentions


@pytest.mark.parametrize("text", ["my OKR", "okrs please", "我的OKR进展", "(okr)"])
def test_a_word_is_found_in_any_case_plural_and_next_to_chinese(text: str) -> None:
    assert mentions(text, "okr")


@pytest.mark.parametrize(
    ("text", "word"), [("bookr", "okr"), ("okrest", "okr"), ("okr_2", "okr"), ("anything", "")]
)
def test_a_part_of_a_word_is_not_the_word(text: str, word: str) -> None:
    assert not mentions(text, word)


def test_only_what_is_required_is_filled_from_the_text() -> None:
    schema = {
        "type": "object",
        "properties": {
            "question": {"type": "string", "maxLength": 8},
            "count": {"type": "integer"},
            "city": {"enum": ["Paris", "Rome"]},
            "unit": {"type": "string", "default": "C"},
            "deep": {"$ref": "#/$defs/Deep"},
            "maybe": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            "optional": {"type": "string"},
        },
        "required": ["question", "count", "city", "unit", "deep", "maybe"],
        "$defs": {
            "Deep": {"type": "object", "properties": {"tags": {"type": "array", "items": {"type": "null"}}},
                     "required": ["tags"]},
        },
    }  # fmt: skip
    assert fill(schema, "12 days in Rome") == {
        "question": "12 days ",
        "count": 12,
        "city": "Rome",
        "unit": "C",
        "deep": {"tags": []},
        "maybe": False,
    }


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": ["number", "null"], "maximum": 0}, 0),
        ({"type": "array", "items": {"const": 7}, "minItems": 2}, [7, 7]),
        ({}, {}),
        ({"$ref": "#/$defs/missing"}, None),
    ],
)
def test_without_a_hint_in_the_text_the_schema_decides(schema: dict[str, object], value: object) -> None:
    assert fill(schema, "no number") == value


@pytest.mark.parametrize("ref", ["#", "#/$defs/Node"])
def test_a_schema_that_holds_itself_comes_to_an_end(ref: str) -> None:
    node = {"type": "object", "properties": {"next": {"$ref": ref}}, "required": ["next"]}
    filled = fill(node | {"$defs": {"Node": node}}, "")
    assert isinstance(filled, dict)
    assert isinstance(filled["next"], dict)
