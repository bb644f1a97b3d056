"""What can people say, what can be done about it, and what can break?"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = [
    "CHANGES",
    "GROUPS",
    "MODELS",
    "PEOPLE",
    "PLATFORM",
    "SPEECH",
    "SPOILS",
    "STRIKES",
    "Line",
    "Way",
    "every",
    "question",
]

Way = Literal["webhook", "subscription"]

PEOPLE: Final = tuple(f"ou_p{number}" for number in range(6))
GROUPS: Final = tuple(f"oc_{number:032x}" for number in range(1, 4))
_TOO_OFTEN: Final = {"code": 99991400, "status": 429, "headers": {"x-ogw-ratelimit-reset": "1"}}

PLATFORM: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("POST /cardkit/v1/cards", {"status": 503}),
    ("POST /cardkit/v1/cards", {"drop": True}),
    ("POST /cardkit/v1/cards", _TOO_OFTEN),
    ("POST /cardkit/v1/cards", {"code": 300305}),
    ("POST /cardkit/v1/cards", {"delay_s": 1.0}),
    ("POST /reply", {"status": 503}),
    ("POST /reply", {"drop": True}),
    ("POST /reply", {"hold": True}),
    ("POST /reply", {"code": 230020}),
    ("POST /reply", _TOO_OFTEN),
    ("POST /reply", {"code": 99991403, "status": 429}),
    ("PUT /elements/", {"code": 300309}),
    ("PUT /elements/", {"code": 300317}),
    ("PUT /elements/", {"code": 200850}),
    ("PUT /elements/", {"code": 200740}),
    ("PUT /elements/", {"drop": True}),
    ("PUT /elements/", {"delay_s": 0.7}),
    ("PUT /elements/", _TOO_OFTEN),
    ("PATCH /settings", {"code": 300309}),
    ("PUT /cardkit/v1/cards/", {"code": 300317}),
    ("PUT /cardkit/v1/cards/", {"code": 200740}),
    ("PUT /cardkit/v1/cards/", {"code": 200810}),
    ("PUT /cardkit/v1/cards/", {"code": 230099}),
    ("PUT /cardkit/v1/cards/", {"drop": True}),
    ("PUT /cardkit/v1/cards/", {"hold": True}),
    ("PUT /cardkit/v1/cards/", _TOO_OFTEN),
    ("* /open-apis/", {"code": 99991663}),
    ("* /open-apis/", {"code": 99991403, "status": 429}),
    ("* /open-apis/", {"status": 502}),
    ("GET /messages", {"status": 503}),
    ("DELETE /messages", {"status": 503}),
)
MODELS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("rate-limit", {"retry_after_s": 0.5}),
    ("rate-limit", {"retry_after_s": None}),
    ("server-error", {}),
    ("overloaded", {}),
    ("refuse", {}),
    ("hang", {}),
    ("hang-first-token", {"pings": True}),
    ("stall", {"after_tokens": 5}),
    ("cut", {"after_tokens": 20}),
    ("truncate", {"after_tokens": 5, "done": True}),
    ("malformed", {"after_tokens": 1}),
    ("error-after-200", {"after_tokens": 5}),
    ("quota", {}),
)
SPOILS: Final = ("truncated", "twice", "part-missing", "part-twice", "parts-reversed", "acknowledgement-lost")
SPEECH: Final = {
    "private": 38,
    "group": 14,
    "topic": 5,
    "thread": 14,
    "quote": 5,
    "flood": 3,
    "overheard": 6,
    "stop": 9,
}
CHANGES: Final = {"edit": 16, "recall": 14, "again": 10, "as new": 10, "press": 40, "late": 6, "tokens": 4}
STRIKES: Final[Mapping[Way, Mapping[str, int]]] = {
    "webhook": {"killed": 2, "stopped and started": 1},
    "subscription": {"killed": 2, "stopped and started": 1, "goodbye": 1, "no goodbye": 1, "half-open": 1},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What somebody said.

    Attributes:
        name: is in the text of this one only, and stays in it when it is edited; empty of a word that stops.
        lane: the conversation: the private chat, or in a group the message with which the thread began.
        asks: whether it has to be answered; None where it depends on what the bot knew when it came.
        by_edit: it asks only since it was edited.
    """

    message_id: str
    name: str
    text: str
    chat: str
    lane: str
    sender: str
    asks: bool | None = True
    by_edit: bool = False


def every(chance: random.Random, kinds: Mapping[str, int]) -> Iterator[str]:
    """First each of them once, so that none is left out; then as often as their weights say."""
    yield from chance.sample(list(kinds), len(kinds))
    while True:
        yield chance.choices(list(kinds), list(kinds.values()))[0]


def question(chance: random.Random, name: str) -> str:
    match chance.choices(("count", "数", "slow", "long", "nothing", "plain"), (35, 15, 15, 5, 3, 27))[0]:
        case "count":
            return f"{name} count to {chance.randint(20, 200)}"
        case "数":
            return f"{name} 数到 {chance.randint(20, 100)}"
        case "slow":
            return f"{name} slowly count to {chance.randint(10, 40)}"
        case "long":
            return f"{name} long answer"
        case "nothing":
            return f"{name} say nothing"
        case _:
            return f"{name}, hello"
