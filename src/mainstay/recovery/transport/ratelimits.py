"""Which rate limits do these headers speak of?

OpenAI and those who copy it write ``x-ratelimit-remaining-requests``, Anthropic
``anthropic-ratelimit-requests-remaining``, gateways ``x-ratelimit-remaining`` or ``ratelimit-remaining``, Feishu
``x-ogw-ratelimit-reset``. What makes no sense is left out.
"""

from collections.abc import Mapping
from typing import Final

from mainstay.recovery.delay import asked_to_wait
from mainstay.recovery.transport.model import LimitSeen, LimitsSeen

__all__ = ["limits_seen"]

_FIELDS: Final = ("limit", "remaining", "reset")


def limits_seen(headers: Mapping[str, str], now: float) -> LimitsSeen | None:
    """The limits, or None if the headers do not speak of any.

    Args:
        headers: of a response, names in lower case.
        now: monotonic seconds.
    """
    found: dict[str, dict[str, str]] = {}
    for header, value in headers.items():
        family, ratelimit, rest = header.partition("ratelimit-")
        if ratelimit and (not family or family.endswith("-")):
            name, field = _named(rest)
            if field:
                found.setdefault(name, {})[field] = value
    date = headers.get("date", "")
    retry_after_s = _seconds(headers.get("retry-after"), date)
    if not found and retry_after_s is None:
        return None
    by_name = {
        name: LimitSeen(
            limit=_count(fields.get("limit")),
            remaining=_count(fields.get("remaining")),
            reset_s=_seconds(fields.get("reset"), date),
        )
        for name, fields in found.items()
    }
    return LimitsSeen(at_s=now, by_name=by_name, retry_after_s=retry_after_s)


def _named(rest: str) -> tuple[str, str]:
    """What is limited, and which of the three fields this is; no field if it is none of them."""
    words = rest.split("-")
    if words[0] in _FIELDS:
        return "-".join(words[1:]), words[0]
    return "-".join(words[:-1]), words[-1] if words[-1] in _FIELDS else ""


def _count(text: str | None) -> int | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return int(number) if 0 <= number < float("inf") else None


def _seconds(text: str | None, date: str) -> float | None:
    """A duration, a moment or a number of seconds, read as a Retry-After is: one since 1970 is none."""
    return None if text is None else asked_to_wait({"retry-after": text, "date": date}).seconds
