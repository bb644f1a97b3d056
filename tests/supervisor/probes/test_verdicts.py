"""What the answers of probes mean: for any course of an app's life, and any settings.

A small world: an app that is up and down as Hypothesis chooses, which is asked as often as the machine says, and is
started again when the machine asks for it. The ledger knows only what was answered. The same world then runs on
machines that are wrong in one place each.
"""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import assert_noticed, mutant

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.events import RestartAsked, SaidReady, Trouble, Well
from mainstay.supervisor.model import Instance, Reason, State
from mainstay.supervisor.probes import machine
from mainstay.supervisor.probes.model import HealthSettings, Kind, ProbeSettings, Result

STARTUP = ProbeSettings(tcp="127.0.0.1:1", failure_threshold=4)
LIVENESS = ProbeSettings(tcp="127.0.0.1:2", failure_threshold=3)
READINESS = ProbeSettings(tcp="127.0.0.1:3", failure_threshold=2, success_threshold=2)
HEALTH = HealthSettings(http="http://127.0.0.1:4/health")
APP = AppSettings(
    command=("it",), ready="probe", startup=STARTUP, liveness=LIVENESS, readiness=READINESS, health=HEALTH
)
APPS = (
    APP,
    replace(APP, startup=None),
    replace(APP, readiness=None),
    replace(APP, health=None, readiness=replace(READINESS, success_threshold=3)),
    replace(APP, startup=None, liveness=None, readiness=replace(READINESS, failure_threshold=1)),
    replace(APP, startup=replace(STARTUP, failure_threshold=1), liveness=replace(LIVENESS, failure_threshold=1)),
    replace(APP, readiness=None, health=None),
)
KINDS = tuple(Kind)


class World:
    def __init__(self, subject: Any, app: AppSettings) -> None:  # noqa: ANN401  a module, possibly a mutant of it
        self.subject, self.app = subject, app
        self.now_s = 1000.0
        self.state = State.STARTING
        self.begin()
        self.settings = {
            kind: each
            for kind, each in (
                (Kind.STARTUP, app.startup),
                (Kind.LIVENESS, app.liveness),
                (Kind.READINESS, app.readiness),
                (Kind.HEALTH, app.health),
            )
            if each is not None
        }

    def begin(self) -> None:
        """A new run, or the same one, of which a new daemon knows nothing but its state."""
        self.run = self.subject.begin(Instance(state=self.state, since_s=self.now_s), self.app)
        self.answers: dict[Kind, list[bool]] = {kind: [] for kind in Kind}
        self.why: dict[Kind, str] = {}
        self.asked_health = self.over = False
        self.started = self.app.startup is None or self.state is not State.STARTING

    def passes(self, kind: Kind) -> bool | None:
        """The verdict by definition: of the last answers that were alike often enough."""
        verdict: bool | None = None
        row: list[bool] = []
        for answer in self.answers[kind]:
            row = [*row, answer] if row[-1:] == [answer] else [answer]
            settings = self.settings[kind]
            if len(row) >= (settings.success_threshold if answer else settings.failure_threshold):
                verdict = answer
        return verdict

    def expected_to_be_asked(self) -> set[Kind]:
        if self.over:
            return set()
        if not self.started:
            return {Kind.STARTUP}
        return set(self.settings) - {Kind.STARTUP}

    def answer(self, kind: Kind, passed: bool | None) -> None:
        self.now_s += 1.0
        before = self.run
        result = Result(passed=passed, detail=f"answer {self.now_s:.0f}")
        self.run, said = self.subject.learn(before, kind, result, self.app, self.now_s)
        if kind not in self.expected_to_be_asked():
            assert (self.run, said) == (before, ()), "it was not asked, and its answer counts"
            return
        self.asked_health |= kind is Kind.HEALTH
        if passed is not None:
            self.answers[kind].append(passed)
        if passed is False:
            self.why[kind] = result.detail
        if kind is Kind.STARTUP and passed:
            self.started = True
        self.check(kind, said, result)
        assert self.run.tallies[kind].last == result

    def check(self, kind: Kind, said: tuple[object, ...], result: Result) -> None:
        restarts = [each for each in said if isinstance(each, RestartAsked)]
        failed = kind in (Kind.STARTUP, Kind.LIVENESS) and self.passes(kind) is False
        assert bool(restarts) == failed, "restarted without need, or not in need"
        if failed:
            assert said == tuple(restarts)
            assert restarts[0].reason is (Reason.HEALTH if kind is Kind.LIVENESS else Reason.START)
            assert result.detail in restarts[0].detail
            self.over = True
            return
        ready = self.started and (self.app.readiness is None or self.passes(Kind.READINESS) is True)
        assert (SaidReady(by="probe") in said) == ready, "ready is what can be used"
        if ready and self.state is State.STARTING:
            self.state = State.READY
        self.feels([each for each in said if isinstance(each, Trouble | Well)])

    def feels(self, said: list[Trouble | Well]) -> None:
        unready = self.app.readiness is not None and self.passes(Kind.READINESS) is False
        unwell = self.app.health is not None and self.passes(Kind.HEALTH) is False
        assert len(said) <= 1
        troubles = [each for each in said if isinstance(each, Trouble)]
        assert bool(troubles) == (self.started and (unready or unwell)), "there is trouble, and nobody says so"
        if troubles:
            assert troubles[0].upstream == unwell, "whose trouble it is"
            shown = Kind.READINESS if unready else Kind.HEALTH
            assert troubles[0].detail == f"{shown}: {self.why[shown]}", "the wrong trouble is shown"
            self.state = State.UNHEALTHY if self.state is State.READY else self.state
        known = self.app.readiness is None or self.passes(Kind.READINESS) is True
        known = known and (self.app.health is None or self.asked_health)
        assert bool(said) == (self.started and (bool(troubles) or known)), "nothing is known, and it is said"
        if said and not troubles and self.state is State.UNHEALTHY:
            self.state = State.READY

    def do(self, what: str, kind: Kind, passed: bool | None) -> None:
        assert set(self.subject.due(self.run, self.app)) == self.expected_to_be_asked()
        if what == "answer":
            self.answer(kind, passed if kind is Kind.HEALTH else bool(passed))
        elif what == "in a row":
            for _ in range(4):
                self.answer(kind, passed if kind is Kind.HEALTH else bool(passed))
        elif what == "restart":
            self.state = State.STARTING
            self.begin()
        elif what == "daemon dies" and not self.over:
            self.begin()
        for each in self.settings:
            awaited = self.subject.is_awaited(self.run, each)
            waits = each in (Kind.STARTUP, Kind.READINESS) and self.passes(each) is None
            waits = waits and self.answers[each][-1:] != [True]
            known_started = each is Kind.STARTUP and self.started
            assert awaited == (waits and not known_started), "asked too often, or too seldom"


happenings = st.lists(
    st.tuples(
        st.sampled_from(["answer"] * 8 + ["in a row"] * 3 + ["restart", "daemon dies"]),
        st.sampled_from(KINDS),
        st.sampled_from([True, True, False, False, None]),
    ),
    min_size=10,
    max_size=40,
)


def live(subject: Any, app: AppSettings, steps: list[tuple[str, Kind, bool | None]]) -> None:  # noqa: ANN401
    world = World(subject, app)
    for step in steps:
        world.do(*step)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(APPS), happenings)
def test_a_verdict_is_what_was_answered_often_enough_and_says_what_its_probe_is_for(
    app: AppSettings, steps: list[tuple[str, Kind, bool | None]]
) -> None:
    live(machine, app, steps)


MUTANTS = {
    "one failure is enough": (
        "needed = settings.success_threshold if result.passed else settings.failure_threshold",
        "needed = settings.success_threshold if result.passed else 1",
    ),
    "one success is enough": (
        "needed = settings.success_threshold if result.passed else settings.failure_threshold",
        "needed = 1 if result.passed else settings.failure_threshold",
    ),
    "one failure more": ("if in_a_row < needed", "if in_a_row < needed + (not result.passed)"),
    "answers need not be in a row": (
        "in_a_row = tally.in_a_row + 1 if tally.saying is result.passed else 1",
        "in_a_row = tally.in_a_row + 1",
    ),
    "nothing said is a failure": (
        "if result.passed is None:\n        return tally",
        "if False:\n        return tally",
    ),
    "the startup probe gates nothing": (
        "    if app.startup is not None and not run.passes(Kind.STARTUP):\n        return (Kind.STARTUP,)\n",
        "",
    ),
    "the startup probe goes on": ("if kind is not Kind.STARTUP)", ")"),
    "asked on after it has failed": ("    if run.over:\n        return ()\n", ""),
    "an answer counts that was not asked for": (
        "    if kind not in due(run, app):\n        return run, ()\n",
        "",
    ),
    "readiness restarts": (
        "if tally.passes is False and kind in (Kind.STARTUP, Kind.LIVENESS)",
        "if tally.passes is False and kind is not Kind.HEALTH",
    ),
    "health restarts": (
        "if tally.passes is False and kind in (Kind.STARTUP, Kind.LIVENESS)",
        "if tally.passes is False and kind is not Kind.READINESS",
    ),
    "liveness does not restart": (
        "if tally.passes is False and kind in (Kind.STARTUP, Kind.LIVENESS)",
        "if tally.passes is False and kind is Kind.STARTUP",
    ),
    "the wrong reason": ("if kind is Kind.LIVENESS else Reason.START", "if True else Reason.START"),
    "ready before it has started": (
        "    if Kind.STARTUP in due(run, app):\n        return\n",
        "",
    ),
    "ready before it can be used": ("if app.readiness is None or run.passes(Kind.READINESS):", "if True:"),
    "the trouble of others is its own": ("upstream=Kind.HEALTH in failing", "upstream=False"),
    "its own trouble is that of others": ("upstream=Kind.HEALTH in failing", "upstream=True"),
    "only the trouble that is shown counts": ("upstream=Kind.HEALTH in failing", "upstream=shown is Kind.HEALTH"),
    "the trouble of others hides its own": ("shown = failing[0]", "shown = failing[-1]"),
    "well before anything is known": (
        "elif all(_has_answered(run, kind) for kind in (Kind.READINESS, Kind.HEALTH) if kind in probes(app)):",
        "else:",
    ),
    "never well again": (
        "        yield Well()",
        "        yield from ()",
    ),
    "who does not tell its health is never well": (
        "return kind in run.tallies if kind is Kind.HEALTH else run.passes(kind) is True",
        "return run.passes(kind) is True",
    ),
    "the daemon that comes next waits for the start again": (
        'if app.startup is not None and app.ready == "probe" and instance.state in',
        "if False and instance.state in",
    ),
    "every run has started": ("instance.state in {State.READY, State.UNHEALTHY}", "True"),
    "nobody waits": ("return kind in (Kind.STARTUP, Kind.READINESS) and", "return False and"),
    "liveness is asked all the time": ("return kind in (Kind.STARTUP, Kind.READINESS) and", "return"),
    "asked all the time until it is decided": (" and tally.saying is not True", ""),
    "asked all the time while it fails": ("and tally.passes is None and", "and not tally.passes and"),
    "why it failed is not remembered": (
        "why = tally.why if result.passed else result.detail",
        "why = result.detail",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_world_notices_verdicts_that_are_wrong(name: str) -> None:
    wrong = mutant(machine, *MUTANTS[name])
    assert_noticed(lambda app, steps: live(wrong, app, steps), st.sampled_from(APPS), happenings, examples=1000)
