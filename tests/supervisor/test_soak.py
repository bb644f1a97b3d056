"""A day of trouble: programs that crash, hang, leak and fork away, people who ask for this and that, and a daemon
that is killed again and again. Nothing is lost, doubled, left behind or forgotten."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from tests.supervisor.day import LIMITS, day
from tests.supervisor.living import Day, told
from tests.supervisor.witness import Evidence, Run, judge

from mainstay.supervisor import verbs

pytestmark = pytest.mark.timeout(400)

RELOADS = "reload" in getattr(verbs, "VERBS", ())


def lived_through(directory: Path, seed: int, seconds: float) -> Evidence:
    living = Day(directory)
    seen = living.live(day(seed, seconds, reloads=RELOADS))
    problems = judge(seen)
    assert not problems, told(living, seed, problems)
    return seen


@pytest.fixture(scope="module", params=[1, 2])
def a_minute(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return lived_through(tmp_path_factory.mktemp("day"), request.param, 60)


def test_a_minute_of_trouble_loses_doubles_leaves_and_forgets_nothing(a_minute: Evidence) -> None:
    assert a_minute.states["loop:0"] == "errored"
    assert set(a_minute.states.values()) <= {"ready", "errored", "stopped"}


def test_the_trouble_was_of_every_kind(a_minute: Evidence) -> None:
    assert len(a_minute.up) > 5
    assert any(run.hung_s for run in a_minute.runs)
    assert any(run.kind == "away" for run in a_minute.runs)
    assert any(run.done > 5000 for run in a_minute.runs)
