"""How does a line look?

One record is one line, whatever is in it: line breaks and control characters of a text somebody sent are escaped,
so that nobody can forge a line or drive a terminal. A traceback of a text line is indented for the same reason. A
line of level error or above has the word ``Error`` in it, because that is what people grep for.
"""

import dataclasses
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Final

import orjson

from mainstay.clock import iso
from mainstay.events import Event
from mainstay.logs.context import current_turn
from mainstay.logs.escape import UNPRINTABLE, escape
from mainstay.logs.redact import redact, redact_fields

__all__ = ["JsonLines", "TextLines"]

_LONGEST_MESSAGE: Final = 10_000
_LONGEST_TRACEBACK: Final = 50_000
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SHORT_LEVELS: Final = {"WARNING": "WARN", "CRITICAL": "FATAL"}


class _Lines(logging.Formatter):
    """What both forms share; ``worker`` is written on every line."""

    def __init__(self, worker: str = "") -> None:
        super().__init__()
        self._worker = worker

    def _message(self, record: logging.LogRecord) -> str:
        message = redact(_cut(record.getMessage(), _LONGEST_MESSAGE))
        if record.levelno >= logging.ERROR and "Error" not in message:
            message = f"Error: {message}"
        return message

    def _exception(self, record: logging.LogRecord) -> str:
        """The traceback, redacted; its end is what says what happened, so the middle of a long one is cut."""
        if not record.exc_info:
            return redact(record.exc_text or "")
        text = "".join(traceback.format_exception(*_whole(record.exc_info))).rstrip()
        half = _LONGEST_TRACEBACK // 2
        return redact(text if len(text) <= 2 * half else f"{text[:half]}\n[…]\n{text[-half:]}")

    def _turn(self, record: logging.LogRecord) -> str:
        return str(getattr(record, "turn_id", "") or current_turn())


class JsonLines(_Lines):
    """For collectors: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line: dict[str, object] = {
            "at": iso(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._message(record),
        }
        optional = {
            "turn_id": self._turn(record),
            "worker": self._worker,
            "exception": self._exception(record),
            "stack": redact(record.stack_info or ""),
        }
        line |= {name: value for name, value in optional.items() if value}
        line |= _extra(record)
        try:
            text = orjson.dumps(line, default=str).decode()
        except TypeError:  # lone surrogates, numbers beyond 64 bits
            text = orjson.dumps(_representable(line), default=str).decode()
        # JSON allows them inside a string, but many tools break lines there.
        return UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


class TextLines(_Lines):
    """For people: time, level, who, what; a traceback below, indented.

    Args:
        worker: see `_Lines`.
        watched: somebody is looking on: the time of their day is enough, and what happens needs no logger's name.
    """

    def __init__(self, worker: str = "", *, watched: bool = False) -> None:
        super().__init__(worker)
        self._watched = watched

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        moment = datetime.fromtimestamp(record.created, UTC)
        at = f"{moment.astimezone():%H:%M:%S}" if self._watched else iso(moment)
        level = _SHORT_LEVELS.get(record.levelname, record.levelname)
        name = record.name.removeprefix("mainstay.")
        who = "" if self._watched and name == "events" else f"{escape(name)}: "
        turn = self._turn(record)
        line = f"{at} {level:<5} {who}{escape(self._message(record))}"
        if turn:
            line += f" [turn {escape(turn)[:8]}]"
        details = "\n".join(part for part in (self._exception(record), redact(record.stack_info or "")) if part)
        below = "".join(f"\n    | {escape(each)}" for each in details.split("\n")) if details else ""
        return line + below


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def _whole(exc_info: _ExcInfo) -> _ExcInfo:
    return exc_info if exc_info[0] is not None else sys.exc_info()


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text) - longest} more characters)"


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """What the caller passed as ``extra``; an event as its name and its fields."""
    given = {name: value for name, value in vars(record).items() if name not in _STANDARD and name != "turn_id"}
    event = given.pop("event", None)
    if isinstance(event, Event):
        fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
        fields.pop("turn_id", None)
        given = {"event": event.name, "data": fields} | given
    masked = redact_fields(given)
    assert isinstance(masked, dict)
    return masked


def _representable(value: object) -> object:
    """The same data in what JSON can carry."""
    if isinstance(value, Mapping):
        return {str(_representable(str(name))): _representable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_representable(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value
