"""Whatever a server lists, the models are offered what every API takes, under names that always mean the same."""

import re
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.mutants import assert_noticed, mutant

from mainstay.agents.mcp import machine
from mainstay.agents.mcp.machine import category_of, clashes, cut_description, is_too_long, offer, wait_s
from mainstay.agents.mcp.model import ListedTool, McpSettings, Offer
from mainstay.recovery.model import TRAITS

OBJECT = {"type": "object"}
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
SETTINGS = McpSettings(url="http://h/mcp")

names = st.text("ab_-. \u00e9\U0001f375", max_size=6) | st.text("xy", min_size=50, max_size=70)
prefixes = st.text("ab_", max_size=3)


def listed(*called: str, **fields: object) -> list[ListedTool]:
    return [ListedTool(**{"name": name, "description": "", "schema": OBJECT} | fields) for name in called]


def hold(subject: types.ModuleType, prefix: str, called: list[str], also: list[str]) -> None:
    found: Offer = subject.offer(prefix, SETTINGS, listed(*called))
    assert [tool.called for tool in found.tools] == list(dict.fromkeys(called))
    for tool in found.tools:
        assert tool.name.startswith(prefix)
        assert NAME.fullmatch(tool.name) or (tool.name, prefix) == ("", "")
        if NAME.fullmatch(prefix + tool.called):
            assert tool.name == prefix + tool.called
    assert len({tool.name for tool in found.tools}) == len(found.tools)
    later = subject.offer(prefix, SETTINGS, listed(*also, *reversed(called)))
    meant = {tool.name: tool.called for tool in later.tools}
    assert all(meant[tool.name] == tool.called for tool in found.tools)


DRAWN = (prefixes, st.lists(names, max_size=6), st.lists(names, max_size=3))


@given(*DRAWN)
def test_every_name_is_one_that_apis_take_and_stays_that_of_its_tool(
    prefix: str, called: list[str], also: list[str]
) -> None:
    hold(machine, prefix, called, also)


MUTANTS = {
    "names as they are": ("name == prefix + called and len(name) <= _LONGEST_NAME", "True"),
    "too long": ("and len(name) <= _LONGEST_NAME", ""),
    "no mark": ("name == prefix + called and len", "len"),
    "mark on every name": ("name == prefix + called and len(name) <= _LONGEST_NAME", "False"),
    "mark of what is seen": ("called.encode(", "name.encode("),
    "no prefix": ("name = prefix + _UNUSABLE", "name = _UNUSABLE"),
    "cut too late": ("_LONGEST_NAME - len(mark) - 1", "_LONGEST_NAME - len(mark)"),
    "each as often as listed": (
        "for tool in wanted.values() if not problems",
        "for tool in listed if not problems",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_machine_that_is_wrong_is_noticed(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])
    assert_noticed(
        lambda prefix, called, also: hold(wrong, prefix, called, also), *DRAWN, by=(AssertionError, KeyError)
    )


def test_a_tool_has_effects_unless_the_operator_says_otherwise() -> None:
    tools = [*listed("a", "b"), *listed("c", says_read_only=True)]

    def effects(**fields: object) -> list[bool]:
        return [tool.effects for tool in offer("", McpSettings(**fields), tools).tools]

    assert effects() == [True, True, True]
    assert effects(read_only=("b",)) == [True, False, True]
    assert effects(trust_annotations=True) == [True, True, False]


def test_only_the_tools_that_are_wanted_are_offered_and_misspelt_ones_are_told() -> None:
    found = offer("", McpSettings(tools=("a", "x"), read_only=("a", "y")), listed("a", "b"))
    assert [tool.name for tool in found.tools] == ["a"]
    assert found.notes == ("it has no tool 'x', which is configured", "it has no tool 'y', which is configured")


def test_what_would_make_a_provider_refuse_every_request_is_left_out() -> None:
    tools = [
        *listed("good"),
        *listed("flawed", flaw="is wrong"),
        *listed("array", schema={"type": "array"}),
    ]
    found = offer("", SETTINGS, tools)
    assert [tool.name for tool in found.tools] == ["good"]
    assert [note.partition(":")[0] for note in found.notes] == [
        "the tool 'flawed' is left out",
        "the tool 'array' is left out",
    ]


def test_a_list_without_end_and_a_description_without_end_are_cut() -> None:
    found = offer("", SETTINGS, listed(*(f"t{number}" for number in range(500))))
    assert len(found.tools) == 100
    assert "it lists 500 tools, and 100 are offered" in found.notes[0]
    assert len(cut_description("x" * 5000)) == 1024


@pytest.mark.parametrize(
    ("name", "schema", "told"),
    [
        ("price", "x" * 16_384, ""),
        ("price", "x" * 16_385, "the description of its arguments is too long"),
        ("x" * 256, "{}", ""),
        ("x" * 257, "{}", "its name is too long"),
    ],
)
def test_a_tool_that_is_too_large_to_be_kept_has_a_reason(name: str, schema: str, told: str) -> None:
    assert is_too_long(name, schema) == told


def test_schemas_are_passed_on_as_they_are() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "string"}}}
    assert offer("", SETTINGS, listed("a", schema=schema)).tools[0].schema is schema


@pytest.mark.parametrize(
    ("prefixes", "own", "clash"),
    [
        ({"a": "a_", "b": "b_"}, ["send_mail", "hand_over_to_okr"], ""),
        ({"a": "x", "b": "x"}, [], "tools of a and b could have the same name"),
        ({"a": "shop_", "b": "shop_two_"}, [], "tools of a and b could have the same name"),
        ({"a": "", "b": "b_"}, [], "tools of a and b could have the same name"),
        ({"send": "send_"}, ["send_mail"], "a tool of send could have the name of the tool send_mail"),
        ({"a": ""}, [], ""),
    ],
)
def test_names_that_could_collide_are_a_mistake_before_the_start(
    prefixes: dict[str, str], own: list[str], clash: str
) -> None:
    found = list(clashes(prefixes, own))
    assert bool(found) == bool(clash)
    assert all(problem.startswith(clash) for problem in found)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_wait_before_a_new_connection_grows_to_a_minute_and_is_never_none(failures: int, chance: float) -> None:
    assert 0.5 <= wait_s(failures, chance) <= 60
    assert wait_s(failures, chance) <= wait_s(failures + 1, chance)
    assert wait_s(20, 1.0) == 60


@pytest.mark.parametrize(
    ("code", "counts"),
    [(-32000, True), (-32001, True), (-32603, True), (-32700, True), (-32602, False), (-32601, False), (0, False)],
)
def test_only_what_says_something_about_the_server_counts_for_its_breaker(code: int, counts: bool) -> None:
    assert TRAITS[category_of(code)].counts is counts
