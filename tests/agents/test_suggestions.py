"""What may be said next is asked for after the answer, in one short request that delays and fails nothing."""

from decimal import Decimal

import pytest
from tests.agents.conftest import Bench, Told, message

from mainstay.agents.model import AgentSettings
from mainstay.agents.suggestions import read_suggestions
from mainstay.messages import Responder, Suggester
from mainstay.models.budget.model import BudgetSettings

pytestmark = pytest.mark.anyio

WANTED = AgentSettings(suggestions=2)


async def suggested(responder: Responder, answer: str = "the answer") -> tuple[str, ...]:
    assert isinstance(responder, Suggester)
    return tuple(await responder.suggest(message("the question"), answer))


async def test_the_model_is_told_question_and_answer_and_its_lines_are_the_questions(told: Told) -> None:
    told.model.says("1. What does it cost?\n", "- 明天呢？\n", "3) too many\n")
    assert await suggested(told.build(suggestions=2)) == ("What does it cost?", "明天呢？")
    [asked] = told.model.asked
    assert "tools" not in asked
    said = str(asked["messages"])
    assert "the question" in said
    assert "the answer" in said


async def test_nobody_is_asked_where_none_are_wanted_or_nothing_was_answered(bench: Bench) -> None:
    assert await suggested(bench.responder()) == ()
    assert await suggested(bench.responder(manager=WANTED), answer=" ") == ()
    assert bench.primary.record.total == 0


async def test_models_that_fail_or_hang_suggest_nothing(bench: Bench) -> None:
    impatient = AgentSettings(suggestions=2, suggestions_timeout=0.3)
    bench.primary.faults.inject("hang")
    bench.fallback.faults.inject("server-error")
    assert await suggested(bench.responder(manager=impatient)) == ()


async def test_suggestions_are_paid_for_and_not_made_once_the_budget_is_spent(bench: Bench) -> None:
    responder = bench.responder(manager=WANTED)
    await suggested(responder)
    assert bench.primary.record.total == 1
    bench.budget = BudgetSettings(per_day=Decimal("0.000001"))
    assert await suggested(bench.responder(manager=WANTED)) == ()
    assert bench.primary.record.total == 1


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        ("", ()),
        ("\n\n  \n", ()),
        ('1. "Why?"\n2. “为什么？”\n', ("Why?", "为什么？")),
        ("- 3.5 or 4?\n", ("3.5 or 4?",)),
        ("a\nb\nc\nd", ("a", "b", "c")),
    ],
)
def test_questions_are_read_however_they_are_listed(text: str, questions: tuple[str, ...]) -> None:
    assert read_suggestions(text, 3) == questions
