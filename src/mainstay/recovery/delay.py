"""How long did the other side ask to be left alone?

Every provider says it in its own way, and this is the order in which they are believed: ``retry-after-ms``;
``retry-after`` in seconds or as an HTTP date; Feishu's ``x-ogw-ratelimit-reset`` in seconds; the latest reset of
the limits of which nothing remains (a duration with OpenAI, RFC 3339 with Anthropic, seconds with Azure, Unix
milliseconds with OpenRouter); ``availability.retry_after`` in OpenRouter's body; ``retryDelay`` in Google's; and
what an SDK has read, last.

A moment is measured against the response's own ``date``, else against the time that the caller gives; with neither
it can not be used, which is nobody's nonsense. A moment that has only just passed means now: the answer was slow.
What is negative, no number, further away than a week, or sent twice with different values is nonsense: it is left
out, it is named, and the next source is asked.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mainstay.units import parse_duration

__all__ = ["Asked", "asked_to_wait"]

_LONGEST_S: Final = 7 * 86400.0
_JUST_PASSED_S: Final = 60.0

_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]*)?")
_HTTP_DATE: Final = re.compile(r"[A-Z][a-z]{2,8},? .{1,20}[0-9]{2}:[0-9]{2}:[0-9]{2}.{0,8}")
_RFC_3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].{5,30}")
_REMAINING: Final = re.compile(r"(?=.*ratelimit)(?=.*remaining)[a-z0-9-]{1,64}")
_BETWEEN: Final = re.compile(r",(?! ?[0-9]{1,2}[ -][A-Z])")
"""The comma between two values, not the one behind a date's weekday."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for.

    Attributes:
        seconds: None when nothing usable was said.
        nonsense: the headers and fields that made no sense.
    """

    seconds: float | None
    nonsense: tuple[str, ...] = ()


def asked_to_wait(
    headers: Mapping[str, str], fields: Iterable[tuple[str, str]] = (), *, now: datetime | None = None
) -> Asked:
    """The first source that is usable, and all that are nonsense.

    Args:
        headers: of the response, names in lower case.
        fields: what else was said about waiting, in the body or by an SDK: name and text.
        now: the wall clock's time, for a response without a ``date``.
    """
    if now is not None and now.tzinfo is None:
        now = now.replace(tzinfo=UTC)
    reference = _moment(headers.get("date", "")) or now
    nonsense: dict[str, None] = {}

    def read(name: str, text: str | None, unit_s: float = 1.0, *, is_reset: bool = False) -> float | None:
        try:
            return None if text is None else _seconds(text, unit_s, reference, is_reset=is_reset)
        except ValueError:
            nonsense[name] = None
            return None

    resets = [
        wait_s
        for name, left in headers.items()
        if left == "0" and _REMAINING.fullmatch(name)
        for reset in (name.replace("remaining", "reset"),)
        if (wait_s := read(reset, headers.get(reset), is_reset=True)) is not None
    ]
    waits = [
        read("retry-after-ms", headers.get("retry-after-ms"), 0.001),
        read("retry-after", headers.get("retry-after")),
        read("x-ogw-ratelimit-reset", headers.get("x-ogw-ratelimit-reset")),
        max(resets, default=None),
        *(read(name, text) for name, text in fields),
    ]
    return Asked(next((wait_s for wait_s in waits if wait_s is not None), None), tuple(nonsense))


def _seconds(text: str, unit_s: float, reference: datetime | None, *, is_reset: bool) -> float | None:
    """Seconds from now; None for a moment that can not be measured; ValueError for nonsense."""
    found = {_wait(each.strip(), unit_s, reference, is_reset=is_reset) for each in _BETWEEN.split(text)}
    if len(found) > 1:
        raise ValueError(text)
    wait_s = found.pop()
    if wait_s is not None and not 0 <= wait_s <= _LONGEST_S:
        raise ValueError(text)
    return wait_s


def _wait(text: str, unit_s: float, reference: datetime | None, *, is_reset: bool) -> float | None:
    if _NUMBER.fullmatch(text):
        moment = _unix(float(text)) if is_reset else None
        if moment is None:
            return float(text) * unit_s
    else:
        moment = _moment(text)
        if moment is None:
            return parse_duration(text)
    if reference is None:
        return None
    wait_s = (moment - reference).total_seconds()
    return 0.0 if -_JUST_PASSED_S <= wait_s < 0 else wait_s


def _unix(number: float) -> datetime | None:
    """The moment that a reset may be; as seconds to wait the number would be decades."""
    for unit_s in (1.0, 0.001):
        if 1e9 <= number * unit_s < 1e10:
            return datetime.fromtimestamp(number * unit_s, UTC)
    return None


def _moment(text: str) -> datetime | None:
    try:
        if _RFC_3339.fullmatch(text):
            at = datetime.fromisoformat(text)
        elif _HTTP_DATE.fullmatch(text):
            from email.utils import parsedate_to_datetime  # with a socket library behind it; dates are rare

            at = parsedate_to_datetime(text)
        else:
            return None
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
