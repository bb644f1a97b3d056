"""What may be drawn on this terminal, and how?

`Growing` shows a text that grows and may be replaced: on a terminal it is drawn over itself, elsewhere only what is
new is written. Colours keep to https://no-color.org. What a bot says is data: control characters are escaped, so
that an answer can not drive the terminal.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final, TextIO

from mainstay.logs.lines import escape

__all__ = ["Growing", "dim", "safe", "table"]

_DIM: Final = "\x1b[2m{}\x1b[0m"


def dim(text: str, stream: TextIO) -> str:
    """The text in a fainter colour, where the stream shows colours."""
    return _DIM.format(text) if _is_drawable(stream) and not os.environ.get("NO_COLOR") else text


def _is_drawable(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def safe(text: str) -> str:
    """The text with its line breaks, and without anything else that moves the cursor."""
    return "\n".join(escape(line.replace("\t", "    ")) for line in text.splitlines())


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows as columns, the first row as their heads; columns of numbers are right-aligned."""
    columns = [_aligned([safe(cell).replace("\n", " ") for cell in column]) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def _aligned(cells: Sequence[str]) -> list[str]:
    width = max(map(_width, cells))
    numbers = all(cell[:1].isdigit() or cell == "-" for cell in cells[1:])
    pads = [" " * (width - _width(cell)) for cell in cells]
    return [pad + cell if numbers else cell + pad for cell, pad in zip(cells, pads, strict=True)]


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    combining = sum(unicodedata.combining(char) > 0 for char in text)
    return len(text) + wide - combining


class Growing:
    """One answer, as it comes in."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._live = _is_drawable(self._stream)
        self._shown = ""
        self._rows = 0

    def show(self, text: str, status: str = "") -> None:
        """The answer so far, and one line about what is going on; that line is shown on terminals only."""
        text = safe(text)
        if self._live:
            self._draw(text, safe(status))
        else:
            self._append(text)

    def end(self, text: str) -> None:
        """The answer is complete."""
        text = safe(text)
        if self._live:
            self._erase()
            self._write(f"{text}\n")
        else:
            self._append(text)
            self._write("\n")

    def _append(self, text: str) -> None:
        if text.startswith(self._shown):
            self._write(text[len(self._shown) :])
        elif text:
            self._write(f"\n\n[the answer starts again]\n{text}")
        self._shown = text

    def _draw(self, text: str, status: str) -> None:
        """The end of the text that fits, so that it can be taken back whole."""
        columns, lines = shutil.get_terminal_size()
        rows = [row for line in text.split("\n") for row in _wrapped(line, columns)] if text else []
        if status:
            rows.append(dim(next(_wrapped(status, columns)), self._stream))
        rows = rows[-(lines - 1) :]
        self._erase()
        self._write("".join(f"{row}\n" for row in rows))
        self._rows = len(rows)

    def _erase(self) -> None:
        if self._rows:
            self._write(f"\x1b[{self._rows}F\x1b[J")
        self._rows = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _wrapped(line: str, columns: int) -> Iterator[str]:
    row, width = "", 0
    for char in line:
        wide = _width(char)
        if width + wide > columns:
            yield row
            row, width = "", 0
        row, width = row + char, width + wide
    yield row
