"""What does the file say, and on which line?

`tomllib` gives values without places. A valid document is therefore cut into its statements, each of which is
parsed once more on its own: that gives the line of every key without a second TOML parser.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mainstay.errors import ConfigError

__all__ = ["Document", "read_text", "read_toml"]

_PLACE: Final = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}' r"|'''.*?'{3,5}" r'|"(?:\\.|[^"\\\n])*"' r"|'[^'\n]*'" r"|#[^\n]*|.", re.DOTALL
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A parsed file. ``lines`` has the line of each table and key, by its path."""

    name: str
    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    def place(self, *path: str) -> str:
        """``"mainstay.toml:12"``: where this key, or the table around it, is written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name


def read_text(path: Path) -> str:
    """The file as text.

    Raises:
        ConfigError: if it can not be read or is not UTF-8.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = "is a directory, not a file" if path.is_dir() else f"can not be read: {error.strerror}"
        raise ConfigError(f"{path.name}: {reason} ({path})") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path.name}:{line}: is not UTF-8 text; save the file with that encoding") from None


def read_toml(path: Path) -> Document:
    """Parse the file and find its keys.

    Raises:
        ConfigError: if it can not be read or is not TOML; names the line.
    """
    text = read_text(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        line = (place[1] if place else None) or text.rstrip().count("\n") + 1
        what = _PLACE.sub("", message)
        raise ConfigError(f"{path.name}:{line}: is not valid TOML: {what}") from None
    except RecursionError:
        raise ConfigError(f"{path.name}: is nested too deeply") from None
    return Document(name=path.name, data=data, lines=_locate(text))


def _locate(text: str) -> dict[tuple[str, ...], int]:
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for statement, line in _statements(text):
        paths = list(_paths(tomllib.loads(statement)))
        if statement.startswith("["):
            table = max(paths, key=len)
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], line)
        else:
            for path in paths:
                lines.setdefault(table + path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[str, int]]:
    """The headers and assignments of a valid document, each with the line that it begins on."""
    parts: list[str] = []
    line = began = 1
    depth = 0
    for token in _TOKEN.findall(text.replace("\r\n", "\n") + "\n"):
        if token == "\n" and depth == 0:  # noqa: S105  not a password
            statement = "".join(parts).strip()
            if statement and not statement.startswith("#"):
                yield statement, began
            parts.clear()
        elif parts or not token.isspace():
            began = began if parts else line
            parts.append(token)
            depth += (token in ("[", "{")) - (token in ("]", "}"))
        line += token.count("\n")


def _paths(value: object, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1]
    if prefix:
        yield prefix
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _paths(inner, (*prefix, key))
