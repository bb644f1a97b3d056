"""A setting is declared once, and a secret never shows."""

import copy
import dataclasses
import json
import pickle
import traceback
from dataclasses import dataclass

import pytest

from mainstay.settings import SETTING, Secret, duration, setting, size

HIDDEN = "hush-hush"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    wait: float = duration("30s", help="How long.", env=("WAIT",))
    limit: int = size("1KiB", help="How much.")
    table: dict[str, int] = setting({"a": 1}, help="A table.")  # noqa: RUF009
    needed: str = setting(help="Must be given.")
    key: Secret = setting(Secret(), help="A key.")  # noqa: RUF009


def test_declarations_carry_value_unit_parser_and_help() -> None:
    infos = {field.name: field.metadata[SETTING] for field in dataclasses.fields(Example)}
    assert Example(needed="x").wait == 30.0
    assert (infos["wait"].unit, infos["limit"].unit) == ("s", "bytes")
    assert infos["wait"].parse("2m") == 120.0
    assert infos["limit"].parse("2KiB") == 2048
    assert infos["wait"].env == ("WAIT",)
    assert all(info.help for info in infos.values())


def test_a_table_s_default_is_not_shared() -> None:
    Example(needed="x").table["b"] = 2
    assert Example(needed="x").table == {"a": 1}


def test_a_setting_without_default_must_be_given() -> None:
    with pytest.raises(TypeError, match="needed"):
        Example()  # type: ignore[call-arg]


def test_a_secret_never_shows_by_accident() -> None:
    secret = Secret(HIDDEN)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!s:>20}", repr([secret]), "%s %r" % (secret, secret)]  # noqa: UP031
    shown += [repr(Example(needed="x", key=secret)), str(dataclasses.asdict(Example(needed="x", key=secret)))]
    shown += traceback.format_exception(ValueError(secret))
    assert HIDDEN not in "".join(shown)
    assert secret.reveal() == HIDDEN


def test_a_secret_can_not_be_serialised_or_joined() -> None:
    with pytest.raises(TypeError):
        json.dumps(Secret(HIDDEN))
    with pytest.raises(TypeError):
        "x" + Secret(HIDDEN)  # type: ignore[operator]
    with pytest.raises(TypeError):
        "".join([Secret(HIDDEN)])  # type: ignore[list-item]


def test_secrets_compare_by_value_and_only_with_secrets() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert Secret("ä") == Secret("ä")


def test_an_empty_secret_is_false_and_says_so() -> None:
    assert not Secret()
    assert repr(Secret()) == "''"
    assert Secret("x")


def test_a_copy_is_the_same_secret() -> None:
    assert copy.deepcopy(Secret(HIDDEN)) == Secret(HIDDEN)
    assert pickle.loads(pickle.dumps(Secret(HIDDEN))) == Secret(HIDDEN)
