"""What may be drawn on this terminal, and how?

`Growing` shows a text that grows and may be replaced: on a terminal it is drawn over itself, elsewhere only what is
new is written. Colours keep to https://no-color.org. What a bot says is data: control characters are escaped, so
that an answer can not drive the terminal.
"""

import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TextIO

from mainstay.logs.escape import escape

__all__ = ["DIM", "Growing", "coloured", "cut", "dim", "safe", "shows_colours", "table", "width"]

DIM: Final = "2"
"""See `coloured`."""

Paint = Callable[[str], str]
_WIDTHLESS: Final = frozenset({"Mn", "Me", "Cf"})


def dim(text: str, stream: TextIO) -> str:
    """The text in a fainter colour, where the stream shows colours."""
    return coloured(text, DIM) if shows_colours(stream) else text


def coloured(text: str, colour: str) -> str:
    """The text in a colour, which is written as terminals read it (SGR, ECMA-48): ``"32"`` is green."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour and text else text


def shows_colours(stream: TextIO) -> bool:
    """Whether colours may be written there."""
    return _is_drawable(stream) and not os.environ.get("NO_COLOR")


def _is_drawable(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def safe(text: str) -> str:
    """The text with its line breaks, and without anything else that moves the cursor."""
    return "\n".join(escape(line.replace("\t", "    ")) for line in text.splitlines())


def table(rows: Sequence[Sequence[str]], *, paint: Mapping[int, Paint] | None = None) -> str:
    """Rows as columns, the first row as their heads; columns of numbers are right-aligned.

    Args:
        rows: what is in them.
        paint: gives, by the number of the column, the colour that a cell is shown in, see `coloured`.
    """
    columns = [_aligned([safe(cell).replace("\n", " ") for cell in column]) for column in zip(*rows, strict=True)]
    for number, colour in (paint or {}).items():
        head, *cells = columns[number]
        columns[number] = [head, *(_painted(cell, colour) for cell in cells)]
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def _painted(cell: str, colour: Paint) -> str:
    text = cell.strip()
    return cell.replace(text, coloured(text, colour(text)), 1) if text else cell


def _aligned(cells: Sequence[str]) -> list[str]:
    widest = max(map(width, cells))
    numbers = all(cell[:1].isdigit() or cell == "-" for cell in cells[1:])
    pads = [" " * (widest - width(cell)) for cell in cells]
    return [pad + cell if numbers else cell + pad for cell, pad in zip(cells, pads, strict=True)]


def width(text: str) -> int:
    """How many columns of a terminal it takes."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in _WIDTHLESS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """The text, in so many columns: what is longer ends with ``…``, what is shorter with blanks."""
    if (taken := width(text)) <= columns:
        return text + " " * (columns - taken)
    if columns <= 0:
        return ""
    kept, taken = [], 1
    for char in text:
        taken += _columns(char)
        if taken > columns:
            break
        kept.append(char)
    kept.append("…")
    short = "".join(kept)
    return short + " " * (columns - width(short))


class Growing:
    """One answer, as it comes in."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._live = _is_drawable(self._stream)
        self._shown = ""
        self._rows = 0

    def show(self, text: str, status: str = "") -> None:
        """The answer so far, and one line about what is going on; that line is shown on terminals only."""
        if self._live:
            self._draw(text, safe(status))
        else:
            self._append(safe(text))

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
        """The end of the text that fits, so that it can be taken back whole.

        Only that is laid out: a long answer comes in many pieces.
        """
        columns, lines = shutil.get_terminal_size()
        rows = [dim(next(_wrapped(status, columns)), self._stream)] if status else []
        for line in reversed(text.splitlines()):
            if len(rows) >= lines - 1:
                break
            rows[:0] = _wrapped(safe(line), columns)
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
    row, taken = "", 0
    for char in line:
        wide = _columns(char)
        if taken + wide > columns:
            yield row
            row, taken = "", 0
        row, taken = row + char, taken + wide
    yield row
