"""Do the agents fit together, who answers this message, and who goes on when a specialist has failed?

Pure decisions. Routing by rule is deterministic and explains itself: each specialist's score is the chance that
at least one of its matching words is right, taking a rule's weight as the chance of that word
(``1 - product(1 - weight)``). The best specialist gets the message when its score reaches the threshold and no
other scores the same; in every other case the Manager's model decides.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from mainstay.agents.mcp.machine import clashes
from mainstay.agents.model import AgentSettings, MatchRule, Tier
from mainstay.errors import Category, nearest

__all__ = ["HAND_OVER", "Route", "contradictions", "in_tier", "may_answer_instead", "route", "usable_models"]

HAND_OVER = "hand_over_to_"
"""What the name of a tool that hands over begins with."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af"
_LETTER = rf"[^\W{_CJK}]"
"""A letter or digit of a script that puts spaces between words."""

_SPECIALIST_NAME = re.compile(r"[A-Za-z0-9_-]{1,48}")  # becomes part of a tool's name, and APIs take no more

_OF_THE_PROVIDER = frozenset(
    {
        Category.RATE_LIMIT,
        Category.QUOTA_EXHAUSTED,
        Category.TIMEOUT,
        Category.OVERLOADED,
        Category.CONNECTION,
        Category.SERVER_ERROR,
        Category.AUTH,
        Category.PERMISSION,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What the rules say.

    Attributes:
        to: the specialist; None when the rules do not decide.
        score: that of the best specialist; 0 when nothing matched.
        reason: the words that matched, for the record.
        alternatives: the other specialists that matched at all, best first.
    """

    to: str | None = None
    score: float = 0.0
    reason: str = ""
    alternatives: tuple[tuple[str, float], ...] = ()


def contradictions(
    agents: Mapping[str, AgentSettings], models: Iterable[str], servers: Mapping[str, str], root: str
) -> Iterator[tuple[str, str]]:
    """The key and what is wrong with it, for everything about the agents that no single value can know.

    Args:
        agents: by name, used or not: what is written has to be right.
        models: the names that a chain may hold.
        servers: the MCP servers, with what the names of their tools begin with.
        root: the agent that every message goes to first.
    """
    if root not in agents:
        yield "agents", f"there is no agent named {root}, to whom every message goes first; add [agents.{root}]"
    elif not agents[root].models:
        yield f"agents.{root}.models", "is empty: no model could answer; name one or more, in the order to ask them"
    known = frozenset(models)
    for name, agent in agents.items():
        for model in agent.models:
            if model not in known:
                yield f"agents.{name}.models", f"there is no model named {model}{nearest(model, known)}"
        for problem in _servers(agent, servers):
            yield f"agents.{name}.mcp", problem
        for specialist in agent.specialists:
            if problem := _no_specialist(specialist, name, agents):
                yield f"agents.{name}.specialists", problem


def _servers(agent: AgentSettings, servers: Mapping[str, str]) -> Iterator[str]:
    for name in agent.mcp:
        if name not in servers:
            yield f"there is no MCP server named {name}{nearest(name, servers) or f'; add [mcp.{name}]'}"
    own = [tool.rpartition(":")[2] for tool in agent.tools] + ["remember"] * agent.person_memory
    own += [HAND_OVER + specialist for specialist in agent.specialists]
    yield from clashes({name: servers[name] for name in agent.mcp if name in servers}, own)


def _no_specialist(specialist: str, name: str, agents: Mapping[str, AgentSettings]) -> str:
    if specialist == name:
        return f"{name} can not hand over to itself"
    if specialist not in agents:
        hint = nearest(specialist, [other for other in agents if other != name])
        return f"there is no agent named {specialist}{hint or f'; add [agents.{specialist}]'}"
    if not _SPECIALIST_NAME.fullmatch(specialist):
        return f"{specialist} is no name for a specialist: write letters, digits, _ and -, at most 48 of them"
    return ""


def route(text: str, specialists: Mapping[str, Sequence[MatchRule]], threshold: float) -> Route:
    """Match a message against the rules of each specialist."""
    plain = _plain(text)
    found: list[tuple[float, str, list[str]]] = []
    for name, rules in specialists.items():
        hits = {rule.phrase: rule.weight for rule in rules if _pattern(rule.phrase).search(plain)}
        if hits:
            score = round(1 - prod(1 - weight for weight in hits.values()), 4)
            found.append((score, name, list(hits)))
    found.sort(key=lambda entry: -entry[0])
    if not found:
        return Route()
    (score, best, words), *others = found
    clear = score >= threshold and not (others and others[0][0] == score)
    return Route(
        to=best if clear else None,
        score=score,
        reason=", ".join(words),
        alternatives=tuple((name, score) for score, name, _ in (others if clear else found)),
    )


def in_tier(models: Sequence[str], tier: Tier) -> tuple[str, ...]:
    """The part of a chain that may be asked: all of it, only the first model, or all but the first.

    A chain of one model is what it is in every tier: nobody is helped by an agent that can not answer.
    """
    match tier:
        case "auto":
            return tuple(models)
        case "primary":
            return tuple(models[:1])
        case "fallback":
            return tuple(models[1:] or models)


def usable_models(models: Sequence[str], failed: Mapping[str, Category]) -> tuple[str, ...]:
    """The models that have not failed in this turn for a reason of their provider's."""
    return tuple(name for name in models if failed.get(name) not in _OF_THE_PROVIDER)


def may_answer_instead(failure: Category, *, models_left: Sequence[str], had_effects: bool) -> bool:
    """Whether the Manager answers in the place of a specialist that failed.

    Not when a tool with effects has run, as the Manager could cause the same effect again; not when every model of
    the Manager's has just failed as well; and not for a request that was filtered or cancelled.
    """
    hopeless = failure in {Category.CANCELLED, Category.CONTENT_FILTER, Category.DATABASE}
    return bool(models_left) and not had_effects and not hopeless


def _plain(text: str) -> str:
    """Full-width and half-width forms, and upper and lower case, are the same."""
    return unicodedata.normalize("NFKC", text).casefold()


@lru_cache(maxsize=4096)
def _pattern(phrase: str) -> re.Pattern[str]:
    words = _plain(phrase).split()
    body = r"\s+".join(re.escape(word) for word in words)
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, words[0]) else ""
    after = rf"(?!{_LETTER})" if re.match(_LETTER, words[-1][-1]) else ""
    return re.compile(before + body + after)
