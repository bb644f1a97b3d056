"""A responder of the user's own is found, or the user is told why not."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainstay.agents.plugin import load
from mainstay.clock import SystemClock
from mainstay.errors import ConfigError
from mainstay.messages import Message, Outcome
from mainstay.plugin import find
from mainstay.testing.turns import ask, collect, shown

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's, to be written by the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "user_module.py"
    sys.modules.pop("user_module", None)


async def test_the_example_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    responder = load("own_responder:factory")
    clock = SystemClock()
    message = Message(
        channel="console", bot_id="b", external_id="1", chat_id="c", sender_id="s", text="hi", sent_at=clock.now()
    )
    events, final = await collect(ask(responder, message, clock=clock))
    assert responder.name == final.agent == "echo"
    assert final.outcome is Outcome.ANSWERED
    assert final.text == shown(events)
    assert "You said: hi" in final.text


@pytest.mark.parametrize(
    ("source", "spec", "said"),
    [
        ("", "user_module", "'user_module' is not a factory: write it like"),
        ("", "no.such.module:factory", "no module 'no' can be imported"),
        ("import no_such_library", "user_module:factory", "no module 'no_such_library'"),
        ("", "user_module:factory", "user_module has no 'factory'"),
        ("1 / 0", "user_module:factory", "importing user_module failed: ZeroDivisionError"),
        ("factory = 5", "user_module:factory", "user_module:factory is a int, not a factory"),
        ("def factory(): 1 / 0", "user_module:factory", "user_module:factory() failed: ZeroDivisionError"),
        ("def factory(): return 5", "user_module:factory", "made a int without a name"),
        ("class factory: name = 'x'", "user_module:factory", "made a factory without answers"),
        (
            "class factory:\n name = 'x'\n async def respond(self, m, t): return 'hi'",
            "user_module:factory",
            "must be an async generator",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(module: Path, source: str, spec: str, said: str) -> None:
    module.write_text(source)
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        load(spec)
    assert str(caught.value).startswith("service.responder: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec", ["no_such_module:factory", "no_such_package.module:factory", "json.nothing:factory"]
)
def test_a_module_that_is_not_there_is_told_without_importing_anything(spec: str) -> None:
    with pytest.raises(ConfigError, match="can be imported from here"):
        find(spec, "service.responder")


def test_looking_for_a_module_does_not_run_it(module: Path) -> None:
    module.write_text("raise SystemExit('it was run')")
    find("user_module:factory", "service.responder")
    assert "user_module" not in sys.modules
