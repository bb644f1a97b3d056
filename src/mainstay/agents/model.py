"""What is an agent, as it is configured?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mainstay.settings import duration, setting, share

__all__ = ["USUAL_WEIGHT", "AgentSettings", "MatchRule", "Tier", "parse_match"]

USUAL_WEIGHT = 0.6
"""One ordinary word is enough for a hand-over; a word that is common elsewhere deserves less than the threshold."""

Tier = Literal["auto", "primary", "fallback"]
"""Which part of every agent's chain may be asked: all of it, only the first model, or all but the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """A word or phrase that speaks for a specialist.

    Attributes:
        phrase: matched whatever its case; a Latin edge only at the edge of a word, Chinese anywhere.
        weight: over 0, up to 1: how strongly.
    """

    phrase: str
    weight: float = USUAL_WEIGHT


def parse_match(value: object) -> tuple[MatchRule, ...]:
    """Rules from ``["OKR", { phrase = "目标", weight = 0.3 }]``.

    Raises:
        ValueError: if one is neither; the message says which.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError('write a list of words and phrases, like ["OKR", { phrase = "目标", weight = 0.3 }]')  # noqa: TRY004
    return tuple(each if isinstance(each, MatchRule) else _rule(each) for each in value)


def _rule(value: object) -> MatchRule:
    phrase, weight = value, USUAL_WEIGHT
    if isinstance(value, Mapping) and {"phrase"} <= set(value) <= {"phrase", "weight"}:
        phrase, weight = value["phrase"], value.get("weight", USUAL_WEIGHT)
    if not isinstance(phrase, str) or not phrase.strip():
        raise ValueError(f'{value!r} is not a rule: write "a phrase" or {{ phrase = "…", weight = 0.3 }}')
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= 1:
        raise ValueError(f"the weight of {phrase!r} is {weight!r}: it must be over 0 and at most 1")
    return MatchRule(phrase=phrase, weight=float(weight))


def _suggestions(value: str | float) -> int:
    count = int(value)
    if not 0 <= count <= 5:
        raise ValueError(f"{value!r} is not a number of questions: write one from 0 to 5")
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """``[agents.NAME]``: one agent. The root is the Manager; the others are its specialists."""

    models: tuple[str, ...] = setting(
        (),
        help="The fallback chain: models by their configured names, in order; by default the Manager's.",
    )
    instructions: str = setting("", help="What the agent is told to be and do.")
    description: str = setting(
        "", help="What the agent is good at: how the Manager's model knows when to hand over."
    )
    specialists: tuple[str, ...] = setting((), help="The agents that the Manager may hand over to.")
    match: tuple[MatchRule, ...] = setting(
        (),
        help="Words and phrases that send a message to this specialist without asking a model.",
        parse=parse_match,
    )
    match_threshold: float = share(
        0.5,
        help="How well a specialist's words must match, 0 to 1, to hand over to it without asking a model.",
    )
    tools: tuple[str, ...] = setting((), help='Functions the agent may call, each as "module:function".')
    mcp: tuple[str, ...] = setting((), help="The MCP servers whose tools the agent may call, too.")
    tool_timeout: float = duration("30s", help="How long one tool may run.")
    max_steps: int = setting(
        12,
        help="How often the models may be asked within one turn, tools being run in between.",
    )
    suggestions: int = setting(
        0,
        help="How many questions that may come next are offered under an answer, 0 to 5; they cost one more short "
        "request, made after the answer was shown. Of the agent that every message goes to first.",
        parse=_suggestions,
    )
    suggestions_timeout: float = duration("10s", help="How long the models have for such questions.")
    person_memory: bool = setting(
        default=False, help="Whether the agent remembers notes about a person across conversations."
    )
