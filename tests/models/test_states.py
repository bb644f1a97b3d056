"""Promises of `models.states`."""

from mainstay.bus import Bus
from mainstay.checks import Condition
from mainstay.errors import Category
from mainstay.events import AttemptFailed, TurnFinished
from mainstay.messages import Outcome
from mainstay.models.model import ModelSettings
from mainstay.models.states import ModelStates


def failed(model: str, category: Category = Category.RATE_LIMIT) -> AttemptFailed:
    return AttemptFailed(turn_id="t", agent="manager", model=model, category=category, message="")


def answered(model: str) -> TurnFinished:
    return TurnFinished(
        turn_id="t",
        lane="l",
        agent="manager",
        answered_by="manager",
        model=model,
        outcome=Outcome.ANSWERED,
        category=None,
        attempt=1,
        latency_s=1.0,
    )


def conditions(*happened: AttemptFailed | TurnFinished) -> dict[str, Condition]:
    states, bus = ModelStates({"primary": ModelSettings(model="m"), "fallback": ModelSettings()}), Bus()
    states.watch(bus)
    for event in happened:
        bus.emit(event)
    return {condition.name: condition for condition in (check() for check in states.checks())}


def test_every_model_is_a_dependency_from_the_start() -> None:
    assert {name: each.status for name, each in conditions().items()} == {
        "model:primary": "ok",
        "model:fallback": "ok",
    }


def test_a_model_that_fails_is_degraded_and_says_why_and_the_others_are_not() -> None:
    now = conditions(failed("primary"), failed("primary", Category.TIMEOUT), answered("fallback"))
    assert now["model:primary"].status == "degraded"
    assert "2 failed in a row" in now["model:primary"].reason
    assert "timeout" in now["model:primary"].reason
    assert now["model:fallback"].status == "ok"


def test_one_answer_makes_a_model_good_again_and_what_it_did_stays_counted() -> None:
    now = conditions(failed("primary"), answered("primary"))["model:primary"]
    assert now.status == "ok"
    assert (now.detail["answers"], now.detail["failures"], now.detail["lastFailure"]) == (1, 1, "rate_limit")


def test_a_failing_model_never_keeps_the_service_from_being_ready() -> None:
    assert not any(condition.required for condition in conditions(failed("primary")).values())


def test_a_model_that_is_not_configured_is_no_dependency() -> None:
    assert set(conditions(failed("unknown"), answered(""))) == {"model:primary", "model:fallback"}
