"""Does one see what the logs say, and all of what is still to come?"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.supervisor.output.conftest import ROOT, Daemon, Fifo, Writer

from mainstay.supervisor.app import AppSettings
from mainstay.supervisor.output.asides import asides
from mainstay.supervisor.output.compress import compress_asides
from mainstay.supervisor.output.lines import as_json, as_text, time_of
from mainstay.supervisor.output.model import LONGEST, Line, Policy, Source, Stream, policy, sources
from mainstay.supervisor.output.pump import Pump
from mainstay.supervisor.output.reader import Reader
from mainstay.testing.clock import ManualClock


def _source(path: Path, app: str = "web") -> Source:
    return Source(app=app, number=0, stream=Stream.OUT, path=path)


class Written:
    """A log that the test writes."""

    def __init__(self, fifo: Fifo, directory: Path, **fields: object) -> None:
        self.source = _source(directory / "web-0.out.log")
        self.clock = ManualClock(datetime(2026, 11, 23, 12, tzinfo=UTC))
        self._fifo = fifo
        self.pump = Pump(fifo.path, self.source.path, Policy(**fields), clock=self.clock)  # type: ignore[arg-type]

    def write(self, text: str) -> None:
        self._fifo.write(text.encode())
        while self.pump.step():
            pass


@pytest.fixture
def written(fifo: Fifo, tmp_path: Path) -> Iterator[Written]:
    made = Written(fifo, tmp_path, max_size=40, keep=1000)
    yield made
    made.pump.close()


def _last(source: Source, count: int | None, **filters: object) -> list[str]:
    reader = Reader([source], **filters)  # type: ignore[arg-type]
    lines = reader.last(count)
    return [line.text.decode() for line in lines]


def _all(reader: Reader) -> list[str]:
    return [line.text.decode() for line in _rest(reader)]


def _rest(reader: Reader) -> list[Line]:
    found = reader.poll()
    while reader.behind:
        found += reader.poll()
    return found


@pytest.mark.parametrize("compressed", [False, True])
def test_the_last_lines_are_found_through_all_files(written: Written, compressed: bool) -> None:
    lines = [f"第 {number} 行" for number in range(50)]
    written.write("\n".join(lines) + "\nnot ended")
    lines.append("not ended")
    if compressed:
        compress_asides(written.source.path)
    assert len(asides(written.source.path)) > 10
    for count in (0, 1, 2, 3, 5, 17, 50, 51, 52, 1000):
        assert _last(written.source, count) == (lines[-count:] if count else [])
    assert _last(written.source, None) == lines


@settings(deadline=None, max_examples=100, phases=[Phase.generate])
@given(
    text=st.lists(st.sampled_from([b"", b"a", b"bc" * 40_000]), max_size=8),
    ended=st.booleans(),
    count=st.integers(0, 9),
)
def test_the_last_lines_of_a_file_are_those_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, text: list[bytes], ended: bool, count: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "last.log"
    path.write_bytes(b"\n".join(text) + (b"\n" if ended and text else b""))
    whole = path.read_bytes().split(b"\n")
    if whole[-1] == b"":
        whole.pop()
    found = Reader([_source(path)]).last(count)
    assert [len(line.text) + line.omitted for line in found] == [
        len(each) for each in whole[-count or len(whole) :]
    ]


def test_filters_look_for_the_last_lines_that_they_let_through(fifo: Fifo, tmp_path: Path) -> None:
    written = Written(fifo, tmp_path, max_size=100, timestamps=True, keep=100)
    for number in range(20):
        written.write(f"{'Error' if number % 4 == 0 else 'fine'} {number}\n")
        written.clock.advance(60)
    written.pump.close()
    compress_asides(written.source.path)
    assert [text[25:] for text in _last(written.source, 2, grep=re.compile(rb"Error"))] == ["Error 12", "Error 16"]
    since = datetime(2026, 11, 23, 12, 17, tzinfo=UTC)
    assert [text[25:] for text in _last(written.source, None, since=since)] == ["fine 17", "fine 18", "fine 19"]
    assert [text[25:] for text in _last(written.source, 2, since=since)] == ["fine 18", "fine 19"]


def test_files_older_than_what_is_asked_for_are_not_opened(written: Written) -> None:
    written.write("old\n" * 30 + "new\n")
    for aside in asides(written.source.path):
        aside.path.write_bytes(b"read\n")
        os.utime(aside.path, (1e9, 1e9))
    found = _last(written.source, None, since=datetime(2020, 1, 1, tzinfo=UTC))
    assert "read" not in found
    assert found[-1] == "new"


def test_a_line_without_a_time_has_that_of_the_one_before_it(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(
        "no time yet\n"
        '{"level":"info","at":"2026-11-23T10:00:00.000Z","message":"one"}\n'
        "2026-11-23 13:00:00,5+01:00 two\n"
        "Traceback:\n"
        "[2026-11-23T14:00:00Z] three\n"
        "2026-99-99T99:99:99Z no time\n"
    )
    hours = [None if line.at is None else line.at.hour for line in Reader([_source(path)]).last(None)]
    assert hours == [None, 10, 12, 12, 14, 14]
    assert time_of(b"2026-11-23 13:00:00 somewhere") is None


def test_several_logs_are_merged_by_the_time_that_their_lines_say(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("2026-11-23T10:00:00Z 1\nmore of 1\n2026-11-23T10:00:04Z 4\n")
    second.write_text("2026-11-23T10:00:02Z 2\n2026-11-23T10:00:03Z 3\n")
    lines = Reader([_source(first, "a"), _source(second, "b")]).last(10)
    assert [(line.source.app, line.text[-1:]) for line in lines] == [
        ("a", b"1"),
        ("a", b"1"),
        ("b", b"2"),
        ("b", b"3"),
        ("a", b"4"),
    ]


def test_json_is_one_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b'2026-11-23T10:00:00Z "\xe6\x97\xa5"\xff\x1b\n')
    (line,) = Reader([_source(path)]).last(1)
    text = as_json(line)
    assert "\n" not in text
    assert json.loads(text) == {
        "app": "web",
        "instance": 0,
        "stream": "out",
        "line": '2026-11-23T10:00:00Z "日"\\xff\x1b',
        "time": "2026-11-23T10:00:00.000Z",
    }


def test_a_damaged_compressed_file_says_so_and_the_others_are_read(written: Written) -> None:
    written.write("\n".join(f"line {number}" for number in range(20)) + "\n")
    compress_asides(written.source.path)
    packed = asides(written.source.path)[1].path
    packed.write_bytes(packed.read_bytes()[:-12])
    found = _last(written.source, None)
    assert any(text.startswith("mainstay: the rest of ") for text in found)
    assert found[0] == "line 0"
    assert found[-1] == "line 19"


def test_following_begins_where_the_last_lines_ended_even_within_a_line(written: Written) -> None:
    written.write("one\ntwo\nthr")
    reader = Reader([written.source])
    assert [line.text for line in reader.last(1, follow=True)] == [b"two"]
    assert reader.poll() == []
    written.write("ee\n")
    assert _all(reader) == ["three"]
    reader.close()


@pytest.mark.parametrize("compress", [False, True])
def test_following_misses_nothing_however_many_files_come_between_two_polls(
    written: Written, compress: bool
) -> None:
    reader = Reader([written.source])
    assert reader.last(5, follow=True) == []
    expected, found = [], []
    for round_ in range(12):
        lines = [f"{round_}.{number}" for number in range(round_ * 7 % 40)]
        expected += lines
        written.write("".join(f"{text}\n" for text in lines))
        if compress:
            compress_asides(written.source.path)
        found += _all(reader)
        assert found == expected
    reader.close()


@pytest.mark.parametrize("stamps", [False, True], ids=["raw", "timestamps"])
def test_following_a_flood_that_is_put_aside_and_compressed_all_the_time_sees_every_line(
    tmp_path: Path, fifo: Fifo, child: Writer, stamps: bool
) -> None:
    source = _source(tmp_path / "log")
    daemon = Daemon(fifo, source.path, Policy(max_size=50_000, keep=100_000, timestamps=stamps))
    daemon.ready()
    reader, found = Reader([source]), list[bytes]()
    while len(found) < 50_000:
        found += [line.text for line in reader.poll()]
    count = child.end()
    daemon.end()
    found += [line.text for line in _rest(reader)]
    reader.close()
    begin = 25 if stamps else 0
    assert [int(text[begin : begin + 12].split(b" ")[0]) for text in found] == list(range(count))
    assert any(aside.compressed for aside in asides(source.path))


def test_all_there_is_can_be_read_bit_by_bit_and_without_what_is_too_old(written: Written) -> None:
    written.write("".join(f"{number}\n" for number in range(50)))
    reader = Reader([written.source])
    assert _all(reader) == [str(number) for number in range(50)]
    reader.close()
    oldest = asides(written.source.path)[0]
    os.utime(oldest.path, (1e9, 1e9))
    begins = oldest.path.read_text().count("\n")
    since = Reader([written.source], since=datetime(2020, 1, 1, tzinfo=UTC))
    assert _all(since) == [str(number) for number in range(begins, 50)]
    since.close()


def test_what_is_not_asked_for_does_not_end_what_is_read(written: Written) -> None:
    written.source.path.write_text("fine\n" * 200_000 + "Error\n")
    reader = Reader([written.source], grep=re.compile(rb"Error"))
    assert _all(reader) == ["Error"]
    reader.close()


def test_a_follower_that_was_too_slow_is_told_so(fifo: Fifo, tmp_path: Path) -> None:
    written = Written(fifo, tmp_path, max_size=1, keep=2)
    written.write("1\n")
    reader = Reader([written.source])
    reader.last(0, follow=True)
    for number in range(2, 10):
        written.write(f"{number}\n")
    lines = _rest(reader)
    assert [(line.text, line.missed) for line in lines] == [(b"7", 5), (b"8", 0), (b"9", 0)]
    reader.close()
    written.pump.close()


def test_following_goes_on_after_a_flush(written: Written) -> None:
    written.write("one\n" * 30)
    reader = Reader([written.source])
    reader.last(0, follow=True)
    written.pump.flush()
    written.write("two\n")
    assert _all(reader) == ["two"]
    written.write("three\n" * 20)
    assert _all(reader) == ["three"] * 20
    reader.close()


def test_a_log_that_does_not_exist_yet_is_followed_from_its_beginning(tmp_path: Path, fifo: Fifo) -> None:
    reader = Reader([_source(tmp_path / "logs" / "web-0.out.log")])
    assert reader.last(10, follow=True) == []
    assert reader.poll() == []
    written = Written(fifo, tmp_path / "logs")
    written.write("one\n")
    assert _all(reader) == ["one"]
    written.pump.close()
    reader.close()


HUGE = 1 << 28
READ_HUGE = """
import resource, sys
from pathlib import Path
from mainstay.supervisor.output.model import Source, Stream
from mainstay.supervisor.output.reader import Reader
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 32_000_000,) * 2)
reader = Reader([Source(app="web", number=0, stream=Stream.OUT, path=Path(sys.argv[1]))])
for line in reader.last(2):
    print(len(line.text), line.omitted)
"""


def test_a_huge_line_is_passed_over_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(HUGE)  # takes no room on the disk
        file.seek(HUGE)
        file.write(b"\nshort\n")
    command = [sys.executable, "-c", READ_HUGE, str(path)]
    said = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert said.split() == [str(LONGEST), str(HUGE - LONGEST), "5", "0"]
    (huge, _) = Reader([_source(path)]).last(2)
    assert as_text(huge).endswith(f"[…{HUGE - LONGEST} bytes more]".encode())


def test_where_the_logs_of_an_instance_are(tmp_path: Path) -> None:
    def paths(number: int = 0, **fields: object) -> dict[str, str]:
        made = AppSettings(command=("x",), **fields)  # type: ignore[arg-type]
        found = sources("web", number, made, logs=tmp_path / "logs", base=tmp_path)
        return {source.label: str(source.path.relative_to(tmp_path)) for source in found}

    assert paths(1) == {"web:1 out": "logs/web-1.out.log", "web:1 err": "logs/web-1.err.log"}
    assert paths(log_combined=True) == {"web:0 all": "logs/web-0.all.log"}
    assert paths(1, out_file="o/a.log", error_file="o/b.log") == {
        "web:1 out": "o/a-1.log",
        "web:1 err": "o/b-1.log",
    }
    assert paths(out_file="a.log", error_file="a.log") == {"web:0 all": "a.log"}
    assert policy(AppSettings(command=("x",))) == Policy()
