"""How does a configuration look to the person who wrote it?

Each value in the form in which it is written in the file, with its origin. A secret is ``***``, or empty.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import cast

from mainstay.config.model import Config
from mainstay.config.schema import SECTIONS, Key, Section
from mainstay.logs.redact import redact, redact_fields
from mainstay.settings import Secret
from mainstay.units import format_duration, format_size

__all__ = ["Shown", "as_written", "settings"]

Written = str | int | float | bool | None | list["Written"] | dict[str, "Written"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting. ``key`` is ``"section.name"``; ``value`` holds plain JSON."""

    key: str
    value: Written
    origin: str

    @property
    def text(self) -> str:
        """The value in one line."""
        return _text(self.value)


def settings(config: Config) -> list[Shown]:
    """Every setting, in the order of the reference; the home first, which no file can set."""
    home = Shown("home", str(config.home), config.origin("home"))
    return [home, *_settings(config)]


def _settings(config: Config) -> Iterator[Shown]:
    for section in SECTIONS.values():
        configured = getattr(config, section.name)
        tables: Mapping[str, object] = configured if section.named else {"": configured}
        for name, table in tables.items():
            of = dataclasses.replace(section, settings=type(table))
            yield from _table(of, f"{section.name}.{name}" if name else section.name, table, config)


def _table(section: Section, prefix: str, table: object, config: Config) -> Iterator[Shown]:
    for key in section.keys.values():
        path = f"{prefix}.{key.name}"
        yield Shown(path, as_written(getattr(table, key.name), key), config.origin(path))
    for name, inner in section.tables.items():
        if (settings := getattr(table, name)) is not None:
            yield from _table(inner, f"{prefix}.{name}", settings, config)


def as_written(value: object, key: Key) -> Written:
    """The value in the form in which a file has it."""
    if isinstance(value, Secret):
        return "***" if value else ""
    if isinstance(value, int | float) and key.info.unit == "s":
        return format_duration(value)
    if isinstance(value, int) and key.info.unit == "bytes":
        return format_size(value)
    return _plain(value)


def _plain(value: object) -> Written:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Decimal | Path):
        return str(value)
    if isinstance(value, Mapping):
        # a secret prints as ***, and what is none by its type may be one by its name
        return cast("Written", redact_fields(value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return redact(str(value))


def _text(value: Written) -> str:
    match value:
        case None | "":
            return "-"
        case bool():
            return str(value).lower()
        case list():
            return ", ".join(map(_text, value)) or "-"
        case dict():
            return " ".join(f"{name}={_text(item)}" for name, item in value.items()) or "-"
        case _:
            return str(value)
