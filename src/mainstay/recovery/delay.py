"""How long did the other side ask to be left alone?

Every provider says it in its own way: ``retry-after`` in seconds or as a date, ``retry-after-ms``, reset headers
as a duration (OpenAI), an RFC 3339 time (Anthropic) or seconds (Feishu), or Google's ``RetryInfo`` in the body.
Times are measured against the response's own ``date``, so that no clock of ours takes part.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mainstay.units import parse_duration

__all__ = ["asked_to_wait_s"]

_LONGEST_S = 7 * 86400.0


def asked_to_wait_s(known: object, headers: Mapping[str, str], body: Mapping[str, object]) -> float | None:
    """Seconds, or None when nothing usable was said.

    Args:
        known: what an SDK has read already.
        headers: of the response, names in lower case.
        body: the provider's error object.
    """
    if isinstance(known, int | float) and not isinstance(known, bool):
        return _sane(float(known))
    for wait_s in (
        _number(headers.get("retry-after-ms"), 0.001),
        _parse(headers.get("retry-after"), headers),
        _number(headers.get("x-ogw-ratelimit-reset")),
        _longest_exhausted(headers),
        _google(body),
    ):
        if wait_s is not None:
            return wait_s
    return None


def _longest_exhausted(headers: Mapping[str, str]) -> float | None:
    """The latest reset among the limits of which nothing remains; the others are no reason to wait."""
    waits = [
        wait
        for name, remaining in headers.items()
        if "ratelimit" in name and "remaining" in name and remaining.strip() == "0"
        if (wait := _parse(headers.get(name.replace("remaining", "reset")), headers)) is not None
    ]
    return max(waits, default=None)


def _google(body: Mapping[str, object]) -> float | None:
    return next((wait for text in _retry_delays(body) if (wait := _duration(text)) is not None), None)


def _retry_delays(body: Mapping[str, object]) -> Iterator[str]:
    details = body.get("details")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, Mapping) and isinstance(delay := detail.get("retryDelay"), str):
            yield delay


def _parse(text: str | None, headers: Mapping[str, str]) -> float | None:
    if text is None:
        return None
    for wait_s in (_number(text), _duration(text)):
        if wait_s is not None:
            return wait_s
    until, now = _time(text), _time(headers.get("date", ""))
    return _sane((until - now).total_seconds()) if until and now else None


def _number(text: str | None, unit: float = 1.0) -> float | None:
    try:
        return _sane(float(text) * unit) if text is not None else None
    except ValueError:
        return None


def _duration(text: str) -> float | None:
    try:
        return _sane(parse_duration(text))
    except ValueError:
        return None


def _time(text: str) -> datetime | None:
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = read(text)
        except (ValueError, TypeError, IndexError):
            continue
        return at if at.tzinfo else at.replace(tzinfo=UTC)
    return None


def _sane(seconds: float) -> float | None:
    """None for what is no number of seconds; a moment that has passed is 0, and nobody is left alone for weeks."""
    if seconds != seconds or seconds in (float("inf"), float("-inf")):
        return None
    return min(max(0.0, seconds), _LONGEST_S)
