"""Writing a line never raises, and libraries keep quiet."""

import io
import logging
import subprocess
import sys
import warnings

import pytest

from mainstay.logs.lines import JsonLines
from mainstay.logs.setup import LineHandler


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_argument_that_can_not_be_printed_still_leaves_a_line(start, form: str) -> None:
    written = start(form)
    log = logging.getLogger("mainstay.x")
    log.info("%s", Broken())
    log.info("%d items", "many")
    log.info("x", extra={"field": Broken()})
    assert written.text.count("could not be written: ") >= 2
    assert written.handler.dropped == 0


def test_what_can_not_be_written_is_counted() -> None:
    stream = io.StringIO()
    stream.close()
    handler = LineHandler(stream, JsonLines())
    handler.emit(logging.makeLogRecord({"name": "x", "msg": "lost"}))
    assert handler.dropped == 1


def test_a_stream_that_knows_only_ascii_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    handler = LineHandler(stream, JsonLines())
    handler.emit(logging.makeLogRecord({"name": "x", "msg": "目标", "levelname": "INFO", "levelno": 20}))
    assert b"\\u76ee\\u6807" in raw.getvalue()
    assert handler.dropped == 0


def test_libraries_speak_from_warnings_on(start) -> None:
    written = start(level="info")
    logging.getLogger("httpx2").info("HTTP Request: GET https://example.com/?token=x")
    logging.getLogger("uvicorn.access").info("GET / 200")
    logging.getLogger("sqlalchemy.engine").warning("pool is full")
    assert [line["logger"] for line in written.json] == ["sqlalchemy.engine"]


def test_a_library_with_a_handler_of_its_own_is_routed_here(start) -> None:
    own = io.StringIO()
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(logging.StreamHandler(own))
    logger.propagate = False
    written = start()
    logger.warning("port in use")
    assert own.getvalue() == ""
    assert written.json[0]["message"] == "port in use"


def test_warnings_become_lines(start) -> None:
    written = start()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert written.json[0]["logger"] == "py.warnings"
    assert "old thing" in written.json[0]["message"]


def test_setting_up_twice_writes_each_line_once(start) -> None:
    start()
    written = start()
    logging.getLogger("mainstay").info("once")
    assert len(written.json) == 1


def test_the_level_leaves_out_what_is_below() -> None:
    code = (
        "import logging; from mainstay.logs.setup import setup; from mainstay.logs.model import LogSettings;"
        "setup(LogSettings(level='warning', format='json'));"
        "logging.getLogger('mainstay').info('quiet'); logging.getLogger('mainstay').warning('loud')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == ""
    assert "loud" in done.stderr
    assert "quiet" not in done.stderr


def test_a_reader_that_went_away_does_not_stop_the_process() -> None:
    code = (
        "import logging, os, sys; from mainstay.logs.setup import setup;"
        "from mainstay.logs.model import LogSettings;"
        "r, w = os.pipe(); os.close(r); handler = setup(LogSettings(), stream=os.fdopen(w, 'w'));"
        "logging.getLogger('mainstay').warning('nobody reads');"
        "print(handler.dropped, flush=True); os._exit(0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "1\n"
