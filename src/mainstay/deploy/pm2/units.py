"""How does PM2 write numbers, times, sizes and lists of words?

Each of these raises ValueError, saying what PM2 allows.
"""

import json
import re
from typing import Final

from mainstay.units import format_duration, format_size

__all__ = [
    "as_bool",
    "as_milliseconds",
    "as_number",
    "as_size",
    "as_text",
    "as_variable",
    "as_whole",
    "as_words",
    "shown_ms",
]

_SIZE: Final = {"G": 1024**3, "M": 1024**2, "K": 1024}
_WORD: Final = re.compile(r"""[^\s"'=]+=(?:"[^"]*"|'[^']*')|"[^"]*"|'[^']*'|\S+""")
"""PM2 keeps the quotes behind a ``=``, so they are part of what the program gets."""
_TIME_MS: Final = {"h": 3_600_000, "m": 60_000, "s": 1000}


def as_number(written: object) -> float:
    """A number, also as text."""
    if isinstance(written, int | float) and not isinstance(written, bool):
        return written
    try:
        return float(str(written)) if isinstance(written, str) else float("nan")
    except ValueError:
        raise ValueError(f"{written!r} is not a number") from None


def as_whole(written: object) -> int:
    """A whole number, also as text."""
    number = as_number(written)
    if number != number // 1:
        raise ValueError(f"{written!r} is not a whole number")
    return int(number)


def as_bool(written: object) -> bool:
    """True or false."""
    if not isinstance(written, bool):
        raise ValueError(f"{written!r} is neither true nor false")  # noqa: TRY004  all are ValueErrors
    return written


def as_text(written: object) -> str:
    """A text."""
    if not isinstance(written, str) or not written:
        raise ValueError(f"{written!r} is not a text")
    return written


def as_words(written: object) -> list[str]:
    """A list of words, or a text that is split into them: quotes count around a word, or behind its ``=``.

    Empty words are dropped: PM2 does so in a text, and not in a list.
    """
    if isinstance(written, list):
        return [as_variable(word) for word in written]
    words = _WORD.findall(as_text(written))
    bare = [word[1:-1] if word[0] == word[-1] and word[0] in "\"'" else word for word in words]
    return [word for word in bare if word.strip()]


def as_milliseconds(written: object) -> str:
    """A number of milliseconds, or a text like ``"10s"`` or ``"1h"``; as we write it."""
    found = re.fullmatch(r"(\d+)([hms])", written) if isinstance(written, str) else None
    number = int(found[1]) * _TIME_MS[found[2]] if found else as_number(written)
    if not number >= 0:
        raise ValueError(f'{written!r} is not a time: PM2 has milliseconds, or "10s", "5m" or "1h"')
    return shown_ms(number)


def shown_ms(milliseconds: float) -> str:
    """As we write it: ``1600`` gives ``"1600ms"``."""
    if milliseconds % 1000 and milliseconds == milliseconds // 1:
        return f"{int(milliseconds)}ms"
    return format_duration(milliseconds / 1000)


def as_size(written: object) -> str:
    """A number of bytes, or a text like ``"500M"``, which is 500 * 1024 * 1024; as we write it."""
    found = re.fullmatch(r"(\d+)([GMK]?)", str(written).strip())
    if not found or isinstance(written, bool):
        raise ValueError(f'{written!r} is not a size: PM2 has bytes, or "300K", "500M" or "1G"')
    return format_size(int(found[1]) * _SIZE.get(found[2], 1))


def as_variable(written: object) -> str:
    """The value of an environment variable, as node makes a text of it."""
    return written if isinstance(written, str) else json.dumps(written, ensure_ascii=False)
