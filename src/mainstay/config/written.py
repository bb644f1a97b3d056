"""What may be written into ``mainstay.toml``, told to editors and to readers?

Both the JSON Schema and the reference page are made from the declarations of the rooms.
"""

import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING
from decimal import Decimal
from typing import Any, Final

from mainstay.config.env import names_of
from mainstay.config.schema import SECTIONS, Key, Section
from mainstay.config.show import as_written
from mainstay.settings import Secret

__all__ = ["json_schema", "settings_page"]

_PLAIN: Final = {bool: "boolean", int: "integer", float: "number", str: "string", Secret: "string"}
_DURATION: Final[dict[str, Any]] = {
    "type": ["string", "number"],
    "pattern": r"^( *\d+(\.\d+)?(ms|s|m|h|d))+ *$|^env:",
    "minimum": 0,
}
_SIZE: Final = {
    "type": ["string", "integer"],
    "pattern": r"^\d+(\.\d+)? *([KkMmGg]?[Ii]?[Bb]?)$|^env:",
    "minimum": 0,
}
_NAME: Final = "^[A-Za-z][A-Za-z0-9_-]{0,62}$"
_PREAMBLE: Final = """\
# Settings

<!-- Written by `make reference` from the declarations in the code. -->

A value comes from, the strongest first: a flag, the environment, `.env` beside the file, `mainstay.toml`, the
default. `mainstay config show` tells each value's origin. A value written as `env:NAME` is taken from that
variable. A variable that is set and empty counts as not set.

Every setting can be set by `MAINSTAY_SECTION_KEY`; in a section of many tables by `MAINSTAY_SECTION_NAME_KEY`, with
`-` written as `_`; those of a table within a table only in the file. Other variables that set it are listed with
it; those of channels belong to the channel named `feishu`. `MAINSTAY_HOME` moves the home, which is `.mainstay`
beside the file.

Durations are written like `500ms`, `30s`, `5m`, `1h30m`; sizes like `64KiB`, `500MiB`."""
_OWNED: Final = {"models": "primary", "agents": "manager", "mcp": "name", "channels": "feishu"}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of the file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "mainstay.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _tables_schema(section) if section.kinds else _section_schema(section)
            for name, section in SECTIONS.items()
        },
    }


def _section_schema(section: Section) -> dict[str, Any]:
    inner = {name: _section_schema(table) for name, table in section.tables.items()}
    table = {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _key_schema(key) for name, key in section.keys.items()} | inner,
    }
    if not section.named:
        return table
    return {"type": "object", "additionalProperties": False, "patternProperties": {_NAME: table}}


def _tables_schema(section: Section) -> dict[str, Any]:
    """Of a section whose tables differ by their kind."""
    kinds = [_section_schema(each)["patternProperties"][_NAME] for each in section.of_kinds().values()]
    return {"type": "object", "additionalProperties": False, "patternProperties": {_NAME: {"anyOf": kinds}}}


def _key_schema(key: Key) -> dict[str, Any]:
    about: dict[str, Any] = {"description": key.info.help}
    default = as_written(key.default, key) if key.default is not MISSING else None
    if default not in (None, "", [], {}):
        about["default"] = default
    return about | _type_schema(key)


def _type_schema(key: Key) -> dict[str, Any]:
    if key.info.unit:
        return _DURATION if key.info.unit == "s" else _SIZE
    if key.choices:
        words: list[object] = list(key.choices)
        return {"enum": words + [word == "true" for word in words if word in ("true", "false")]}
    if key.kind in (str, Secret):
        return {"type": "string"}
    if key.kind is Decimal:
        return {"type": ["string", "integer"], "minimum": 0}
    if key.kind in _PLAIN:
        return {"type": [_PLAIN[key.kind], "string"], "pattern": "^env:"}
    if key.is_table:
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if _is_texts(key):
        return {"type": "array", "items": {"type": "string"}, "uniqueItems": True}
    return {}


def _is_texts(key: Key) -> bool:
    return typing.get_origin(key.kind) is tuple and typing.get_args(key.kind)[0] is str


def settings_page() -> str:
    """``docs/reference/settings.md``."""
    return "\n".join(_page()) + "\n"


def _page() -> Iterator[str]:
    yield _PREAMBLE
    for kind, section in ((kind, of) for each in SECTIONS.values() for kind, of in each.of_kinds().items()):
        yield ""
        head = f"## `[{section.name}.NAME]`" if section.named else f"## `[{section.name}]`"
        yield f'{head} with `kind = "{kind}"`' if kind else head
        yield ""
        if about := _about(section):
            yield about
            yield ""
        yield "| key | type | default | also set by | meaning |"
        yield "|---|---|---|---|---|"
        for key in section.keys.values():
            yield _row(section, key)
        yield from _inner(section)


def _inner(section: Section) -> Iterator[str]:
    """The tables within its tables; those with the same settings at once."""
    alike: dict[type, list[str]] = {}
    for name, table in section.tables.items():
        alike.setdefault(table.settings, []).append(name)
    for names in alike.values():
        table = section.tables[names[0]]
        yield from ("", "## " + ", ".join(f"`[{section.name}.NAME.{name}]`" for name in names), "")
        yield from (_about(table), "", "| key | type | default | meaning |", "|---|---|---|---|")
        for key in table.keys.values():
            yield _line(f"`{key.name}`", _type_name(key), _default(key), key.info.help)


def _about(section: Section) -> str:
    """The first line of the dataclass, without the name of the section, which stands above it."""
    line = (inspect.getdoc(section.settings) or "").partition("\n")[0]
    line = re.sub(r"^(The section )?``\[.*?\]``[:.] ?", "", line).replace("``", "`")
    return line[:1].upper() + line[1:]


def _row(section: Section, key: Key) -> str:
    _, *variables = names_of(section, _OWNED.get(section.name, ""), key)
    also = " ".join(f"`{name}`" for name in variables)
    return _line(f"`{key.name}`", _type_name(key), _default(key), also, key.info.help)


def _line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_name(key: Key) -> str:
    if key.info.unit:
        return "duration" if key.info.unit == "s" else "size"
    if key.choices:
        return ", ".join(f"`{choice}`" for choice in key.choices)
    if key.kind is Secret:
        return "secret text"
    if key.is_table:
        return "table of texts"
    names = {
        bool: "`true`, `false`",
        int: "whole number",
        float: "number",
        str: "text",
        Decimal: "exact number in quotes",
    }
    return names.get(key.kind, "list of texts" if _is_texts(key) else "see the meaning")


def _default(key: Key) -> str:
    default = as_written(key.default, key) if key.default is not MISSING else None
    if default in (None, "", [], {}):
        return ""
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
