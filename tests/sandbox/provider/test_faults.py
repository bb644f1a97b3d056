import pytest

from mainstay.sandbox.provider.faults import FAULTS, FaultPlan
from mainstay.testing.clock import ManualClock


def names(plan: FaultPlan, calls: int) -> list[str]:
    taken = (plan.take() for _ in range(calls))
    return ["" if fault is None else fault.name for fault in taken]


def test_a_fault_lasts_until_it_is_cleared() -> None:
    plan = FaultPlan(ManualClock())
    plan.inject("stall")
    assert names(plan, 3) == ["stall", "stall", "stall"]
    plan.clear()
    assert names(plan, 1) == [""]


def test_a_counted_fault_meets_so_many_calls() -> None:
    plan = FaultPlan(ManualClock())
    plan.inject("cut", times=2)
    assert names(plan, 3) == ["cut", "cut", ""]


def test_a_timed_fault_ends_with_its_time() -> None:
    clock = ManualClock()
    plan = FaultPlan(clock)
    plan.inject("quota", for_s=30)
    clock.advance(29.9)
    assert names(plan, 1) == ["quota"]
    clock.advance(0.1)
    assert names(plan, 1) == [""]
    assert plan.active() == ()


def test_a_fault_with_both_limits_ends_with_the_first() -> None:
    clock = ManualClock()
    plan = FaultPlan(clock)
    plan.inject("hang", times=5, for_s=1)
    assert names(plan, 1) == ["hang"]
    clock.advance(1)
    assert names(plan, 1) == [""]


def test_counted_faults_are_a_script_over_the_newest_lasting_one() -> None:
    clock = ManualClock()
    plan = FaultPlan(clock)
    plan.inject("server-error")
    plan.inject("cut", times=1)
    plan.inject("overloaded", for_s=10)
    plan.inject("truncate", times=1)
    assert [fault.name for fault in plan.active()] == ["cut", "truncate", "overloaded", "server-error"]
    assert names(plan, 3) == ["cut", "truncate", "overloaded"]
    clock.advance(10)
    assert names(plan, 1) == ["server-error"]


def test_a_counted_fault_lets_the_first_calls_pass() -> None:
    plan = FaultPlan(ManualClock())
    plan.inject("cut", times=2, after_calls=2)
    plan.inject("truncate", times=1, after_calls=1)
    plan.inject("stall", times=1)
    assert names(plan, 8) == ["", "", "cut", "cut", "", "truncate", "stall", ""]


def test_a_lasting_fault_lets_the_first_calls_pass_and_stays() -> None:
    plan = FaultPlan(ManualClock())
    plan.inject("server-error")
    plan.inject("overloaded", after_calls=2)
    plan.inject("cut", times=1, after_calls=1)
    assert names(plan, 4) == ["server-error", "cut", "overloaded", "overloaded"]
    assert plan.lasting() is not None


def test_a_fault_that_has_not_begun_may_still_be_met_and_its_time_runs() -> None:
    clock = ManualClock()
    plan = FaultPlan(clock)
    plan.inject("hang", after_calls=1, for_s=10)
    assert plan.lasting() is None
    assert [fault.name for fault in plan.active()] == ["hang"]
    clock.advance(10)
    assert names(plan, 2) == ["", ""]


def test_looking_at_the_plan_uses_nothing_up() -> None:
    plan = FaultPlan(ManualClock())
    plan.inject("cut", times=1)
    assert plan.lasting() is None
    assert len(plan.active()) == len(plan.active()) == 1
    assert names(plan, 1) == ["cut"]


def test_an_unknown_fault_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ValueError, match="'ratelimit'; did you mean rate-limit"):
        FaultPlan(ManualClock()).inject("ratelimit")
    with pytest.raises(ValueError, match="known: auth, cut, error-after-200"):
        FaultPlan(ManualClock()).inject("zzz")


@pytest.mark.parametrize(
    "wrong",
    [
        {"times": 0},
        {"for_s": 0.0},
        {"for_s": float("nan")},
        {"after_calls": -1},
        {"after_tokens": -1},
        {"retry_after_s": -1.0},
        {"retry_after_s": float("inf")},
    ],
)
def test_numbers_out_of_range_are_refused_and_leave_no_fault(wrong: dict[str, float]) -> None:
    plan = FaultPlan(ManualClock())
    with pytest.raises(ValueError, match=next(iter(wrong))):
        plan.inject("stall", **wrong)  # type: ignore[arg-type]
    assert plan.active() == ()


def test_every_fault_can_be_injected() -> None:
    plan = FaultPlan(ManualClock())
    for name in FAULTS:
        plan.inject(name, times=1)
    assert names(plan, len(FAULTS)) == list(FAULTS)
