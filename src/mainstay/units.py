"""How are durations, sizes and sums of money written by people?

``"30s"``, ``"512MiB"`` and ``"0.10"`` at the edges (files, flags, messages); float seconds, integer bytes and exact
decimals of US dollars inside.
"""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["format_dollars", "format_duration", "format_size", "parse_dollars", "parse_duration", "parse_size"]

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 36500 * 86400.0
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
}
_MOST_DOLLARS = 10**9
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?i?b?)", re.IGNORECASE)


def parse_duration(text: str | float) -> float:
    """Seconds from ``"1h30m"``, ``"250ms"`` or a plain number of seconds.

    Raises:
        ValueError: if the text is none of these; the message says what is allowed.
    """
    if isinstance(text, int | float) and not isinstance(text, bool):
        if not 0 <= text < float("inf"):
            raise ValueError(f"{text!r} is not a duration: it must be finite and not negative")
        return _bounded(float(text), text)
    compact = str(text).replace(" ", "")
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f'{text!r} is not a duration: write it like "500ms", "30s", "5m" or "1h30m"')
    return _bounded(sum(float(number) * _SECONDS[unit] for number, unit in parts), text)


def _bounded(seconds: float, text: object) -> float:
    if seconds > _LONGEST_S:
        raise ValueError(f"{text!r} is not a duration that a calendar has: write 100 years (36500d) at most")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest form that `parse_duration` reads back, to the millisecond: ``90`` gives ``"1m30s"``."""
    if seconds == 0:
        return "0s"
    milliseconds = max(1, round(seconds * 1000))
    if milliseconds % 1000:
        return f"{milliseconds / 1000:.3f}".rstrip("0") + "s" if milliseconds > 1000 else f"{milliseconds}ms"
    rest, parts = milliseconds // 1000, []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_SECONDS[unit]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size(text: str | int) -> int:
    """Bytes from ``"512MiB"``, ``"10MB"`` or a plain number of bytes.

    Raises:
        ValueError: if the text is none of these; the message says what is allowed.
    """
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.fullmatch(str(text).strip())
    unit = match[2].lower() if match else "?"
    if match is None or unit not in _BYTES:
        raise ValueError(f'{text!r} is not a size: write it like "64KiB", "500MiB" or "2GB"')
    return round(float(match[1]) * _BYTES[unit])


def format_size(size: int) -> str:
    """The largest binary unit that divides the size exactly: ``524288000`` gives ``"500MiB"``."""
    for unit, factor in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def parse_dollars(text: object) -> "Decimal":
    """US dollars from ``"0.10"`` or a whole number.

    Raises:
        ValueError: if it is none of these, or negative; the message says what is allowed.
    """
    from decimal import Decimal, InvalidOperation

    if isinstance(text, float):
        raise ValueError(f'{text!r} is not exact: write it in quotes, like "{text!r}"')  # noqa: TRY004
    try:
        dollars = Decimal(str(text))
    except InvalidOperation:
        dollars = Decimal("NaN")
    if isinstance(text, bool) or not dollars.is_finite() or not 0 <= dollars <= _MOST_DOLLARS:
        raise ValueError(f'{text!r} is not an amount: write US dollars in quotes, like "0.10"')
    return dollars


def format_dollars(dollars: "Decimal") -> str:
    """All its digits and no more: ``Decimal("1.50")`` gives ``"1.5"``."""
    return f"{dollars.normalize():f}"
