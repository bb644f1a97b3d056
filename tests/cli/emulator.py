"""A terminal: enough of one to know what a program has drawn on it, and how it has left it."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

DEADLINE_S = 60.0
_PARTS = re.compile(r"\x1b\[(\??)([\d;]*)([A-Za-z])|([\s\S])")
_OTHER_SCREEN, _CURSOR, _WRAPS = "1049", "25", "7"


class Screen:
    """What is seen after some bytes."""

    def __init__(self, columns: int, rows: int) -> None:
        self.columns = columns
        self.modes = {_OTHER_SCREEN: "l", _CURSOR: "h", _WRAPS: "h"}
        self._cells = [[" "] * columns for _ in range(rows)]
        self._row = self._column = 0
        self._rest = ""

    @property
    def rows(self) -> list[str]:
        return ["".join(row).rstrip() for row in self._cells]

    @property
    def is_restored(self) -> bool:
        return self.modes == {_OTHER_SCREEN: "l", _CURSOR: "h", _WRAPS: "h"}

    def feed(self, text: str) -> None:
        text = self._rest + text
        cut = text.rfind("\x1b", max(0, len(text) - 12))
        whole = cut < 0 or re.match(r"\x1b\[\??[\d;]*[A-Za-z]", text[cut:])
        text, self._rest = (text, "") if whole else (text[:cut], text[cut:])
        for private, number, action, char in _PARTS.findall(text):
            if char:
                self._write(char)
            elif private:
                self.modes[number] = action
            elif action == "H":
                row, column = (number or "1;1").split(";")
                self._row, self._column = int(row) - 1, int(column) - 1
            elif action == "J":
                self._cells = [[" "] * self.columns for _ in self._cells]

    def _write(self, char: str) -> None:
        if char == "\n":
            self._row += 1
            if self._row == len(self._cells):
                self._cells = [*self._cells[1:], [" "] * self.columns]
                self._row -= 1
        elif char == "\r":
            self._column = 0
        else:
            wide = 2 if unicodedata.east_asian_width(char) in "WF" else 1
            if self._column + wide <= self.columns and self._row < len(self._cells):
                self._cells[self._row][self._column : self._column + wide] = [char, *[""] * (wide - 1)]
            self._column += wide


class Terminal:
    """A program on a real pseudo-terminal."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        self._ours, theirs = os.openpty()
        self.screen = Screen(columns, rows)
        self.resize(columns, rows)
        self._before = termios.tcgetattr(theirs)
        self._theirs = theirs
        # In a group of its own, but in the session of the tests: what has nobody above it can not be stopped.
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs, process_group=0
        )

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        before, self.screen = self.screen, Screen(columns, rows)
        self.screen.modes = before.modes

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """The screen, once that is seen on it."""
        until_s = time.monotonic() + DEADLINE_S
        while not holds(self.screen.rows):
            assert time.monotonic() < until_s, "\n".join(self.screen.rows)
            self._read(0.1)
        return self.screen.rows

    def sees(self, text: str) -> list[str]:
        return self.until(lambda rows: any(text in row for row in rows))

    def wait(self) -> int:
        """Until it has ended; what it says until then is read."""
        until_s = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < until_s
            self._read(0.1)
        while self._read(0.0):
            pass
        return self.process.returncode

    def interrupted(self) -> int:
        """Press Ctrl-C until it ends: the interpreter misses one that comes just as it begins to read a line."""
        until_s = time.monotonic() + DEADLINE_S
        while self.process.poll() is None:
            assert time.monotonic() < until_s
            self.process.send_signal(signal.SIGINT)
            again_s = time.monotonic() + 3.0
            while self.process.poll() is None and time.monotonic() < again_s:
                self._read(0.1)
        return self.process.returncode

    def stopped(self) -> None:
        """Until it is stopped, as by Ctrl-Z."""
        until_s = time.monotonic() + DEADLINE_S
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < until_s
            self._read(0.05)
        while self._read(0.0):
            pass

    @property
    def is_restored(self) -> bool:
        return self.screen.is_restored and termios.tcgetattr(self._theirs) == self._before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self, within_s: float) -> bool:
        readable, _, _ = select.select([self._ours], [], [], within_s)
        if readable:
            self.screen.feed(os.read(self._ours, 1 << 16).decode())
        return bool(readable)
