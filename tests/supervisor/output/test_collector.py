"""Do all logs get their turn, whatever one child does?"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.supervisor.output.conftest import Daemon, Fifo, Writer
from tests.supervisor.output.known import numbers

from mainstay.supervisor.output.asides import asides
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Dropping, Notice, Policy


@pytest.fixture
def notices() -> list[Notice]:
    return []


@pytest.fixture
def collector(notices: list[Notice]) -> Iterator[Collector]:
    made = Collector(notice=notices.append)
    made.start()
    yield made
    made.close()


@pytest.mark.parametrize("timestamps", [False, True], ids=["raw", "timestamps"])
def test_a_quiet_log_gets_its_turn_while_another_is_flooded(
    tmp_path: Path, fifo: Fifo, collector: Collector, child: Writer, timestamps: bool
) -> None:
    quiet = Fifo(tmp_path / "quiet")
    collector.add(fifo.path, tmp_path / "flooded.log", Policy(timestamps=timestamps, keep=1)).result()
    collector.add(quiet.path, tmp_path / "quiet.log", Policy()).result()
    for number in range(20):
        child.wrote(200_000)  # it goes on all the time
        quiet.write(f"{number}\n".encode())
        collector.drain(tmp_path / "quiet.log").result()
        assert (tmp_path / "quiet.log").read_text().split()[-1] == str(number)
    child.end()
    quiet.close()


@pytest.mark.parametrize("fifo", [1 << 20, 4096], indirect=True)  # one page is what a user with many pipes gets
@pytest.mark.parametrize("timestamps", [False, True], ids=["raw", "timestamps"])
def test_what_a_child_wrote_before_it_ended_is_in_the_log_when_it_was_removed(
    tmp_path: Path, fifo: Fifo, collector: Collector, child: Writer, timestamps: bool
) -> None:
    log = tmp_path / "log"
    collector.add(
        fifo.path, log, Policy(keep=1000, max_size=300_000, timestamps=timestamps, compress=False)
    ).result()
    child.wrote(2_000_000)
    count = child.end()
    collector.remove(log).result()
    assert numbers(log, stamps=timestamps) == list(range(count))
    with pytest.raises(KeyError):
        collector.drain(log).result()


def test_both_streams_of_one_log_are_in_the_order_in_which_they_were_written(
    tmp_path: Path, fifo: Fifo, collector: Collector
) -> None:
    program = "import os\nfor number in range(3000): os.write(1 + number % 2, b'%d\\n' % number)"
    collector.add(fifo.path, tmp_path / "log", Policy()).result()
    subprocess.run([sys.executable, "-c", program], stdout=fifo.fd, stderr=fifo.fd, check=True)
    collector.drain(tmp_path / "log").result()
    assert (tmp_path / "log").read_text().split() == [str(number) for number in range(3000)]


def test_output_that_nobody_wants_can_go_to_dev_null(
    fifo: Fifo, collector: Collector, notices: list[Notice], child: Writer
) -> None:
    collector.add(fifo.path, Path("/dev/null"), Policy()).result()
    child.wrote(3_000_000)
    child.end()
    collector.remove(Path("/dev/null")).result()
    assert notices == []


def test_it_can_be_awaited_and_asked_for_everything(tmp_path: Path, fifo: Fifo, collector: Collector) -> None:
    log = tmp_path / "log"

    async def ask() -> None:
        await asyncio.wrap_future(collector.add(fifo.path, log, Policy()))
        fifo.write(b"one\n")
        await asyncio.wrap_future(collector.drain(log))
        await asyncio.wrap_future(collector.rotate(log))
        assert len(asides(log)) == 1
        fifo.write(b"two\n")
        await asyncio.wrap_future(collector.drain(log))
        await asyncio.wrap_future(collector.flush(log))
        assert asides(log) == []
        log.rename(tmp_path / "renamed")
        await asyncio.wrap_future(collector.reopen(log))
        fifo.write(b"three\n")
        await asyncio.wrap_future(collector.drain(log))
        assert log.read_bytes() == b"three\n"

    asyncio.run(ask())


def test_a_log_that_can_not_be_written_costs_no_other_one(
    tmp_path: Path, fifo: Fifo, collector: Collector, notices: list[Notice], child: Writer
) -> None:
    other = Fifo(tmp_path / "other")
    (tmp_path / "wrong").write_bytes(b"")
    collector.add(fifo.path, tmp_path / "wrong" / "log", Policy()).result()
    collector.add(other.path, tmp_path / "other.log", Policy()).result()
    child.wrote(3_000_000)  # more than its FIFO holds
    other.write(b"fine\n")
    collector.drain(tmp_path / "other.log").result()
    assert (tmp_path / "other.log").read_bytes() == b"fine\n"
    assert isinstance(notices[0], Dropping)
    other.close()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_closing_leaves_what_was_not_written_to_the_next_one(tmp_path: Path, fifo: Fifo, child: Writer) -> None:
    log, before = tmp_path / "log", _open_files()
    for _ in range(5):
        collector = Collector(notice=lambda _: None)
        collector.start()
        collector.add(fifo.path, log, Policy(keep=1000, max_size=200_000)).result()
        child.wrote(500_000)
        collector.close()
    assert _open_files() == before
    last = Daemon(fifo, log, Policy(keep=1000, max_size=200_000))
    last.ready()
    count = child.end()
    last.end()
    assert numbers(log) == list(range(count))
