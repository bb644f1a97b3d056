"""What becomes of output that can not be written?"""

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.supervisor.output.conftest import Fifo

from mainstay.supervisor.output.model import Dropping, Notice, Policy, Resumed
from mainstay.supervisor.output.pump import Pump
from mainstay.testing.clock import ManualClock

ROOM = 128 * 1024


class Disk:
    """A directory with little room, until there is more."""

    def __init__(self, directory: Path, more: Callable[[], None]) -> None:
        self.directory = directory
        self.more = more


def _limited(directory: Path) -> Iterator[Disk]:
    """No file may be larger than that: what the kernel says comes with another number, and takes the same way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, hard))
    yield Disk(directory, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _mounted(directory: Path) -> Iterator[Disk]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system, and not everywhere")
    yield Disk(
        directory,
        lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(directory)], check=True).check_returncode(),
    )
    subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture(params=[_limited, _mounted] if os.geteuid() == 0 else [_limited], ids=lambda made: made.__name__)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    directory = tmp_path / "small"
    directory.mkdir()
    yield from request.param(directory)


@pytest.mark.parametrize("timestamps", [False, True], ids=["raw", "timestamps"])
@pytest.mark.parametrize("splice", [True, False], ids=["splice", "read and write"])
def test_a_full_disk_drops_counts_says_so_and_goes_on_with_a_whole_line(
    disk: Disk, fifo: Fifo, timestamps: bool, splice: bool
) -> None:
    log, clock, notices = disk.directory / "log", ManualClock(), list[Notice]()
    policy = Policy(max_size=0, timestamps=timestamps)
    pump = Pump(fifo.path, log, policy, clock=clock, notice=notices.append, splice=splice)
    written = 0

    def write(text: bytes) -> None:
        nonlocal written
        fifo.write(text)
        written += len(text)
        while pump.step():
            pass

    lines = b"".join(f"line {number}\n".encode() for number in range(30_000))
    write(lines)  # a child is never kept waiting: the FIFO is empty again
    write(b"dropped as well\nthe beginning of a line")
    assert pump.dropping
    assert [type(notice) for notice in notices] == [Dropping]
    clock.advance(2)
    write(b" that goes on")
    disk.more()
    clock.advance(2)
    write(b" and its end\nthe first line that is there again\n")
    assert not pump.dropping
    write(b"and the next\n")
    pump.close()

    resumed = notices[-1]
    assert isinstance(resumed, Resumed)
    text = _without_times(log.read_bytes()) if timestamps else log.read_bytes()
    kept, said, rest = text.partition(b"mainstay: ")
    assert said
    sentence, *after = rest.splitlines()
    assert sentence.startswith(f"{resumed.dropped_bytes} bytes of output ({resumed.dropped_lines} lines)".encode())
    assert after == [b"the first line that is there again", b"and the next"]
    assert lines.startswith(kept.removesuffix(b"\n"))
    ended = b"\n" if lines[: len(kept)] != kept else b""  # the line that was cut is ended
    there = len(kept) - len(ended) + sum(len(each) + 1 for each in after)
    assert there + resumed.dropped_bytes == written


def _without_times(text: bytes) -> bytes:
    return b"".join(each[25:] for each in text.splitlines(keepends=True))


def test_a_log_that_can_not_be_opened_costs_its_output_only(tmp_path: Path, fifo: Fifo) -> None:
    log, clock, notices = tmp_path / "logs" / "log", ManualClock(), list[Notice]()
    log.parent.write_bytes(b"a file where the directory should be")
    pump = Pump(fifo.path, log, Policy(), clock=clock, notice=notices.append)
    fifo.write(b"one\ntwo\n")
    assert pump.step() == 8
    log.parent.unlink()
    fifo.write(b"three\n")
    clock.advance(2)
    while pump.step():
        pass
    pump.close()
    assert notices == [
        Dropping(path=log, reason=notices[0].reason),
        Resumed(path=log, reason=notices[0].reason, dropped_bytes=8, dropped_lines=2),
    ]
    assert log.read_bytes().endswith(b"\nthree\n")


def test_a_little_room_now_and_then_is_not_reported_each_second(tmp_path: Path, fifo: Fifo) -> None:
    """Room for what is said about it, and not for the next block, once and again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log, clock, notices = tmp_path / "log", ManualClock(), list[Notice]()
    pump = Pump(fifo.path, log, Policy(), clock=clock, notice=notices.append)
    block = b"x" * 999 + b"\n"
    try:
        for _ in range(120):
            fifo.write(block * 50)
            there = log.stat().st_size if log.exists() else 0
            resource.setrlimit(resource.RLIMIT_FSIZE, (there + 2000, hard))
            while pump.step():
                pass
            clock.advance(1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    pump.close()
    assert 2 <= len(notices) <= 20
