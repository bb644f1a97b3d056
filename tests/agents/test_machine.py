"""Routing by rule, as a table, and who goes on after a failure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.agents.machine import may_answer_instead, route, usable_models
from mainstay.agents.model import MatchRule, parse_match
from mainstay.errors import Category

TEAM = {
    "okr": parse_match(
        ["OKR", "目标", "key result", {"phrase": "复盘", "weight": 0.3}, {"phrase": "分析", "weight": 0.2}]
    ),
    "pnl": parse_match(["EBIT", "AE", "DA", "利润", {"phrase": "分析", "weight": 0.2}]),
    "docs": parse_match(["文档", {"phrase": "doc", "weight": 0.4}, {"phrase": "check", "weight": 0.2}]),
}


@pytest.mark.parametrize(
    ("text", "to"),
    [
        ("review my OKR please", "okr"),
        ("my okr, please", "okr"),
        ("帮我看看OKR怎么写", "okr"),
        ("帮我看看ＯＫＲ怎么写", "okr"),
        ("我的目标是什么", "okr"),
        ("which key   result is late?", "okr"),
        # acronyms in any case, at the edges of words only
        ("what was our EBIT in May?", "pnl"),
        ("what was our ebit in May?", "pnl"),
        ("看一下AE的数据", "pnl"),
        ("DA?", "pnl"),
        ("Michael said the data is there", None),
        ("da_vinci and ae2 are names", None),
        ("brokraw", None),
        ("çokrü", None),
        # words that everybody uses decide nothing alone
        ("帮我分析一下这个图表", None),
        ("please check this", None),
        ("复盘一下", None),
        ("check the doc", "docs"),
        # two specialists that match alike are for the model to tell apart
        ("OKR 和 EBIT", None),
        ("OKR 目标 和 EBIT", "okr"),
        ("hello", None),
        ("", None),
    ],
)
def test_the_words_decide(text: str, to: str | None) -> None:
    assert route(text, TEAM, 0.5).to == to


def test_a_decision_explains_itself() -> None:
    found = route("OKR 复盘 and profit 利润", TEAM, 0.5)
    assert (found.to, found.score, found.reason) == ("okr", 0.72, "OKR, 复盘")
    assert found.alternatives == (("pnl", 0.6),)


def test_what_does_not_decide_is_still_told() -> None:
    found = route("分析", TEAM, 0.5)
    assert (found.to, found.score) == (None, 0.2)
    assert found.alternatives == (("okr", 0.2), ("pnl", 0.2))


def test_a_word_that_is_said_twice_counts_once() -> None:
    assert route("check check check", TEAM, 0.5).score == 0.2


@given(st.text(max_size=60))
def test_any_text_is_routed_the_same_way_twice(text: str) -> None:
    first = route(text, TEAM, 0.5)
    assert first == route(text, TEAM, 0.5)
    assert 0 <= first.score <= 1


@given(st.text(min_size=1, max_size=12).filter(lambda text: bool(text.strip())), st.text(max_size=20))
def test_any_phrase_can_be_a_rule(phrase: str, text: str) -> None:
    route(text, {"a": [MatchRule(phrase=phrase)]}, 0.5)
    assert route(phrase, {"a": [MatchRule(phrase=phrase)]}, 0.5).to == "a"


@pytest.mark.parametrize(
    "value", ["OKR", 5, [""], [5], [{"weight": 1}], [{"phrase": "a", "weight": 0}], [{"phrase": "a", "weight": 2}]]
)
def test_what_is_no_rule_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"rule|list|weight"):
        parse_match(value)


def test_the_manager_does_not_ask_a_model_that_has_just_failed() -> None:
    failed = {"a": Category.RATE_LIMIT, "b": Category.MALFORMED}
    assert usable_models(["a", "b", "c"], failed) == ("b", "c")


@pytest.mark.parametrize(
    ("category", "left", "effects", "may"),
    [
        (Category.RATE_LIMIT, ["b"], False, True),
        (Category.RATE_LIMIT, [], False, False),
        (Category.MALFORMED, ["b"], True, False),
        (Category.CONTENT_FILTER, ["b"], False, False),
    ],
)
def test_the_manager_takes_over_only_when_that_can_help_and_repeats_nothing(
    category: Category, left: list[str], effects: bool, may: bool
) -> None:
    assert may_answer_instead(category, models_left=left, had_effects=effects) is may
