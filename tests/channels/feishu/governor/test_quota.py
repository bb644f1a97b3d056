"""A month in which the calls run short."""

import types
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.mutants import mutant

from mainstay.channels.feishu.governor import quota
from mainstay.channels.feishu.governor.model import Mode
from mainstay.channels.feishu.governor.quota import Quota, Stretch, month_of

MONTHLY = 10_000
PER_ANSWER = 3
ANSWER_S = 20
BEGIN = datetime(2026, 10, 31, 16, tzinfo=UTC)  # the first of November in UTC+8
DAYS = 30


def with_used(module: types.ModuleType, at: datetime, used: int, monthly: int = MONTHLY) -> Quota:
    made: Quota = module.Quota(monthly)
    made.used(at)
    made.learn(module.month_of(at), used, None)
    return made


def live(module: types.ModuleType, day: float, used: int, answers: list[float]) -> None:
    """From this day on answers are made, after such gaps; each wants four updates a second."""
    begin = BEGIN + timedelta(days=day)
    end = BEGIN + timedelta(days=DAYS)
    calls = with_used(module, begin, used)
    stretched = used >= 8000
    assert calls.mode(begin) is (Mode.STRETCHED if stretched else Mode.NORMAL)
    now_s, made = 0.0, used

    def line(at: datetime) -> float:
        return min(MONTHLY, used + (MONTHLY - used) * ((at - begin) / (end - begin) + 0.01))

    for number, gap_s in enumerate(answers):
        now_s += gap_s
        for _ in range(PER_ANSWER):
            calls.succeeded(begin + timedelta(seconds=now_s))
        made += PER_ANSWER
        updates, can_be_had = 0, made < line(begin + timedelta(seconds=now_s))
        for _ in range(4 * ANSWER_S):
            now_s += 0.25
            at = begin + timedelta(seconds=now_s)
            if calls.until_update_s(str(number), now_s, at) == 0.0:
                assert made < (line(at) if stretched else MONTHLY)
                calls.succeeded(at)
                calls.updated(str(number), now_s)
                updates += 1
                made += 1
        if stretched:
            assert updates <= 4  # after 0, 2, 6 and 14 s
            assert updates or not can_be_had
        assert calls.used(begin + timedelta(seconds=now_s)) == made


monthly_lives = given(
    st.floats(0.0, 28.0),
    st.sampled_from([7900, 8000, 8500, 9900]),
    st.lists(st.sampled_from([0.0, 60.0, 3600.0, 20_000.0]), min_size=1, max_size=60).filter(
        lambda gaps: sum(gaps) < 86_400
    ),
)
HOW = {"deadline": None, "phases": [Phase.explicit, Phase.generate], "suppress_health_check": list(HealthCheck)}


@settings(max_examples=30, **HOW)
@monthly_lives
def test_updates_use_what_outcomes_leave_and_never_more_than_lasts_to_the_end(
    day: float, used: int, answers: list[float]
) -> None:
    live(quota, day, used, answers)


MUTANTS = {
    "the rest is used at once": ("left * (share + _AT_ONCE)", "left * 2"),
    "it is never stretched": ("used < self.stretched_from", "True"),
    "it is stretched too late": ("_STRETCHED_FROM: Final = 0.8", "_STRETCHED_FROM: Final = 0.9"),
    "it is stretched too early": ("_STRETCHED_FROM: Final = 0.8", "_STRETCHED_FROM: Final = 0.5"),
    "updates keep coming": ("if updates else 0.0", "* 0"),
    "there is no first update": ("if updates else 0.0", ""),
    "updates are not counted": ("self._updates[card_id] = (updates + 1, now_s)", "pass"),
    "only this process's calls count": ("return self._stored + self._leaving", "return self._leaving"),
    "more than there are": ("return min(self.monthly, self._stretch.used", "return (1.5 * self._stretch.used"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_month_notices_a_count_that_is_wrong(name: str) -> None:
    wrong = mutant(quota, *MUTANTS[name])

    @settings(max_examples=100, derandomize=True, database=None, report_multiple_bugs=False, **HOW)
    @monthly_lives
    def property_of_the_mutant(day: float, used: int, answers: list[float]) -> None:
        live(wrong, day, used, answers)

    with pytest.raises(AssertionError):
        property_of_the_mutant()


def test_what_is_left_lasts_to_the_end_of_the_month_and_the_last_day_has_its_updates() -> None:
    begin = BEGIN + timedelta(days=10)
    calls = with_used(quota, begin, 8000)
    by_day: list[int] = []
    for day in range(20):
        by_day.append(0)
        for answer in range(10):
            for quarter in range(4 * ANSWER_S):
                now_s = day * 86_400.0 + answer * 8640.0 + quarter / 4
                at, card = begin + timedelta(seconds=now_s), f"{day}.{answer}"
                if quarter < PER_ANSWER:
                    calls.succeeded(at)
                elif calls.until_update_s(card, now_s, at) == 0.0:
                    calls.succeeded(at)
                    calls.updated(card, now_s)
                    by_day[-1] += 1
    assert min(by_day) >= 30
    assert max(by_day[1:]) <= 50
    assert calls.used(begin + timedelta(days=20, seconds=-1)) <= MONTHLY


def test_the_month_is_that_of_the_platform() -> None:
    assert month_of(BEGIN) == "2026-11"
    assert month_of(BEGIN - timedelta(seconds=1)) == "2026-10"
    calls = with_used(quota, BEGIN - timedelta(seconds=1), 9000)
    assert calls.mode(BEGIN - timedelta(seconds=1)) is Mode.STRETCHED
    assert (calls.mode(BEGIN), calls.used(BEGIN)) == (Mode.NORMAL, 0)


def test_calls_of_the_last_month_are_stored_for_the_last_month() -> None:
    calls = Quota(MONTHLY)
    calls.succeeded(BEGIN - timedelta(seconds=1))
    calls.succeeded(BEGIN)
    assert calls.leave() == {"2026-10": 1, "2026-11": 1}
    assert calls.used(BEGIN) == 1
    calls.not_saved()
    assert calls.leave() == {"2026-10": 1, "2026-11": 1}
    calls.saved()
    calls.learn("2026-10", 77, None)  # of a month that is over
    calls.learn("2026-11", 5, None)
    assert calls.used(BEGIN) == 5
    assert not calls.unsaved


def test_a_clock_that_goes_back_over_the_month_s_end_forgets_nothing() -> None:
    calls = Quota(MONTHLY)
    calls.succeeded(BEGIN)
    assert calls.used(BEGIN - timedelta(seconds=1)) == 1


def test_without_a_limit_nothing_is_stretched_until_the_platform_says_no() -> None:
    calls = with_used(quota, BEGIN, 10**9, monthly=0)
    assert calls.mode(BEGIN) is Mode.NORMAL
    calls.refused(BEGIN)
    assert (calls.mode(BEGIN), calls.can_spare(BEGIN)) == (Mode.EXHAUSTED, False)
    assert calls.until_update_s("card", 0.0, BEGIN) is None
    calls.succeeded(BEGIN)  # it was on its way
    assert calls.mode(BEGIN) is Mode.EXHAUSTED
    calls.has_some()
    assert calls.mode(BEGIN) is Mode.NORMAL
    calls.refused(BEGIN)
    assert calls.mode(BEGIN + timedelta(days=DAYS)) is Mode.NORMAL


def test_the_line_is_the_one_that_was_stored_first() -> None:
    later = BEGIN + timedelta(days=20)
    calls = with_used(quota, later, 9000)
    calls.learn("2026-11", 9000, Stretch(BEGIN, 8000))
    assert calls.can_spare(later)  # two thirds of the month have passed, and half of what was left
    calls.learn("2026-11", 9500, Stretch(BEGIN, 8000))
    assert not calls.can_spare(later)


def test_a_card_that_was_updated_a_thousand_times_waits_a_minute() -> None:
    calls = with_used(quota, BEGIN, 8000)
    for _ in range(2000):
        calls.updated("card", 5.0)
    assert calls.until_update_s("card", 5.0, BEGIN) == 60.0
    for card in range(2000):
        calls.updated(str(card), 5.0)
    assert len(calls._updates) == 1000
