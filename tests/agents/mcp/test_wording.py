"""What a tool returned is told in words, once, and not without end."""

import pytest

from mainstay.agents.mcp.wording import cut, in_words


def text(said: str) -> dict[str, object]:
    return {"type": "text", "text": said}


@pytest.mark.parametrize(
    ("content", "structured", "told"),
    [
        ([text("one"), text("two")], None, "one\ntwo"),
        ([text("a\x1b[31mb\0c\r\n\td\x9f")], None, "a[31mbc\n\td"),
        ([], {"a": "é"}, '{"a":"é"}'),
        ([text("summary")], {"a": 1}, 'summary\n{"a":1}'),
        ([text('{"a": 1}')], {"a": 1}, '{"a": 1}'),
        ([text("5")], {"result": 5}, "5"),
        ([text("tea")], {"result": "tea"}, "tea"),
        ([text("a"), text("b")], {"result": ["a", "b"]}, "a\nb"),
        ([text("null")], {"a": 1}, 'null\n{"a":1}'),
        ([], None, "(the tool returned nothing)"),
        (
            [{"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}],
            None,
            "[image, image/png, about 6 bytes: can not be shown here]",
        ),
        (
            [{"type": "resource_link", "name": "page", "uri": "file:///p"}],
            None,
            "[link to the resource page: file:///p]",
        ),
        ([{"type": "resource", "resource": {"uri": "u", "text": "words"}}], None, "[resource u]\nwords"),
        (
            [{"type": "resource", "resource": {"uri": "u", "mimeType": "m", "blob": "eA=="}}],
            None,
            "[resource u, m: no text, can not be shown here]",
        ),
        ([{"type": "hologram"}], None, "[hologram: can not be shown here]"),
    ],
)
def test_every_kind_of_result_has_words(content: list[dict[str, object]], structured: object, told: str) -> None:
    assert in_words(content, structured) == told


def test_a_long_result_is_cut_between_characters_and_says_so() -> None:
    assert cut("é" * 10, 20) == "é" * 10
    assert cut("é" * 10, 5) == "éé\n[cut: this is the first 5B of 20 bytes]"
