"""How is an app written into ``mainstay.toml``?"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

__all__ = ["app_table"]

Value = str | int | float | bool | Sequence[str] | Sequence[int]

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def app_table(name: str, settings: Mapping[str, Value | Mapping[str, str]]) -> str:
    """The table ``[apps.NAME]``, and those within it, which come last."""
    return "\n".join(_lines(f"apps.{_key(name)}", settings)) + "\n"


def _lines(name: str, settings: Mapping[str, Value | Mapping[str, str]]) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in settings.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield ""
            yield from _lines(f"{name}.{_key(key)}", value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _text(key)


def _value(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return _text(value)
    return str(value) if isinstance(value, int | float) else f"[{', '.join(map(_value, value))}]"


def _text(text: str) -> str:
    """JSON's escapes are TOML's, but for the DEL and halves of characters, which JSON lets through."""
    whole = text.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
