"""What does a caller get in the place of a response, when nothing was sent?

A response, not an exception: the SDKs of OpenAI and Anthropic, and those generated like them, retry every broken
connection, two times by default, with a pause before each. A response with ``x-should-retry: false`` they pass on
at once, as the error that they have for its status. So the status, and the code in the body, are those of the
failure that opened the breaker; the wait that is left is in ``retry-after`` and ``retry-after-ms``; and
`mainstay.recovery.classify.classify` reads from the SDK's error what it would read from the failure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mainstay.errors import Category
from mainstay.recovery.breaker.permits import BreakerOpen

__all__ = ["REFUSED", "StandIn", "breaker_open", "no_time_left"]

REFUSED: Final = "x-mainstay-refused"
"""The header that only a response which never left this process has."""

_STATUS: Final[Mapping[Category, int]] = {
    Category.RATE_LIMIT: 429,
    Category.QUOTA_EXHAUSTED: 429,
    Category.SERVER_ERROR: 500,
    Category.CONNECTION: 502,
    Category.MALFORMED: 502,
    Category.TIMEOUT: 504,
}
_CODE: Final[Mapping[Category, str]] = {
    Category.RATE_LIMIT: "rate_limit_exceeded",
    Category.QUOTA_EXHAUSTED: "insufficient_quota",
    Category.CONNECTION: "not_connected",
    Category.MALFORMED: "malformed_response",
}
"""Where providers do not write what the category is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """What is put in the place of a response; the body is JSON."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, object]
    category: Category


def breaker_open(refused: BreakerOpen) -> StandIn:
    """The breaker is open. One that is so for slowness alone stands for an overloaded provider."""
    category = refused.failure.category if refused.failure else Category.OVERLOADED
    waits = {"retry-after": refused.wait_s, "retry-after-ms": refused.wait_s * 1000} if refused.wait_s else {}
    return _stand_in(category, str(refused), {name: str(math.ceil(wait)) for name, wait in waits.items()})


def no_time_left() -> StandIn:
    """The deadline has passed."""
    return _stand_in(Category.TIMEOUT, "the deadline for this work has passed", {})


def _stand_in(category: Category, why: str, headers: Mapping[str, str]) -> StandIn:
    code = _CODE.get(category, category.value)
    return StandIn(
        status=_STATUS.get(category, 503),
        headers={"x-should-retry": "false", REFUSED: "true", **headers},
        body={"error": {"message": f"not sent: {why}", "type": code, "param": None, "code": code}},
        category=category,
    )
