"""Thoughts are not shown, wherever a stream cuts them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.agents.thinking import ThoughtFilter, without_thoughts


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("<think>hm</think>\n\nanswer", "answer"),
        ("a <think>hm</think> b", "a b"),
        ("<think>never ends", ""),
        ("1 < 2 and <thing>", "1 < 2 and <thing>"),
        ("ends with <thin", "ends with <thin"),
        ("<think></think><think>x</think>  y", "y"),
        ("no opening</think> stays", "no opening</think> stays"),
        ("", ""),
    ],
)
def test_only_the_thought_is_left_out(text: str, shown: str) -> None:
    assert without_thoughts(text) == shown


@given(st.lists(st.sampled_from(["<think>", "</think>", "<thin", "k>", "a", " ", "\n", "<", "</"])), st.data())
def test_it_does_not_matter_where_the_stream_is_cut(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    thoughts = ThoughtFilter()
    shown = "".join(thoughts.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert shown + thoughts.end() == without_thoughts(text)
