"""What is said in an afternoon of trouble, and what goes wrong meanwhile?

Both follow from a seed, so that an afternoon that showed something can be had again.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mainstay.sandbox.provider.faults import FAULTS, MIDWAY

MODELS = ("a", "b", "c")
MESSAGES_PER_S = 5
CHATS = 40

_STRUCK = (("a",), ("a",), ("b",), ("c",), ("a", "b"), ("a", "b"), ("a", "c"))
_LONGEST_S = 3.0
_QUIET_AT_THE_END_S = 1.0
_PLATFORM: tuple[tuple[str, dict[str, Any]], ...] = (
    ("POST /cardkit/v1/cards", {"status": 503}),
    ("POST /reply", {"status": 503}),
    ("POST /reply", {"drop": True}),
    ("POST /reply", {"code": 230020}),
    ("PUT /cardkit/v1/cards/", {"code": 99991400, "status": 429, "headers": {"x-ogw-ratelimit-reset": "1"}}),
    ("PUT /elements/", {"drop": True}),
    ("PUT /elements/", {"delay_s": 0.5}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What somebody says. ``at_s``: seconds after the beginning."""

    at_s: float
    chat: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One fault of some models, or one of the platform's if there are none.

    Attributes:
        name: of the fault; of the platform's the call that it is about.
        details: the keywords of `SandboxClient.fault` or `platform_fault`.
    """

    at_s: float
    models: tuple[str, ...]
    name: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Afternoon:
    """All of it, each in the order of time."""

    lines: tuple[Line, ...]
    troubles: tuple[Trouble, ...]


def afternoon(seed: int, seconds: float) -> Afternoon:
    """The one of this seed, and so long."""
    chance = random.Random(seed)
    lines = tuple(
        Line(at_s=number / MESSAGES_PER_S, chat=f"oc_{chance.randrange(CHATS):032x}", text=_text(chance, number))
        for number in range(round(seconds * MESSAGES_PER_S))
    )
    last_s = seconds - _LONGEST_S - _QUIET_AT_THE_END_S
    troubles = [*_of_models(chance, last_s), *_of_the_platform(chance, last_s)]
    return Afternoon(lines=lines, troubles=tuple(sorted(troubles, key=lambda trouble: trouble.at_s)))


def _text(chance: random.Random, number: int) -> str:
    """Each is said once only: by it a provider's call is known."""
    match chance.choices(("count", "数", "tool", "nothing", "plain"), (60, 12, 13, 2, 13))[0]:
        case "count":
            return f"question {number}: count to {chance.randint(5, 60)}"
        case "数":
            return f"问题 {number}：数到 {chance.randint(5, 60)}"
        case "tool":
            return f"question {number}: call note"
        case "nothing":
            return f"question {number}: say nothing"
        case _:
            return f"question {number}"


def _of_models(chance: random.Random, last_s: float) -> Iterator[Trouble]:
    """First each fault once, at the model that is asked first, so that none is left out.

    Then they come in any order, at one model or two; now and then all are down together for a while.
    """
    at_s = 0.5
    for name in chance.sample(FAULTS, len(FAULTS)):
        yield Trouble(at_s=at_s, models=MODELS[:1], name=name, details={"times": 1} | _details(chance, name))
        at_s += chance.uniform(0.2, 0.8)
    blackout_s = at_s
    while at_s < last_s:
        name, models = chance.choice(FAULTS), chance.choice(_STRUCK)
        if at_s >= blackout_s:
            blackout_s = at_s + chance.uniform(15, 30)
            models, how = MODELS, {"for_s": chance.uniform(1.5, _LONGEST_S)}
        elif chance.random() < 0.5:
            how = {"for_s": chance.uniform(0.3, _LONGEST_S)}
        else:
            how = {"times": chance.randint(1, 3), "after_calls": chance.randrange(3)}
        yield Trouble(at_s=at_s, models=models, name=name, details=how | _details(chance, name))
        at_s += chance.uniform(0.5, 2.5)


def _details(chance: random.Random, name: str) -> dict[str, Any]:
    details: dict[str, Any] = {}
    match name:
        case "rate-limit":
            details["retry_after_s"] = chance.choice((None, 0.2, 1))
        case "stall" | "hang-first-token":
            details["pings"] = chance.random() < 0.5
        case "truncate":
            details["done"] = chance.random() < 0.5
    if name in MIDWAY:
        details["after_tokens"] = chance.choice((0, 1, 5, 20, 50))
    return details


def _of_the_platform(chance: random.Random, last_s: float) -> Iterator[Trouble]:
    """Each in turn, in a new order each time."""
    at_s = 1.0
    while True:
        for call, details in chance.sample(_PLATFORM, len(_PLATFORM)):
            if at_s >= last_s:
                return
            yield Trouble(at_s=at_s, models=(), name=call, details=details)
            at_s += chance.uniform(2.0, 4.0)
