"""How are the lines of logs shown?

For people with the name of the log in front, in a colour for each app where colours are shown; for programs as
JSON; or raw: the very bytes that the app has written, which may drive a terminal.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from typing import Final, TextIO

from mainstay.cli.terminal import coloured, safe, shows_colours
from mainstay.supervisor.output.lines import as_json, as_text
from mainstay.supervisor.output.model import Line, Source, Stream

__all__ = ["Form", "Lines", "add_forms", "form_of"]

_COLOURS: Final = ("36", "32", "33", "35", "34", "96", "92", "93", "95", "94")
_RED: Final = "31"


class Form(Enum):
    """How they are written."""

    PEOPLE = auto()
    JSON = auto()
    RAW = auto()


def add_forms(parser: argparse.ArgumentParser) -> None:
    """Declare the flags that choose one."""
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one object a line, for programs")
    forms.add_argument("--raw", action="store_true", help="the lines themselves, without the app's name")


def form_of(args: argparse.Namespace) -> Form:
    """The one that was chosen."""
    return Form.JSON if args.json else Form.RAW if args.raw else Form.PEOPLE


class Lines:
    """Writes them.

    Args:
        sources: from which logs they come.
        form: how they are written.
        stream: where.
    """

    def __init__(self, sources: Iterable[Source], form: Form, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._form = form
        apps = dict.fromkeys(source.app for source in sources)
        colours = shows_colours(self._stream)
        self._colours = {app: _COLOURS[at % len(_COLOURS)] if colours else "" for at, app in enumerate(apps)}

    def show(self, lines: Sequence[Line]) -> None:
        """Write them; `flush` sees that they are seen."""
        if self._form is Form.RAW:
            self._stream.flush()
            self._stream.buffer.write(b"".join(as_text(line) + b"\n" for line in lines))
        else:
            for line in lines:
                print(as_json(line) if self._form is Form.JSON else self._for_people(line), file=self._stream)

    def flush(self) -> None:
        """What was shown is there to be seen."""
        self._stream.flush()

    def _for_people(self, line: Line) -> str:
        colour = self._colours.get(line.source.app, "")
        label = coloured(line.source.label, colour)
        if colour and line.source.stream is Stream.ERR:
            label = coloured(f"{line.source.app}:{line.source.number} ", colour) + coloured("err", _RED)
        text = f"{label} | {safe(as_text(line).decode('utf-8', 'replace'))}"
        if not line.missed:
            return text
        return f"{label} | [{line.missed} files were deleted before they could be read]\n{text}"
