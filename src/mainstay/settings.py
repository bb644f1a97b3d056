"""How is a setting declared, once, in the room that owns it?

A room's ``model.py`` holds a frozen dataclass whose fields are made by `setting`. The dataclass is what the room
takes; the metadata is what `mainstay.config` reads to parse files, environment and flags, to explain errors, to
print ``mainstay config show``, and to write the reference. Nothing is said twice.
"""

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass
from typing import Any, Final

from mainstay.units import parse_duration, parse_size

__all__ = [
    "SETTING",
    "Secret",
    "SettingInfo",
    "address_flaw",
    "duration",
    "is_sendable",
    "setting",
    "share",
    "size",
    "texts",
    "variables",
]

SETTING: Final = "mainstay.setting"
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Secret:
    """A text that never shows: ``repr``, ``str`` and formats give ``***``; only `reveal` gives the value.

    Not a ``str``, so that no serializer, join or concatenation lets it out by accident.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str = "") -> None:
        self._value = value

    def __repr__(self) -> str:
        return "***" if self._value else "''"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        from hmac import compare_digest  # 4 MB of memory, which not everybody has to have who has settings

        return isinstance(other, Secret) and compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInfo:
    """What there is to know about a setting besides its name and type.

    Attributes:
        help: one sentence for the reference and for error messages.
        unit: ``"s"`` (written as a duration), ``"bytes"`` (written as a size), or empty.
        parse: turns what was written into the value; raises ValueError saying what is allowed.
        choices: the allowed values, if they can be listed.
        env: environment variables that set it, in order; `config` adds ``MAINSTAY_SECTION_KEY`` itself.
    """

    help: str
    unit: str = ""
    parse: Callable[[Any], Any] | None = None
    choices: tuple[str, ...] = ()
    env: tuple[str, ...] = ()


def setting(
    default: Any = MISSING,  # noqa: ANN401  as dataclasses.field: the field's annotation is the type
    *,
    help: str,
    unit: str = "",
    parse: Callable[[Any], Any] | None = None,
    choices: tuple[str, ...] = (),
    env: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401
    """A dataclass field that is a setting; without a default it must be given. See `SettingInfo`."""
    info = SettingInfo(help=help, unit=unit, parse=parse, choices=choices, env=env)
    metadata: Mapping[str, SettingInfo] = {SETTING: info}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def duration(default: str, *, help: str, env: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    """A setting in seconds, written like ``"30s"``."""
    return setting(parse_duration(default), help=help, unit="s", parse=parse_duration, env=env)


def size(default: str, *, help: str, env: tuple[str, ...] = ()) -> Any:  # noqa: ANN401
    """A setting in bytes, written like ``"1MiB"``."""
    return setting(parse_size(default), help=help, unit="bytes", parse=parse_size, env=env)


def share(default: float, *, help: str) -> Any:  # noqa: ANN401
    """A setting that is a part of the whole: above 0, and 1 at most."""
    return setting(default, help=help, parse=_share)


def address_flaw(url: str, example: str, instead: str) -> str:
    """Why no request can be sent there, or must not; empty if one can. ``instead``: where a secret belongs."""
    from urllib.parse import urlsplit

    try:
        address = urlsplit(url)
        usable = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        personal = "@" in address.netloc
    except ValueError:
        usable = personal = False
    if not usable or any(char.isspace() for char in url):
        return f'is not an address; write it like "{example}"'
    return f"holds a user or a password; use {instead}" if personal else ""


def is_sendable(text: str) -> bool:
    """Whether it can be a header of a request, as keys and tokens are."""
    return text.isascii() and (text.isprintable() or not text)


def variables(written: object) -> dict[str, Secret | str]:
    """The environment variables of a program, from a table of texts. Raises ValueError."""
    return texts(written, _VARIABLE, "a variable", never="\0")


def texts(
    written: object, name_of: re.Pattern[str], what: str, *, never: str = "\r\n\0"
) -> dict[str, Secret | str]:
    """A table of texts; what was written as ``env:NAME`` comes as a `Secret`.

    Args:
        written: what the file has there.
        name_of: how a name looks.
        what: is named so.
        never: characters that no value may have.

    Raises:
        ValueError: says what is allowed.
    """
    if not isinstance(written, Mapping):
        raise ValueError('write a table of texts, like { NAME = "env:VARIABLE" }')  # noqa: TRY004
    for name, value in written.items():
        if not isinstance(name, str) or not name_of.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of {what}")
        if not isinstance(value, str | Secret):
            raise ValueError(f"{name} must be text in quotes")  # noqa: TRY004
        plain = value.reveal() if isinstance(value, Secret) else value
        if any(char in plain for char in never):
            raise ValueError(f"{name} has a line break or a NUL in it")
    return dict(written)


def _share(written: object) -> float:
    part = float(str(written))
    if not 0 < part <= 1:
        raise ValueError(f"{written!r} is not a share of the whole: write a number above 0 and up to 1, like 0.2")
    return part
