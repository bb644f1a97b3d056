"""Is there a moment at which a kill does harm?"""

import json
import subprocess
import sys
from typing import TypedDict

import pytest
from tests.supervisor.output import steps
from tests.supervisor.output.conftest import ROOT


class Seen(TypedDict):
    calls: int
    wrong: list[str]


def _kill_everywhere(mode: str, mutant: str) -> Seen:
    command = [sys.executable, "-m", steps.__name__, mode, mutant]
    seen: Seen = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return seen


@pytest.mark.parametrize("mode", ["raw", "timestamps"])
def test_a_kill_between_any_two_calls_loses_doubles_cuts_and_leaves_nothing(mode: str) -> None:
    seen = _kill_everywhere(mode, "none")
    assert seen["wrong"] == []
    assert seen["calls"] > 60


@pytest.mark.parametrize(
    ("mode", "mutant"),
    [
        ("raw", "reads and writes"),
        ("raw", "cuts anywhere"),
        ("raw", "takes half for whole"),
        ("raw", "deletes first"),
        ("timestamps", "reads and writes"),
        ("timestamps", "forgets what was moved"),
        ("timestamps", "moves it again"),
    ],
)
def test_what_is_not_safe_is_found(mode: str, mutant: str) -> None:
    assert _kill_everywhere(mode, mutant)["wrong"] != []
