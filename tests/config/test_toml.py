"""Every key is found on its line."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.config.toml import _locate, read_toml

TRICKY = '''\
# a comment with [brackets] and "quotes"
title = "a # b [c"

[a]  # [not.this]
one = 1
two.three = 3
"quoted # key" = 4
text = """
[fake]
key = 1
"""
raw = \'\'\'
fake = "]"
\'\'\'
list = [
  1,  # ]
  "]",
]
after = { x = 1, y = [2] }

[a.b."c.d"]
deep = true
[[many]]
n = 1
[[many]]
m = 2
'''


def test_tricky_documents_are_located(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text(TRICKY)
    lines = read_toml(tmp_path / "x.toml").lines
    expected = {
        ("title",): 2,
        ("a",): 4,
        ("a", "one"): 5,
        ("a", "two", "three"): 6,
        ("a", "quoted # key"): 7,
        ("a", "text"): 8,
        ("a", "raw"): 12,
        ("a", "list"): 15,
        ("a", "after"): 19,
        ("a", "after", "y"): 19,
        ("a", "b", "c.d"): 21,
        ("a", "b", "c.d", "deep"): 22,
        ("many",): 23,
        ("many", "n"): 24,
        ("many", "m"): 26,
    }
    assert {path: lines.get(path) for path in expected} == expected


def test_a_key_that_is_not_there_is_placed_at_the_table_around_it(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("\n[a.b]\nc = 1\n")
    document = read_toml(tmp_path / "x.toml")
    assert document.place("a", "b", "missing") == "x.toml:2"
    assert document.place("other") == "x.toml"


_KEYS = st.text("abc_-", min_size=1, max_size=4)
_STRINGS = ['"#"', "'='", '"\\""', '"""\n[x]\n"""', "'''\na = 1\n'''"]
_VALUES = st.sampled_from(["1", "-2.5", "true", "1979-05-27", "[\n1, # ]\n]", '{ k = "}" }', *_STRINGS])


@given(st.dictionaries(_KEYS, st.dictionaries(_KEYS, _VALUES, max_size=4), max_size=4))
@settings(max_examples=150, deadline=None)
def test_the_line_of_each_key_begins_with_the_key(tables: dict[str, dict[str, str]]) -> None:
    text = "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n# note\n" for key, value in table.items())
        for name, table in tables.items()
    )
    assert set(tomllib.loads(text)) == set(tables)
    found, written = _locate(text), text.splitlines()
    for name, table in tables.items():
        assert written[found[name,] - 1] == f"[{name}]"
        for key in table:
            assert written[found[name, key] - 1].startswith(f"{key} = ")


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a=1"])
def test_small_documents_are_located(text: str) -> None:
    assert _locate(text) == ({("a",): 1} if text == "a=1" else {})
