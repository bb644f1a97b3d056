"""Output whose every line is known, so that one can tell what became of it."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

from mainstay.supervisor.output.asides import asides

_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ")


def line(number: int) -> bytes:
    """Of many lengths, some longer than a page, some with text of three bytes a character."""
    length = 9000 if number % 997 == 0 else number * 7919 % 90
    return f"{number} {'日志'[number % 2] * length} {number}\n".encode()


def files(log: Path) -> Iterator[bytes]:
    """What was written to a log, file by file."""
    for aside in asides(log):
        yield gzip.decompress(aside.path.read_bytes()) if aside.compressed else aside.path.read_bytes()
    if log.exists():
        yield log.read_bytes()


def numbers(log: Path, *, stamps: bool = False) -> list[int]:
    """The numbers of the lines, each of which has to be whole and as it was; no file may end within one."""
    found = []
    for text in files(log):
        assert text == b"" or text.endswith(b"\n"), f"a line is cut: {text[-60:]!r}"
        for each in text.splitlines(keepends=True):
            if stamps:
                stamp = _STAMP.match(each)
                assert stamp, each[:60]
                each = each[stamp.end() :]
            number = int(each.split(b" ", 1)[0])
            assert each == line(number), each[:60]
            found.append(number)
    return found
