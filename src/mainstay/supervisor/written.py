"""How are the settings written that several parts of an app have?"""

import shlex
from collections.abc import Sequence

from mainstay.units import parse_duration

__all__ = ["delay", "whole", "words"]


def whole(written: object, least: int, what: str) -> int:
    """A number of things. Raises ValueError."""
    number = int(str(written))
    if isinstance(written, bool) or number < least:
        raise ValueError(f"{written!r} is no number of {what}: write a whole number, {least} or more")
    return number


def words(written: object) -> tuple[str, ...]:
    """The words of a command. Raises ValueError."""
    try:
        found = shlex.split(written) if isinstance(written, str) else written
    except ValueError as error:
        raise ValueError(f"{written!r} can not be split into words: {error}") from None
    if not isinstance(found, Sequence) or not any(found[:1]) or not all(isinstance(word, str) for word in found):
        raise ValueError(f'{written!r} is not a command: write it like "mainstay serve" or ["mainstay", "serve"]')
    return tuple(found)


def delay(written: object) -> float:
    """Unlike other durations it may be zero. Raises ValueError."""
    return parse_duration(written if isinstance(written, int | float) else str(written))
