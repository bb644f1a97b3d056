"""Is a connection that is given no events found out, and is one that is only quiet left alone?

A small platform gives each event to one of the open connections, by chance, and some of them pass on none of what
they are given. The same then runs on modules that are wrong in one place each.
"""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.channels.feishu.connection import quiet

AFTER_S = 1800.0
DAY_S = 86400.0


class World:
    """So many connections, of which the first ``stale`` bring nothing."""

    def __init__(self, subject: Any, count: int, stale: int, seed: int) -> None:  # noqa: ANN401  may be a mutant
        self.quiet = subject.Quiet(AFTER_S, count, 0.0)
        self.chance = random.Random(seed)
        self.open, self.stale = set(range(count)), set(range(stale))
        self.now_s = self.looked_s = 0.0
        self.looks: list[tuple[float, list[int]]] = []
        self.replaced: list[int] = []

    def wait(self, seconds: float) -> None:
        """The shell looks whenever it is due."""
        until_s = self.now_s + seconds
        while (due_s := self.quiet.due_s(self.open)) <= until_s:
            assert due_s >= self.looked_s + AFTER_S, "looks that follow one another at once"
            self.now_s = self.looked_s = max(self.now_s, due_s)
            self.quiet.looked(self.now_s)
            self.looks.append((self.now_s, self.quiet.quiet(self.open, self.now_s)))
        self.now_s = until_s

    def event(self) -> None:
        number = self.chance.choice(sorted(self.open))
        if number not in self.stale:
            found = self.quiet.heard(number, self.open, self.now_s)
            assert set(found) <= self.stale, "a good connection is replaced"
            self.replaced += found


def found_out(subject: Any, count: int, stale: int, seed: int) -> None:  # noqa: ANN401
    world = World(subject, count, stale, seed)
    for _ in range(40 * count * count // (count - stale)):
        world.wait(1.0)
        world.event()
    assert set(world.replaced) == world.stale, "one that brings nothing is hidden by the others"
    assert world.looks == [], "where there is traffic the histories cost calls"


def never_hasty(subject: Any, seed: int) -> None:  # noqa: ANN401
    """Whatever is passed over although it is good, as by a platform that does not draw lots."""
    world = World(subject, 2, 1, seed)
    for _ in range(4000):
        world.event()
    assert 1 <= len(world.replaced) <= 8, "it is replaced for ever"
    world.stale.clear()
    world.open = {0}
    world.event()
    world.open, world.stale, world.replaced = {0, 1}, {0}, []
    for _ in range(100):
        world.event()
    assert world.replaced == [0], "it has brought one event since"


def others_that_are_closed(subject: Any, seed: int) -> None:  # noqa: ANN401
    world = World(subject, 3, 0, seed)
    world.open = {0, 1}
    for _ in range(100):
        world.event()
    world.open, world.stale = {0, 1, 2}, {2}
    for _ in range(60):
        world.event()
    world.quiet.opened(2)
    for _ in range(60):
        world.event()
    assert world.replaced == [], "what an earlier connection was not given is held against the next"


def quiet_day(subject: Any, busy: int) -> None:  # noqa: ANN401
    """``busy`` of 3 connections hear something every 10 minutes, the others nothing."""
    world = World(subject, 3, 0, 0)
    for _ in range(24 * 6):
        world.wait(600.0)
        for number in range(busy):
            world.quiet.heard(number, world.open, world.now_s)
    if busy == 3:
        assert world.looks == [], "where there is traffic the histories cost calls"
    else:
        assert 6 <= len(world.looks) <= 10, "a quiet day costs calls, or nobody looks"
        assert all(found == list(range(busy, 3)) for _, found in world.looks)
    world.wait(7 * DAY_S)
    assert len(world.looks) >= 40, "looks become rarer for ever"
    world.open = {0}
    world.quiet.heard(0, world.open, world.now_s)
    looks = len(world.looks)
    world.wait(AFTER_S - 1.0)
    assert len(world.looks) == looks, "it looks for what is closed, or at what was just heard"
    world.wait(1.0)
    assert len(world.looks) == looks + 1, "an event does not make looks as frequent as at first"


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(1, 3), st.integers(0, 10**6))
def test_one_that_brings_nothing_is_found_by_what_the_others_bring(count: int, stale: int, seed: int) -> None:
    found_out(quiet, count, min(stale, count - 1), seed)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10**6))
def test_one_that_brings_its_share_is_left_alone(count: int, seed: int) -> None:
    found_out(quiet, count, 0, seed)


@pytest.mark.parametrize("seed", range(20))
def test_evidence_belongs_to_one_connection_and_looks_become_rarer_while_they_find_nothing(seed: int) -> None:
    live(quiet, seed)


MUTANTS = {
    "the events of one count for all": (
        "        self._passed[number], self._proof[number] = 0.0, _PROOF\n",
        "        self._passed, self._proof[number] = [0.0] * len(self._passed), _PROOF\n",
    ),
    "an event proves nothing": (
        "        self._passed[number], self._proof[number] = 0.0, _PROOF\n",
        "        self._proof[number] = _PROOF\n",
    ),
    "what it takes stays what it was": ("self._proof[each] *= 2", "self._proof[each] *= 1"),
    "what it takes is never forgotten": ("= 0.0, _PROOF\n", "= 0.0, self._proof[number]\n"),
    "a little is enough": ("9 * math.log(10)", "1 * math.log(10)"),
    "closed ones are passed over": (
        "others = [each for each in among if",
        "others = [each for each in range(3) if",
    ),
    "a new connection has the past of the old one": (
        "        self._passed[number] = 0.0\n\n",
        "        pass\n\n",
    ),
    "the latest event counts for all": (
        "quietest_s = min((self._heard_s[each] for each in among), default=self._looked_s)",
        "quietest_s = max((self._heard_s[each] for each in among), default=self._looked_s)",
    ),
    "every look is as soon as the last": ("self._patience_s * 2", "self._patience_s"),
    "looks become rarer for ever": ("self._after_s * _LONGEST", "self._after_s * 9e9"),
    "patience is never lost": ("            self._patience_s = self._after_s\n", "            pass\n"),
    "whoever has just been heard is quiet": ("self._heard_s[each] + self._after_s <= now_s", "True"),
}


def live(subject: Any, seed: int) -> None:  # noqa: ANN401
    found_out(subject, 2 + seed % 5, seed % 2, seed)
    never_hasty(subject, seed)
    others_that_are_closed(subject, seed)
    quiet_day(subject, seed % 4)


@pytest.mark.parametrize("name", MUTANTS)
def test_what_is_wrong_in_one_place_is_found_out(name: str) -> None:
    wrong = mutant(quiet, *MUTANTS[name])

    def search() -> None:
        for seed in range(20):
            live(wrong, seed)

    with pytest.raises(Exception):  # noqa: B017, PT011  whichever promise is broken first
        search()
