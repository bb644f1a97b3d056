"""Where does each line of a log begin and end, what time does it have, and how is it shown?

Lines of any length pass through; what is kept of one is bounded.
"""

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from mainstay.clock import iso
from mainstay.supervisor.output.model import LONGEST, Line

__all__ = ["Splitter", "as_json", "as_text", "start_of_last", "time_of"]

_BLOCK: Final = 64 * 1024
_MOMENT: Final = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"
# At the beginning, or the value of one of the usual keys of a JSON line.
_TIME: Final = re.compile(
    rb"\[?(" + _MOMENT + rb")|\{.{0,200}?\"(?:at|time|timestamp|@timestamp|ts)\" ?: ?\"(" + _MOMENT + rb")\""
)


class Splitter:
    """Cuts what is fed to it into lines."""

    def __init__(self) -> None:
        self._kept = b""
        self._omitted = 0

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """The lines that end in it, each with how many bytes of it were left out."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            self._add(part)
            yield self._take()
        self._add(rest)

    def rest(self) -> Iterator[tuple[bytes, int]]:
        """The line that has begun, if one has; it counts as ended."""
        if self._kept or self._omitted:
            yield self._take()

    def _add(self, part: bytes) -> None:
        room = LONGEST - len(self._kept)
        self._kept += part[:room]
        self._omitted += max(0, len(part) - room)

    def _take(self) -> tuple[bytes, int]:
        line = self._kept, self._omitted
        self._kept, self._omitted = b"", 0
        return line


def start_of_last(fd: int, count: int, end: int) -> int:
    """Where the last ``count`` lines before ``end`` begin; the last one need not have ended."""
    if not count:
        return end
    at, wanted = end, count
    if end and os.pread(fd, 1, end - 1) == b"\n":
        wanted += 1
    while at > 0:
        begin = max(0, at - _BLOCK)
        block = os.pread(fd, at - begin, begin)
        newlines = block.count(b"\n")
        if newlines >= wanted:
            found = len(block)
            for _ in range(wanted):
                found = block.rindex(b"\n", 0, found)
            return begin + found + 1
        wanted -= newlines
        at = begin
    return 0


def time_of(text: bytes) -> datetime | None:
    """When the line says it was written, if it does, with a time zone: where a timestamp is put, or in JSON."""
    match = _TIME.match(text, 0, 300)
    if match is None:
        return None
    try:
        moment = datetime.fromisoformat((match[1] or match[2]).decode().replace(",", "."))
    except ValueError:
        return None
    return moment.astimezone(UTC)


def as_text(line: Line) -> bytes:
    """What it says; and that it is longer, if it is."""
    return line.text + f" […{line.omitted} bytes more]".encode() if line.omitted else line.text


def as_json(line: Line) -> str:
    r"""One JSON object on one line; bytes that are no text are written like ``\xff``."""
    fields: dict[str, object] = {
        "app": line.source.app,
        "instance": line.source.number,
        "stream": str(line.source.stream),
        "line": line.text.decode(errors="backslashreplace"),
    }
    if line.at is not None:
        fields["time"] = iso(line.at)
    if line.omitted:
        fields["omitted"] = line.omitted
    if line.missed:
        fields["missed"] = line.missed
    return json.dumps(fields, ensure_ascii=False)
