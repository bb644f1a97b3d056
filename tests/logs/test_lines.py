"""One record, one line, whatever is in it."""

import logging
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstay.logs.escape import escape
from mainstay.logs.lines import JsonLines, TextLines

log = logging.getLogger("mainstay.turns.runner")


def fail(error: Exception) -> None:
    raise error


def test_json_carries_time_level_logger_message_worker(start) -> None:
    written = start()
    log.info("hello %s", "there")
    [line] = written.json
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("at"))
    assert line == {"level": "info", "logger": "mainstay.turns.runner", "message": "hello there", "worker": "w1"}


def test_text_is_time_level_name_message(start) -> None:
    written = start("text")
    log.warning("careful")
    assert re.fullmatch(r"\d{4}-\S+Z WARN  turns\.runner: careful\n", written.text)


def test_auto_is_text_on_a_terminal_and_json_elsewhere(start) -> None:
    terminal = start("auto", terminal=True)
    log.info("a")
    assert terminal.text.endswith("turns.runner: a\n")
    pipe = start("auto")
    log.info("b")
    assert pipe.json[0]["message"] == "b"


@pytest.mark.parametrize("form", ["json", "text"])
def test_nobody_can_forge_a_line(start, form: str) -> None:
    written = start(form)
    log.info("said: %s", "hi\n2026-11-23T08:46:50.907Z ERROR turns: all is lost\r\x1b[2J\u2028\u202e\x85")
    try:
        fail(ValueError("broken\n2026-11-23T08:46:50.907Z ERROR turns: forged"))
    except ValueError:
        log.exception("failed")
    for line in written.text.split("\n"):
        assert not re.match(r"2026-11-23T08:46:50.907Z", line)
    assert not re.search("[\x1b\r\u2028\u202e\x85]", escape(written.text.replace("\n", " ")))
    if form == "text":
        assert not re.search("[\x1b\r\u2028\u202e\x85]", written.text)
    else:
        assert len(written.json) == 2


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_masked_in_messages_tracebacks_causes_and_extras(start, form: str) -> None:
    written = start(form, secrets=("correct horse",))
    try:
        try:
            fail(ValueError("Bearer abcdefgh12345678"))
        except ValueError as cause:
            raise RuntimeError("with sk-live-0123456789abc and correct horse") from cause
    except RuntimeError:
        log.exception(
            "token=%s",
            "tok123tok",
            extra={"app_secret": "plainvalue", "url": "redis://:pw123pw@h/0", "n": [1, {"password": "deepvalue"}]},
        )
    for leak in (
        "abcdefgh12345678",
        "0123456789abc",
        "correct horse",
        "tok123tok",
        "plainvalue",
        "pw123pw",
        "deepvalue",
    ):
        assert leak not in written.text
    assert "RuntimeError" in written.text
    assert "ValueError" in written.text


def test_extra_fields_come_along_in_json(start) -> None:
    written = start()
    log.info("x", extra={"tokens": 12, "names": ("a", "b"), "what": object})
    [line] = written.json
    assert (line["tokens"], line["names"], line["what"]) == (12, ["a", "b"], "<class 'object'>")


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_error_line_has_the_word_error_in_it(start, form: str) -> None:
    written = start(form)
    log.error("the disk is gone")
    log.error("Error 12")
    log.info("fine")
    first, second, third = written.text.splitlines()
    assert "Error: the disk is gone" in first
    assert second.count("Error") == 1
    assert "Error" not in third


def test_a_long_message_is_cut_and_says_so(start) -> None:
    written = start()
    log.info("x" * 50_000)
    assert "40000 more characters" in written.json[0]["message"]


def test_the_end_of_a_long_traceback_is_kept(start) -> None:
    written = start()

    try:
        try:
            fail(ValueError("k" * 100_000))
        except ValueError as cause:
            raise LookupError("last words") from cause
    except LookupError:
        log.exception("failed")
    assert len(written.json[0]["exception"]) < 51_000
    assert written.json[0]["exception"].endswith("LookupError: last words")


@given(message=st.text(), field=st.one_of(st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.text())))
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_text_is_one_line(message: str, field: object) -> None:
    record = logging.makeLogRecord(
        {"msg": "%s", "args": (message,), "levelname": "INFO", "levelno": 20, "name": "x", "given": field}
    )
    for lines in (JsonLines("w"), TextLines("w")):
        line = lines.format(record)
        assert len(line.splitlines()) == 1
        assert line.encode("utf-8")
