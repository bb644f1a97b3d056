"""A user's rules are read as they are written, and a wrong one is told what it should be."""

import pytest

from mainstay.errors import Category
from mainstay.recovery.model import TRAITS, Rule, Traits, parse_rules


def test_rules_are_read_as_they_are_written() -> None:
    written = [
        {"code": "tpm_exceeded", "category": "rate_limit"},
        {
            "status": 418,
            "text": "teapot",
            "category": "overloaded",
            "fallback": True,
            "retries": 0,
            "counts": False,
        },
        {"class": "MySdkBusy", "category": "overloaded"},
        {"code": 99991400, "category": "rate_limit"},
    ]
    rules = parse_rules(written)
    assert rules == (
        Rule(category=Category.RATE_LIMIT, code="tpm_exceeded"),
        Rule(
            category=Category.OVERLOADED,
            status=418,
            text="teapot",
            traits=Traits(fallback=True, retries=0, counts=False),
        ),
        Rule(category=Category.OVERLOADED, class_name="MySdkBusy"),
        Rule(category=Category.RATE_LIMIT, code="99991400"),
    )
    assert parse_rules(rules) == rules
    assert parse_rules([]) == ()


def test_a_trait_that_is_not_given_is_that_of_the_category() -> None:
    (rule,) = parse_rules([{"status": 418, "category": "overloaded", "retries": 5}])
    usual = TRAITS[Category.OVERLOADED]
    assert rule.traits == Traits(fallback=usual.fallback, retries=5, counts=usual.counts)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"status": 418}, "rules are a list like"),
        ("418", "rules are a list like"),
        (["418"], "rule 1: '418' is no table like"),
        ([{"status": 418, "category": "timeout"}, {"category": "auth"}], "rule 2: a rule without a condition"),
        ([{"category": "auth", "fallback": True}], "rule 1: a rule without a condition"),
        ([{"statuz": 418, "category": "auth"}], "rule 1: 'statuz' is unknown; did you mean status?"),
        ([{7: 418, "category": "auth"}], "rule 1: 7 is unknown; known: "),
        ([{"status": 418, "category": "rate"}], "category = 'rate' is unknown; did you mean rate_limit?"),
        ([{"status": 418}], "category = '' is unknown; known: auth, "),
        ([{"status": 418, "category": ["auth"]}], "category = \\['auth'\\] is unknown"),
        ([{"status": 42, "category": "auth"}], "status = 42 is no HTTP status: write 100 to 599"),
        ([{"status": 600, "category": "auth"}], "status = 600 is no HTTP status: write 100 to 599"),
        ([{"status": "418", "category": "auth"}], "status = '418' does not fit: write a whole number"),
        ([{"status": True, "category": "auth"}], "status = True does not fit: write a whole number"),
        ([{"text": "(", "category": "auth"}], "text = '\\(' is no regular expression: "),
        ([{"text": "", "category": "auth"}], "text = '' does not fit: write a text in quotes"),
        ([{"class": 7, "category": "auth"}], "class = 7 does not fit: write a text in quotes"),
        ([{"code": 1.5, "category": "auth"}], "code = 1.5 does not fit: write a text in quotes"),
        ([{"status": 418, "category": "auth", "fallback": 1}], "fallback = 1 does not fit: write true or false"),
        ([{"status": 418, "category": "auth", "retries": -1}], "retries = -1 does not fit: write a whole number"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_told_which_one_it_is_and_what_is_allowed(written: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_rules(written)


def test_a_rule_made_by_a_program_is_checked_too() -> None:
    with pytest.raises(ValueError, match="without a condition"):
        Rule(category=Category.AUTH)
