"""What does a person see when a model fails in this way, at this moment? Every fault, at every moment.

`promised` is the table of ``docs/reference/fallback.md``; `observed` asks real models over real HTTP. The tests
hold the one against the other, cell by cell. ``python -m tests.agents.fault_matrix --write`` writes the page.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mainstay.agents.model import AgentSettings
from mainstay.errors import Category
from mainstay.events import AttemptFailed, ModelHop
from mainstay.messages import Outcome, Status, TextReplaced
from mainstay.recovery.model import TRAITS, RecoverySettings
from mainstay.testing.turns import shown

PAGE: Final = Path("docs/reference/fallback.md")
FAULTS: Final = {
    "rate-limit": Category.RATE_LIMIT,
    "quota": Category.QUOTA_EXHAUSTED,
    "auth": Category.AUTH,
    "forbidden": Category.PERMISSION,
    "server-error": Category.SERVER_ERROR,
    "overloaded": Category.OVERLOADED,
    "refuse": Category.CONNECTION,
    "hang": Category.TIMEOUT,
    "hang-first-token": Category.TIMEOUT,
    "stall": Category.TIMEOUT,
    "cut": Category.CONNECTION,
    "truncate": Category.MALFORMED,
    "malformed": Category.MALFORMED,
    "error-after-200": Category.SERVER_ERROR,
}
BEFORE_HEADERS: Final = tuple(FAULTS)[:8]
IN_THE_BODY: Final = ("stall", "cut", "truncate", "malformed", "error-after-200")
MOMENTS: Final = (
    "before the headers",
    "before the first token",
    "after one token",
    "after 200 characters",
    "after a tool ran",
)
_TOKENS: Final = {
    "before the first token": 0,
    "after one token": 1,
    "after 200 characters": 80,
    "after a tool ran": 1,
}
_QUESTION: Final = "count to 120"
_TOOL_QUESTION: Final = "call act, please"
_TWICE: Final = RecoverySettings(retries=1, retry_base=0.01, retry_cap=0.02, longest_wait=0.5, min_attempt=0.05)
_ON_ACT: list[Callable[[], object]] = []
ACTED: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way to fail, when, and whether another model is there."""

    fault: str
    moment: str
    fallback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of it.

    Attributes:
        category: what it was counted as; once for each attempt.
        asked: how often the failing model was asked.
        answered: whether the person has the whole answer, once.
        before: whether the person had seen text when it failed.
        replaced: whether that text was marked and then replaced.
        acted: how often the tool with effects ran.
        offered: whether the person may have it tried again; each of these faults can pass.
    """

    category: Category
    asked: int
    answered: bool
    before: bool
    replaced: bool
    acted: int
    offered: bool


def impossible(fault: str, moment: str) -> str:
    """Why there is no such cell; empty if there is one."""
    match moment:
        case "before the headers" if fault not in BEFORE_HEADERS:
            return "it is a fault of the body, which comes after the headers"
        case "before the first token" if fault in BEFORE_HEADERS:
            return "it comes in the place of the headers"
        case "after one token" | "after 200 characters" if fault == "hang-first-token":
            return "it is over with the first token"
        case "after one token" | "after 200 characters" if fault in BEFORE_HEADERS:
            return "it comes in the place of the headers"
    return ""


def cells() -> Iterator[Cell]:
    """All that are possible."""
    for fault in FAULTS:
        for moment in MOMENTS:
            if not impossible(fault, moment):
                yield Cell(fault=fault, moment=moment, fallback=True)
                yield Cell(fault=fault, moment=moment, fallback=False)


def promised(cell: Cell) -> Seen:
    """What the page says."""
    category, by_tool = FAULTS[cell.fault], cell.moment == "after a tool ran"
    before = cell.fault in IN_THE_BODY and _TOKENS[cell.moment] > 0
    failed = 1 if cell.fallback else 1 + min(TRAITS[category].retries, _TWICE.retries)
    return Seen(
        category=category,
        asked=failed + by_tool,
        answered=cell.fallback,
        before=before,
        replaced=before and (cell.fallback or failed > 1),
        acted=int(by_tool),
        offered=not cell.fallback,
    )


def act() -> str:
    """Do something that must be done once."""
    ACTED.append("done")
    for each in _ON_ACT:
        each()
    return "done"


async def observed(cell: Cell, bench) -> Seen:
    """What happens; asserts what holds in every cell."""
    by_tool = cell.moment == "after a tool ran"
    question, manager = (_TOOL_QUESTION, _ACTING) if by_tool else (_QUESTION, AgentSettings())
    bench.recovery = _TWICE
    models = ["primary", "fallback"] if cell.fallback else ["primary"]
    responder = bench.responder(models, manager=manager)
    _, clean = await bench.ask(bench.responder(["fallback"], manager=manager), question)
    bench.heard.clear()
    ACTED.clear()

    def strike() -> None:
        tokens = _TOKENS.get(cell.moment, 0)
        bench.primary.faults.inject(cell.fault, after_tokens=tokens, retry_after_s=0.01, pings=True)

    _ON_ACT[:] = [strike] if by_tool else []
    if not by_tool:
        strike()
    events, final = await bench.ask(responder, question)
    failed = bench.heard_of(AttemptFailed)
    hops = [event for event in bench.heard_of(ModelHop) if event.to_model == "fallback"]
    assert shown(events) == final.text
    assert len(hops) == int(cell.fallback)
    assert final.outcome is (Outcome.ANSWERED if cell.fallback else Outcome.FAILED)
    assert (final.text == clean.text) is cell.fallback
    assert clean.text.startswith(final.text)
    assert bool(final.notice) is not cell.fallback
    (category,) = {event.category for event in failed}
    if category is Category.TIMEOUT:
        assert (await bench.primary.ended(bench.primary.record.total)).ending == "disconnected"
    return Seen(
        category=category,
        asked=bench.primary.record.total,
        answered=final.outcome is Outcome.ANSWERED,
        before=any(event.shown_chars for event in failed),
        replaced=any(isinstance(event, TextReplaced) for event in events)
        and any(isinstance(event, Status) and "broke off" in event.text for event in events),
        acted=len(ACTED),
        offered=final.retryable,
    )


_ACTING: Final = AgentSettings(tools=("tests.agents.fault_matrix:act",))


def page() -> str:
    """``docs/reference/fallback.md``."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "# What a person sees when a model fails",
        "",
        "<!-- Written by `make reference` from tests/agents/fault_matrix.py, which tries every line. -->",
        "",
        "Every fault that the sandbox knows, at every moment at which it can happen: with another model behind the",
        "one that fails, and with none. What counts as which category is in [errors.md](errors.md). A model is",
        "asked again as often as `recovery.retries` and its category allow; here that was once.",
        "",
        "| fault | moment | category | another model is there | no other model is there |",
        "|---|---|---|---|---|",
    )
    for cell in cells():
        if cell.fallback:
            other, alone = promised(cell), promised(Cell(fault=cell.fault, moment=cell.moment, fallback=False))
            yield f"| `{cell.fault}` | {cell.moment} | `{other.category}` | {_said(other)} | {_said(alone)} |"
    yield from ("", "What can not happen:", "", "| fault | moment | because |", "|---|---|---|")
    for moment in MOMENTS:
        for fault in FAULTS:
            if reason := impossible(fault, moment):
                yield f"| `{fault}` | {moment} | {reason} |"


def _said(seen: Seen) -> str:
    parts = []
    if seen.answered:
        parts.append("the whole answer, once")
        parts.append("the text so far is kept, marked, and replaced" if seen.before else "nothing of the failure")
    else:
        retried = seen.asked - seen.acted > 1
        parts.append("asked twice, then told why" if retried else "told why at once")
        if seen.before:
            parts.append("the last text is kept")
    if seen.offered:
        parts.append("offered another try")
    if seen.acted:
        parts.append("the tool ran once")
    return "; ".join(parts)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), "utf-8")
    elif PAGE.read_text("utf-8") != page():
        sys.exit(f"{PAGE} is not what the tests hold: run make reference")
