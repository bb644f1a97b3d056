"""Does what was written fit the setting?

Files carry types, environment variables and flags carry text; both end as the value that the room's dataclass
declares, or as a `ValueError` that says what is allowed.
"""

import math
import typing
from collections.abc import Iterable
from typing import Any, Final

from mainstay.config.schema import Key
from mainstay.errors import nearest
from mainstay.settings import Secret
from mainstay.units import parse_duration, parse_size

__all__ = ["fit"]

_YES: Final = ("true", "yes", "on", "1")
_NO: Final = ("false", "no", "off", "0")
_MOST: Final = 2**31 - 1
_EXAMPLES: Final = {bool: "true or false", int: "a whole number", float: "a number", str: "text in quotes"}


def fit(written: object, key: Key) -> object:
    """The setting's value from what a file (typed) or an environment variable or flag (text) says.

    Raises:
        ValueError: if it does not fit; the message says what is allowed, and holds no secret.
    """
    if key.kind is Secret:
        if not isinstance(written, str):
            raise ValueError("must be text in quotes, best written as env:NAME")
        return Secret(written)
    if isinstance(written, bool) and str(written).lower() in key.choices:
        written = str(written).lower()
    plain = written if key.info.unit else _plain(written, key)
    value = _parsed(plain, key) if key.info.parse else plain
    if key.choices and value not in key.choices:
        allowed = ", ".join(key.choices)
        raise ValueError(f"{written!r} is not one of {allowed}{_close(str(written), key.choices)}")
    _in_range(value, key)
    return value


def _close(wrong: str, choices: Iterable[str]) -> str:
    hint = nearest(wrong, choices)
    return hint if hint.startswith("; did") else ""


def _plain(written: object, key: Key) -> object:
    """The written value in the setting's own type; what only the room's parser understands stays as it is."""
    if key.kind in (bool, int, float, str):
        return _scalar(written, key.kind)
    if typing.get_origin(key.kind) is typing.Literal:
        return _scalar(written, str)
    if typing.get_origin(key.kind) is tuple and (isinstance(written, str) or not key.info.parse):
        return _texts(written)
    return written


def _scalar(written: object, kind: Any) -> object:  # noqa: ANN401  one of four types
    if isinstance(written, str) and kind is not str:
        return _from_text(written, kind)
    if kind is float and isinstance(written, int) and not isinstance(written, bool):
        return float(written)
    if not isinstance(written, kind) or (kind is int and isinstance(written, bool)):
        raise ValueError(f"must be {_EXAMPLES[kind]}, not {_as_toml(written)}")
    return written


def _as_toml(written: object) -> str:
    return str(written).lower() if isinstance(written, bool) else repr(written)


def _from_text(text: str, kind: Any) -> object:  # noqa: ANN401  one of three types
    text = text.strip()
    if kind is bool:
        if text.lower() not in _YES + _NO:
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() in _YES
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {_EXAMPLES[kind]}") from None


def _texts(written: object) -> tuple[str, ...]:
    if isinstance(written, str):
        return tuple(part.strip() for part in written.split(",") if part.strip())
    if not isinstance(written, list) or not all(isinstance(each, str) for each in written):
        raise ValueError(f'must be a list of texts, like ["a", "b"], not {written!r}')
    if len(set(written)) != len(written):
        raise ValueError(f"names the same thing twice: {', '.join(written)}")
    return tuple(written)


def _parsed(value: object, key: Key) -> object:
    parse = key.info.parse
    assert parse is not None
    try:
        return parse(value)
    except (TypeError, AttributeError, OverflowError):
        raise ValueError(f"{value!r} can not be read; {key.info.help}") from None


def _in_range(value: object, key: Key) -> None:
    """What holds for every number whose room has no parser of its own to say otherwise."""
    if key.info.parse not in (None, parse_duration, parse_size):
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{value!r} must be finite and not negative")
    counted = key.kind is int or bool(key.info.unit)
    if key.kind is int and not key.info.unit and value > _MOST:
        raise ValueError(f"{value!r} is more than anybody can mean: {_MOST} at most")
    if value == 0 and counted and key.default != 0:
        raise ValueError("must be more than 0")
