"""Logging is process-wide: each test gives it back as it was."""

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from mainstay.logs import redact
from mainstay.logs.model import LogSettings
from mainstay.logs.setup import LineHandler, setup


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Written:
    """What was logged, as text and as parsed JSON."""

    def __init__(self, stream: io.StringIO, handler: LineHandler) -> None:
        self.stream = stream
        self.handler = handler

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def json(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Written]]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    monkeypatch.setattr(redact, "_known", None)
    monkeypatch.setattr(redact, "_values", frozenset())

    def begin(
        form: str = "json", level: str = "debug", *, terminal: bool = False, secrets: tuple[str, ...] = ()
    ) -> Written:
        stream = Terminal() if terminal else io.StringIO()
        handler = setup(LogSettings(format=form, level=level), worker="w1", secrets=secrets, stream=stream)
        logging.getLogger().handlers[:] = [handler]  # pytest's own would raise where ours must not
        return Written(stream, handler)

    yield begin
    root.setLevel(level)
    root.handlers[:] = handlers
    logging.captureWarnings(capture=False)
