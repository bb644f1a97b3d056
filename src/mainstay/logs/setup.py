"""Where do lines go?

To one stream of this process, from every logger in it, ours or a library's. Files, rotation and shipping are the
business of whoever runs the process. Writing a line never raises: what can not be written is counted.
"""

import logging
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from mainstay.logs.lines import JsonLines, TextLines
from mainstay.logs.model import LogSettings
from mainstay.logs.redact import register

__all__ = ["LineHandler", "setup"]

_TALKATIVE: Final = (
    "alembic", "asyncio", "httpcore2", "httpx2", "openai", "pydantic_ai", "sqlalchemy", "uvicorn", "websockets",
)  # fmt: skip
"""Libraries whose information is our detail: they speak from warnings on, at level debug from information on."""
_WITH_HANDLERS_OF_THEIR_OWN: Final = ("uvicorn", "uvicorn.access", "uvicorn.error")


class LineHandler(logging.Handler):
    """Writes each record as one line and flushes it. ``dropped`` counts the lines that could not be written."""

    def __init__(self, stream: TextIO, lines: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(lines)
        self._stream = stream
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler.emit`; never raises."""
        try:
            self._write(self._line(record))
        except Exception:  # noqa: BLE001  the border: a full disk or a closed pipe must not reach who logs
            self.dropped += 1

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001  an argument that can not be printed; its line still can
            what = (
                f"Error: a line from {record.pathname}:{record.lineno} could not be written: {type(error).__name__}"
            )
            bare = logging.LogRecord(record.name, logging.ERROR, record.pathname, record.lineno, what, None, None)
            return self.format(bare)

    def _write(self, line: str) -> None:
        try:
            self._stream.write(f"{line}\n")
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._stream.flush()


def setup(
    settings: LogSettings,
    *,
    worker: str = "",
    secrets: Iterable[str] = (),
    stream: TextIO | None = None,
) -> LineHandler:
    """Take over logging for the whole process. May be called again; the last call holds.

    Args:
        settings: level and form; ``auto`` looks at the stream.
        worker: written on every JSON line.
        secrets: exact values that must never be written; see `mainstay.logs.redact.register`.
        stream: standard error if absent.
    """
    register(secrets)
    stream = sys.stderr if stream is None else stream
    watched = stream.isatty()
    as_text = settings.format == "text" or (settings.format == "auto" and watched)
    handler = LineHandler(stream, TextLines(worker, watched=watched) if as_text else JsonLines(worker))
    root = logging.getLogger()
    for old in root.handlers[:]:
        if isinstance(old, LineHandler):
            root.removeHandler(old)
    root.addHandler(handler)
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO if level <= logging.DEBUG else max(level, logging.WARNING))
    for name in _WITH_HANDLERS_OF_THEIR_OWN:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(capture=True)
    return handler
