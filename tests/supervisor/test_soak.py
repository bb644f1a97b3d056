"""A day of trouble: programs that crash, hang, leak and fork away, people who ask for this and that, and a daemon
that is killed again and again. Nothing is lost, doubled, left behind or forgotten."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from tests.supervisor.day import LIMITS, day
from tests.supervisor.living import Day, told
from tests.supervisor.witness import Ask, Evidence, Run, judge

from mainstay.cli.main import VERBS

pytestmark = pytest.mark.timeout(400)

MOST_OF_A_MINUTE_S = 48
RELOADS = "reload" in VERBS


def lived_through(directory: Path, seed: int, seconds: float) -> Evidence:
    living = Day(directory)
    seen = living.live(day(seed, seconds, reloads=RELOADS))
    problems = judge(seen)
    assert not problems, told(living, seed, problems)
    return seen


@pytest.fixture(scope="module", params=[1])
def a_minute(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return lived_through(tmp_path_factory.mktemp("day"), request.param, MOST_OF_A_MINUTE_S)


def test_a_minute_of_trouble_loses_doubles_leaves_and_forgets_nothing(a_minute: Evidence) -> None:
    assert a_minute.states["loop:0"] == "errored"
    assert set(a_minute.states.values()) <= {"ready", "errored", "stopped"}


def test_the_trouble_was_of_every_kind(a_minute: Evidence) -> None:
    assert len(a_minute.up) > 5
    assert any(run.hung_s for run in a_minute.runs)
    assert any(run.frozen_s for run in a_minute.runs)
    assert any(run.kind == "away" for run in a_minute.runs)
    assert any(run.done > 2500 for run in a_minute.runs)
    assert {ask.verb for ask in a_minute.asks} >= {"start", "stop", "restart", "kill"}


def one(seen: Evidence, name: str, began_s: float = 0.0, lives_s: float = 1.0, kind: str = "run") -> Run:
    """Somebody more, who was there from the beginning of the day on, or so much later."""
    at_s = seen.up[0][0] + began_s
    run = Run(kind=kind, name=name, id=f"{len(seen.runs)}.1", began_s=at_s, alive_s=at_s, gone_s=at_s + lives_s)
    seen.runs.append(run)
    return run


def lines(seen: Evidence) -> list[bytes]:
    return seen.logs["web:0"].splitlines(keepends=True)


def a_line_lost(seen: Evidence) -> None:
    seen.logs["web:0"] = b"".join(lines(seen)[:50] + lines(seen)[51:])


def a_line_doubled(seen: Evidence) -> None:
    seen.logs["web:0"] = b"".join(lines(seen)[:51] + lines(seen)[50:])


def a_line_cut(seen: Evidence) -> None:
    seen.logs["web:0"] = seen.logs["web:0"].replace(b".\n", b"", 1)


def the_last_line_lost(seen: Evidence) -> None:
    seen.logs["web:0"] = b"".join(lines(seen)[:-2])


def a_line_of_another_s_log(seen: Evidence) -> None:
    seen.logs["web:0"] += seen.logs["web:1"].splitlines(keepends=True)[0]


def two_at_once(seen: Evidence) -> None:
    one(seen, "web:9").struck = True
    one(seen, "web:9").struck = True
    seen.runs[-2].alive_s += 0.5


def one_that_died_with_the_daemon(seen: Evidence) -> None:
    one(seen, "worker:9")


def one_that_was_not_stopped(seen: Evidence) -> None:
    stop = next(ask for ask in seen.asks if ask.verb == "stop")
    one(seen, stop.name, stop.to_s - seen.up[0][0] + 0.01).struck = True


def one_that_runs_on_although_stop_has_said_that_it_does_not(seen: Evidence) -> None:
    run = one(seen, "web:9", lives_s=2.0)
    run.alive_s += 2.0
    seen.asks.append(Ask(verb="stop", name="web:9", from_s=run.began_s, to_s=run.began_s + 1.0))


def one_restart_too_many(seen: Evidence) -> None:
    for number in range(LIMITS["busy"] + 2):
        one(seen, "busy:9", began_s=2.0 * number).struck = True


def a_hang_that_nobody_sees(seen: Evidence) -> None:
    seen.up = [(seen.up[0][0], seen.up[-1][1])]
    run = one(seen, "web:9", lives_s=120.0)
    run.hung_s, run.command = run.began_s, 1


def a_frozen_one_that_nobody_sees(seen: Evidence) -> None:
    seen.up = [(seen.up[0][0], seen.up[-1][1])]
    run = one(seen, "web:9", lives_s=120.0)
    run.frozen_s, run.struck = run.began_s, True


def one_that_has_left_and_stays(seen: Evidence) -> None:
    seen.up = [(seen.up[0][0], seen.up[-1][1])]
    one(seen, "worker:9").struck = True
    one(seen, "worker:9", began_s=0.5, lives_s=120.0, kind="away")


def a_zombie(seen: Evidence) -> None:
    seen.zombies.append((seen.up[0][0], "7 stayed a zombie"))


def one_that_outlives_the_end(seen: Evidence) -> None:
    seen.left.append("7 sleep")


FORGERIES: list[Callable[[Evidence], None]] = [
    a_line_lost,
    a_line_doubled,
    a_line_cut,
    the_last_line_lost,
    a_line_of_another_s_log,
    two_at_once,
    one_that_died_with_the_daemon,
    one_that_was_not_stopped,
    one_that_runs_on_although_stop_has_said_that_it_does_not,
    one_restart_too_many,
    a_hang_that_nobody_sees,
    a_frozen_one_that_nobody_sees,
    one_that_has_left_and_stays,
    a_zombie,
    one_that_outlives_the_end,
]


@pytest.mark.parametrize("forge", FORGERIES)
def test_the_judge_objects_to(a_minute: Evidence, forge: Callable[[Evidence], None]) -> None:
    forged = deepcopy(a_minute)
    forge(forged)
    assert judge(forged)


def test_the_judge_counts_no_time_in_which_the_machine_did_nothing(a_minute: Evidence) -> None:
    seen = deepcopy(a_minute)
    a_hang_that_nobody_sees(seen)
    seen.up = [(seen.up[0][0], seen.up[0][0] + 200.0)]
    seen.late.append((seen.up[0][0] + 1.0, 118.0))
    assert not [what for _, what in judge(seen) if "web:9" in what]


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ten_minutes_of_trouble_too(tmp_path: Path) -> None:
    lived_through(tmp_path, 600, 600)
