"""Does output get to its log as it is, and is the log put aside when and where it should be?"""

import gzip
import os
import struct
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.supervisor.output.conftest import Fifo
from tests.supervisor.output.known import files, line, numbers

from mainstay.supervisor.output.asides import asides
from mainstay.supervisor.output.compress import compress_asides
from mainstay.supervisor.output.model import Policy
from mainstay.supervisor.output.pump import Pump
from mainstay.supervisor.output.stamps import stamped
from mainstay.testing.clock import ManualClock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
CHINESE = "群里的消息：机器人正在重启，请稍候。\n".encode()


class Made:
    """A pump that the test moves by hand."""

    def __init__(self, fifo: Fifo, log: Path, policy: Policy, *, splice: bool = True) -> None:
        self.clock = ManualClock(NOON)
        self.fifo, self.log = fifo, log
        self.pump = Pump(fifo.path, log, policy, clock=self.clock, splice=splice)

    def write(self, text: bytes) -> None:
        self.fifo.write(text)
        while self.pump.step():
            pass

    def files(self) -> list[bytes]:
        return list(files(self.log))

    def close(self) -> None:
        self.pump.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "web-0.out.log"


@pytest.mark.parametrize("splice", [True, False], ids=["splice", "read and write"])
def test_every_byte_arrives_as_it_is(fifo: Fifo, log: Path, splice: bool) -> None:
    made = Made(fifo, log, Policy(), splice=splice)
    text = CHINESE * 500 + bytes(range(256)) * 16 + b"\r\n\x00 no newline"
    cut = 7  # in the middle of a character
    for begin in range(0, len(text), cut * 1001):
        made.write(text[begin : begin + cut * 1001])
    made.close()
    assert made.files() == [text]


def test_a_file_that_is_full_is_put_aside_at_the_end_of_its_last_line(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy(max_size=10, compress=False))
    made.write(b"one\ntwo\nthree\nfour\n")
    made.write(b"a line that is longer than the file may be\n5")
    made.write(b"\n6\n")
    made.close()
    assert made.files() == [
        b"one\ntwo\nthree\n",
        b"four\na line that is longer than the file may be\n",
        b"5\n6\n",
    ]
    assert [aside.path.name for aside in asides(log)] == ["web-0.out.log.000001", "web-0.out.log.000002"]


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("splice", [True, False], ids=["splice", "read and write"])
def test_no_file_ends_within_a_line_whatever_is_written_in_which_pieces(
    tmp_path: Path, fifo: Fifo, timestamps: bool, splice: bool
) -> None:
    names = iter(range(10_000))

    @settings(max_examples=40, deadline=None, phases=[Phase.generate])
    @given(
        count=st.integers(1, 40),
        max_size=st.integers(1, 700),
        pieces=st.lists(st.integers(20, 900), min_size=1, max_size=20),
    )
    def check(count: int, max_size: int, pieces: list[int]) -> None:
        log = tmp_path / str(next(names)) / "log"
        made = Made(fifo, log, Policy(max_size=max_size, keep=1000, timestamps=timestamps), splice=splice)
        text = b"".join(map(line, range(1, count)))
        at = 0
        while at < len(text):
            piece = pieces[at % len(pieces)]
            made.write(text[at : at + piece])
            at += piece
        made.close()
        assert numbers(log, stamps=timestamps) == list(range(1, count))
        longest = max(len(line(number)) for number in range(1, 50))
        stamp = 25 if timestamps else 0
        assert all(len(file) - stamp * file.count(b"\n") < max_size + longest for file in made.files())

    check()


def test_a_file_is_put_aside_when_a_day_has_ended(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy(every_s=86400.0))
    made.write(b"before noon\n")
    made.clock.advance(3600)
    made.write(b"after noon\nover mid")
    made.clock.advance(12 * 3600)
    made.write(b"night\nthe next day\n")
    made.clock.advance(3 * 86400)
    made.write(b"days later\n")
    made.clock.jump(-10 * 86400)
    made.write(b"the clock was set back\n")
    made.close()
    assert made.files() == [
        b"before noon\nafter noon\nover midnight\n",
        b"the next day\n",
        b"days later\nthe clock was set back\n",
    ]


def test_a_day_that_has_ended_while_nobody_pumped_is_put_aside_as_well(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy(every_s=86400.0))
    made.write(b"yesterday\n")
    made.close()
    yesterday = NOON.timestamp() - 86400
    os.utime(log, (yesterday, yesterday))
    made = Made(fifo, log, Policy(every_s=86400.0))
    made.write(b"today\n")
    made.close()
    assert made.files() == [b"yesterday\n", b"today\n"]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_only_the_newest_are_kept_and_their_names_never_change(fifo: Fifo, log: Path, keep: int) -> None:
    made = Made(fifo, log, Policy(max_size=1, keep=keep))
    for number in range(10):
        made.write(f"{number}\n".encode())
        compress_asides(log)
    made.close()
    assert made.files() == [f"{number}\n".encode() for number in range(9 - keep, 10)]
    if keep:
        assert [aside.number for aside in asides(log)] == list(range(10 - keep, 10))


def test_what_was_put_aside_is_compressed_but_for_the_newest_and_keeps_its_time(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy(max_size=1))
    made.write(CHINESE)
    made.write(b"2\n")
    os.utime(asides(log)[0].path, (1e9, 1e9))
    made.write(b"3\n")
    made.close()
    (log.parent / f"{log.name}.000001.gz.part").write_bytes(b"half of one, left by a kill")
    compress_asides(log)
    names = sorted(entry.name for entry in log.parent.iterdir())
    assert names == ["web-0.out.log", "web-0.out.log.000001.gz", "web-0.out.log.000002"]
    packed = log.with_name("web-0.out.log.000001.gz")
    assert gzip.decompress(packed.read_bytes()) == CHINESE
    assert packed.stat().st_mtime == 1e9


def test_lines_have_the_time_at_which_they_began(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy(timestamps=True))
    made.write(b"one\n\nthr")
    made.clock.advance(61.0625)
    made.write(b"ee")
    made.write("\n四\n".encode())
    made.close()
    assert made.files() == [
        b"2026-11-23T12:00:00.000Z one\n"
        b"2026-11-23T12:00:00.000Z \n"
        b"2026-11-23T12:00:00.000Z three\n" + "2026-11-23T12:01:01.062Z 四\n".encode()
    ]
    assert [entry.name for entry in log.parent.iterdir()] == [log.name]


@given(parts=st.lists(st.binary(min_size=1, max_size=40), max_size=12))
def test_timestamps_are_put_in_front_of_lines_and_nothing_else(parts: list[bytes]) -> None:
    written, begins = b"", True
    for part in parts:
        written += stamped(part, NOON, begins_line=begins)
        begins = part.endswith(b"\n")
    stamp = b"2026-11-23T12:00:00.000Z "
    text = b"".join(parts)
    assert (
        written == b"".join(stamp + each for each in text.splitlines(keepends=True)) if b"\r" not in text else True
    )
    assert written.replace(stamp, b"") == text


def test_what_was_half_moved_overwrites_nothing_when_the_log_is_another_one_by_now(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy(timestamps=True))
    made.write(b"one\n")
    made.close()
    moving = log.with_name(f".{log.name}.moving")
    at = round(NOON.timestamp() * 1000)
    for end in (0, 5, 10_000):
        moving.write_bytes(struct.pack("<QQ", end, at) + b"two\n")
        log.write_bytes(b"a line that is longer than that which is moved\n")
        made = Made(fifo, log, Policy())
        made.write(b"three\n")
        made.close()
        assert log.read_bytes().splitlines() == [
            b"a line that is longer than that which is moved",
            b"2026-11-23T12:00:00.000Z two",
            b"three",
        ]


def test_what_was_half_moved_and_makes_no_sense_is_dropped_and_said(fifo: Fifo, log: Path) -> None:
    log.parent.mkdir()
    moving = log.with_name(f".{log.name}.moving")
    moving.write_bytes(b"\xff" * 16 + b"x\n")
    made = Made(fifo, log, Policy(timestamps=True))
    made.write(b"one\n")
    assert made.pump.dropping
    made.clock.advance(2)
    made.write(b"two\n")
    made.close()
    (text,) = made.files()
    assert b"mainstay: 6 bytes of output (2 lines)" in text
    assert text.endswith(b"Z two\n")


def test_a_line_of_any_length_is_written_in_little_memory_and_not_cut(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy(max_size=100_000, compress=False))
    tracemalloc.start()
    for _ in range(100):
        made.write(b"x" * 600_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    made.write(b"\nnext\n")
    made.close()
    assert [len(text) for text in made.files()] == [60_000_001, 5]
    assert most < 2_000_000


def test_a_log_that_was_emptied_or_deleted_from_outside_goes_on(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy())
    made.write(b"one\n")
    os.truncate(log, 0)
    made.write(b"two\n")
    assert log.read_bytes() == b"two\n"
    log.unlink()
    log.parent.rmdir()
    made.write(b"three\n")
    assert log.read_bytes() == b"three\n"
    log.rename(log.with_name("moved"))
    made.pump.reopen()
    made.write(b"four\n")
    assert log.read_bytes() == b"four\n"
    made.close()


def test_a_log_is_flushed_and_put_aside_when_asked(fifo: Fifo, log: Path) -> None:
    made = Made(fifo, log, Policy())
    made.write(b"one\n")
    made.pump.rotate()
    made.write(b"two\nhalf")
    made.pump.rotate()  # not within a line
    assert made.files() == [b"one\n", b"two\nhalf"]
    made.pump.flush()
    made.write(b"\nthree\n")
    assert made.files() == [b"half\nthree\n"]  # the line goes on in the new file
    made.close()
