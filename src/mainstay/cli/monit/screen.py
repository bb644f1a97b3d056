"""How is a terminal taken, drawn on, and given back as it was?"""

import os
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

__all__ = ["Screen", "keys"]

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"  # the other screen; no cursor; nothing wraps
_LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_ESCAPED: Final = {
    "[A": "up", "OA": "up", "[B": "down", "OB": "down", "[5~": "page up", "[6~": "page down",
    "[H": "home", "OH": "home", "[1~": "home", "[F": "end", "OF": "end", "[4~": "end",
}  # fmt: skip
_LOCAL, _WHEN = 3, 6


class Screen:
    """The terminal of this process.

    Args:
        source: where keys come from.
        target: what is drawn on.
    """

    def __init__(self, source: int = 0, target: int = 1) -> None:
        self.source = source
        self._target = target
        self._before = termios.tcgetattr(source)
        self._drawn: list[str] = []
        self._taken = False

    @contextmanager
    def taken(self) -> Iterator[None]:
        """It is ours within the block, and as it was afterwards, however that ends."""
        try:
            self.take()
            yield
        finally:
            with suppress(OSError, termios.error):  # it is gone
                self.give_back()

    def take(self) -> None:
        """Keys come at once and are not shown, Ctrl-C and Ctrl-Z stay signals; what was on the screen is kept."""
        self._taken = True
        ours = termios.tcgetattr(self.source)
        ours[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
        ours[_WHEN][termios.VMIN], ours[_WHEN][termios.VTIME] = 1, 0
        termios.tcsetattr(self.source, termios.TCSADRAIN, ours)
        self._write(_ENTER)
        self._drawn = []

    def give_back(self) -> None:
        """As it was."""
        if self._taken:
            self._taken = False
            self._write(_LEAVE)
            termios.tcsetattr(self.source, termios.TCSADRAIN, self._before)

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        columns, rows = os.get_terminal_size(self._target)
        return columns or 80, rows or 24

    def clear(self) -> None:
        """Draw everything the next time: it has another size, or somebody else has drawn on it."""
        self._drawn = []

    def draw(self, rows: Sequence[str]) -> None:
        """Draw what has changed."""
        text = "" if self._drawn else "\x1b[2J"
        for number, row in enumerate(rows):
            if number >= len(self._drawn) or row != self._drawn[number]:
                text += f"\x1b[{number + 1};1H{row}"
        self._drawn = list(rows)
        self._write(text)

    def _write(self, text: str) -> None:
        rest = text.encode(sys.stdout.encoding or "utf-8", "replace")
        while rest:
            rest = rest[os.write(self._target, rest) :]


def keys(data: bytes) -> Iterator[str]:
    """The keys in what a terminal has sent: letters as they are, others by their names."""
    text = data.decode("utf-8", "replace")
    while text:
        found = next((each for each in _ESCAPED if text.startswith(f"\x1b{each}")), None)
        if found is not None:
            yield _ESCAPED[found]
            text = text[1 + len(found) :]
            continue
        yield {"\x1b": "escape", "\r": "enter", "\n": "enter"}.get(text[0], text[0])
        text = text[1:]
