"""Instances and their logs are shown so that people can read them, and colours only where there are any."""

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mainstay.cli.lines import Form, Lines
from mainstay.cli.look import details, listing, size, uptime, why_not
from mainstay.cli.terminal import cut, table, width
from mainstay.supervisor.output.model import Line, Source, Stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def instance(name: str, **more: object) -> dict[str, Any]:
    return {
        "name": name,
        "state": "ready",
        "pid": 4711,
        "uptime_s": 75.0,
        "restarts": 3,
        "cpu_percent": 12.34,
        "memory_bytes": 50_000_000,
        "processes": 3,
        "detail": "",
        "status": "",
        "since": "2026-11-26T04:30:10.795Z",
        "ended": None,
        "command": ["sh", "-c", "echo a b"],
        "probes": [],
        "output": [],
        "history": [],
        **more,
    }


DOWN = {"pid": None, "uptime_s": 0.0, "cpu_percent": None, "memory_bytes": None}


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0s"),
        (59.9, "59s"),
        (75, "1m15s"),
        (3600, "1h"),
        (3725, "1h2m"),
        (86400 * 3 + 4 * 3600 + 59, "3d4h"),
        (1e7, "115d17h"),
    ],
)
def test_an_uptime_is_its_two_largest_units(seconds: float, shown: str) -> None:
    assert uptime(seconds) == shown


def test_sizes_have_the_unit_that_fits() -> None:
    assert [size(each) for each in (None, 0, 1023, 1024, 24_536_678, 3 << 30)] == [
        "-",
        "0 B",
        "1023 B",
        "1.0 KiB",
        "23.4 MiB",
        "3.0 GiB",
    ]


def test_the_table_is_aligned_whatever_the_reasons_say_and_coloured_outside_of_the_columns() -> None:
    instances = [
        instance("web:0", status="第一\x1b[2J"),
        instance("batch:10", state="errored", detail="given up", **DOWN),
    ]
    plain = listing(instances)
    assert plain.splitlines() == [
        "APP       STATE     PID     UP  RESTARTS    CPU    MEMORY  REASON",
        "web:0     ready    4711  1m15s         3  12.3%  47.7 MiB  第一\\x1b[2J",
        "batch:10  errored     -      -         3      -         -  given up",
    ]
    colours = listing(instances, colours=True)
    assert "\x1b[32mready\x1b[0m  " in colours
    assert colours.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[0m", "") == plain


def test_what_is_lost_of_a_log_is_below_the_table_and_in_the_details() -> None:
    log = {"stream": "out", "path": "/x/web.log", "trouble": "No space left on device"}
    lost = instance("web:0", output=[{**log, "dropped_bytes": 2048, "dropped_lines": 7}])
    assert listing([lost]).splitlines()[-1] == (
        "web:0: /x/web.log is not written, its lines are lost: No space left on device"
    )
    assert "7 lines (2.0 KiB) could not be written" in details(lost)


def test_details_are_for_people() -> None:
    restart = {"at": "2026-11-26T04:30:10.000Z", "reason": "exit", "detail": "exit code 3", "uptime_s": 0.25}
    assert details(instance("web:0", detail="目标\nx", history=[restart])).splitlines() == [
        "web:0: ready since 2026-11-26T04:30:10.795Z (目标 x)",
        "  command     sh -c 'echo a b'",
        "  pid         4711 and 2 more, up for 1m15s",
        "  uses        47.7 MiB of memory, 12.3% of a core",
        "  restarts    3",
        "  history     2026-11-26T04:30:10.000Z  exit: exit code 3, after 200ms",
    ]


def test_why_something_does_not_run_is_said_once_one_has_waited_for_it() -> None:
    instances = [
        instance("a:0"),
        instance("b:0", state="backoff", detail="exit code 3"),
        instance("c:0", state="errored"),
    ]
    assert [line.split()[0] for line in why_not(instances, waited=True)] == ["b:0", "c:0"]
    assert [line.split()[0] for line in why_not(instances, waited=False)] == ["c:0"]


@pytest.mark.parametrize("columns", range(12))
def test_what_is_cut_takes_so_many_columns(columns: int) -> None:
    for text in ("", "abc", "目标模型限流", "a目标模型限流", "e\u0301\u200b", "🙂🙂🙂🙂🙂🙂🙂"):
        assert width(cut(text, columns)) == columns


def test_a_table_without_rows_is_its_head() -> None:
    assert table([("A", "B")]) == "A  B"


# Lines of logs.


def line(app: str, stream: Stream, text: bytes) -> Line:
    source = Source(app=app, number=0, stream=stream, path=Path("/x"))
    return Line(source=source, text=text, at=datetime(2026, 11, 26, tzinfo=UTC))


LINES = [
    line("web", Stream.OUT, b"\x1b[2Jhello \xff"),
    line("web", Stream.ERR, b"oops"),
    line("other", Stream.OUT, "好".encode()),
]


def shown(stream: io.StringIO) -> str:
    lines = Lines([each.source for each in LINES], Form.PEOPLE, stream)
    lines.show(LINES)
    return stream.getvalue()


def test_each_app_has_its_colour_on_a_terminal_that_shows_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = "web:0 out | \\x1b[2Jhello \ufffd\nweb:0 err | oops\nother:0 out | 好\n"
    assert shown(io.StringIO()) == plain
    first, second, third = shown(Terminal()).splitlines()
    assert first == "\x1b[36mweb:0 out\x1b[0m | \\x1b[2Jhello \ufffd"
    assert second == "\x1b[36mweb:0 \x1b[0m\x1b[31merr\x1b[0m | oops"
    assert third.startswith("\x1b[32mother:0 out")
    monkeypatch.setenv("NO_COLOR", "1")
    assert shown(Terminal()) == plain


def test_raw_lines_are_the_bytes_that_were_written() -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, "utf-8")
    Lines([each.source for each in LINES], Form.RAW, stream).show(LINES)
    assert written.getvalue() == b"\x1b[2Jhello \xff\noops\n\xe5\xa5\xbd\n"
