"""What becomes of logs when something goes wrong that nobody has thought of, or somebody deletes what is in use?"""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.supervisor.output.conftest import WITHIN_S, Fifo, Writer, until

from mainstay.clock import SystemClock
from mainstay.supervisor.output.asides import asides
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.fifo import written_by
from mainstay.supervisor.output.model import CollectorFailed, Flushed, Notice, Policy, Source, Stream
from mainstay.supervisor.output.reader import Reader


class Told:
    """What the collector has told; one can wait for the next."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.fails = False
        self.goes_on = threading.Event()
        self.goes_on.set()
        self._new = threading.Semaphore(0)

    def __call__(self, notice: Notice) -> None:
        self.notices.append(notice)
        self._new.release()
        self.goes_on.wait(WITHIN_S)
        if self.fails:
            raise RuntimeError("the ear is deaf")

    def wait(self) -> None:
        assert self._new.acquire(timeout=WITHIN_S)


class FailingClock(SystemClock):
    """A clock that is asked by rotation by time, and breaks so many times; only in the thread that writes logs."""

    def __init__(self) -> None:
        self.fails = 0

    def monotonic(self) -> float:
        if self.fails and threading.current_thread().name == "output":
            self.fails -= 1
            raise RuntimeError("the clock is broken")
        return super().monotonic()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> FailingClock:
    return FailingClock()


@pytest.fixture
def collector(told: Told, clock: FailingClock) -> Iterator[Collector]:
    made = Collector(notice=told, clock=clock)
    made.start()
    yield made
    made.close()


def test_an_error_that_nobody_has_thought_of_costs_one_log_its_lines_for_a_while_and_is_told(
    tmp_path: Path, fifo: Fifo, collector: Collector, told: Told, clock: FailingClock
) -> None:
    other = Fifo(tmp_path / "other")
    log = tmp_path / "wrong" / "log"
    log.parent.write_bytes(b"where the directory should be: what does not fit is asked the time")
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    collector.add(other.path, tmp_path / "other.log", Policy()).result(WITHIN_S)
    clock.fails = 1
    fifo.write(b"lost\n")
    told.wait()
    [failed] = told.notices
    assert isinstance(failed, CollectorFailed)
    assert (failed.path, "the clock is broken" in failed.reason) == (log, True)
    assert "the clock is broken" in collector.losses(log).trouble
    other.write(b"fine\n")
    collector.drain(tmp_path / "other.log").result(WITHIN_S)
    assert (tmp_path / "other.log").read_bytes() == b"fine\n"
    assert collector.losses(tmp_path / "other.log").trouble == ""
    log.parent.unlink()
    until(lambda: collector.losses(log).trouble == "")
    fifo.write(b"there again\n")
    collector.drain(log).result(WITHIN_S)
    assert log.read_bytes().endswith(b"there again\n")
    assert collector.losses(log).dropped_lines == 1
    other.close()


def test_no_child_waits_for_a_log_that_fails_again_and_again(
    tmp_path: Path, fifo: Fifo, collector: Collector, told: Told, clock: FailingClock, child: Writer
) -> None:
    log = tmp_path / "wrong" / "log"
    log.parent.write_bytes(b"")
    clock.fails = 1_000_000
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    child.wrote(4_000_000)  # more than its FIFO holds
    assert collector.losses(log).dropped_bytes > 2_000_000
    assert any(isinstance(each, CollectorFailed) for each in told.notices)
    clock.fails = 0


def test_it_goes_on_when_even_the_telling_fails(
    tmp_path: Path, fifo: Fifo, collector: Collector, told: Told
) -> None:
    log = tmp_path / "logs" / "log"
    log.parent.write_bytes(b"")
    told.fails = True
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    fifo.write(b"lost\n")
    told.wait()
    told.fails = False
    log.parent.unlink()
    until(lambda: collector.losses(log).trouble == "")
    fifo.write(b"there again\n")
    collector.drain(log).result(WITHIN_S)
    assert log.read_bytes().endswith(b"there again\n")


def test_a_log_whose_directory_is_deleted_goes_on_in_a_new_one(
    tmp_path: Path, fifo: Fifo, collector: Collector
) -> None:
    log = tmp_path / "logs" / "log"
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    fifo.write(b"before\n")
    collector.drain(log).result(WITHIN_S)
    shutil.rmtree(log.parent)
    fifo.write(b"after\n")
    collector.drain(log).result(WITHIN_S)
    assert log.read_bytes() == b"after\n"


@pytest.mark.parametrize("timestamps", [False, True], ids=["raw", "timestamps"])
def test_bytes_that_are_no_text_are_kept_as_they_are(
    tmp_path: Path, fifo: Fifo, collector: Collector, timestamps: bool
) -> None:
    log, said = tmp_path / "log", b"\0\xff\xfe\n\xe4\xbd\n\0\0\0\r\n"
    collector.add(fifo.path, log, Policy(timestamps=timestamps)).result(WITHIN_S)
    fifo.write(said)
    collector.drain(log).result(WITHIN_S)
    written = log.read_bytes()
    assert b"".join(each[25 * timestamps :] for each in written.splitlines(keepends=True)) == b"".join(
        said.splitlines(keepends=True)
    )


def test_a_log_that_is_added_again_loses_nothing_be_it_to_the_same_fifo_or_another(
    tmp_path: Path, fifo: Fifo, collector: Collector, told: Told
) -> None:
    log, other = tmp_path / "log", Fifo(tmp_path / "other")
    (tmp_path / "wrong").write_bytes(b"")
    collector.add(other.path, tmp_path / "wrong" / "log", Policy()).result(WITHIN_S)
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    fifo.write(b"one\n")
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    fifo.write(b"two\n")
    collector.drain(log).result(WITHIN_S)
    told.goes_on.clear()
    other.write(b"lost, and told\n")
    told.wait()
    fifo.write(b"three\n" * 150_000)  # more than is moved in one turn
    fifo.path.unlink()
    again = Fifo(fifo.path)
    added = collector.add(again.path, log, Policy())
    told.goes_on.set()
    added.result(WITHIN_S)
    again.write(b"four\n")
    collector.drain(log).result(WITHIN_S)
    assert log.read_bytes() == b"one\ntwo\n" + b"three\n" * 150_000 + b"four\n"
    again.close()
    other.close()


def test_a_fifo_that_was_deleted_is_found_by_the_process_that_has_it(fifo: Fifo) -> None:
    assert written_by(os.getpid(), fifo.fd, fifo.path) == fifo.path
    fifo.path.unlink()
    held = written_by(os.getpid(), fifo.fd, fifo.path)
    assert os.path.samestat(held.stat(), os.fstat(fifo.fd))
    assert written_by(os.getpid(), 0, fifo.path) == fifo.path


def test_a_flush_deletes_what_was_put_aside_too_and_tells_how_much(
    tmp_path: Path, fifo: Fifo, collector: Collector
) -> None:
    log = tmp_path / "log"
    collector.add(fifo.path, log, Policy(compress=False)).result(WITHIN_S)
    for _ in range(3):
        fifo.write(b"x" * 99 + b"\n")
        collector.drain(log).result(WITHIN_S)
        collector.rotate(log).result(WITHIN_S)
    fifo.write(b"last\n")  # counts as said before
    assert collector.flush(log).result(WITHIN_S) == Flushed(files=4, size_bytes=305)
    assert (asides(log), log.read_bytes()) == ([], b"")
    assert collector.flush(tmp_path / "unknown").result(WITHIN_S) == Flushed()


def test_a_flush_follows_no_link_and_leaves_devices_alone(tmp_path: Path, collector: Collector) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"said\n")
    link.symlink_to(real)
    assert collector.flush(link).result(WITHIN_S) == Flushed(files=1, size_bytes=5)
    assert link.is_symlink()
    assert real.read_bytes() == b""
    assert collector.flush(Path("/dev/null")).result(WITHIN_S) == Flushed()
    assert Path("/dev/null").is_char_device()


def test_who_follows_a_log_misses_nothing_but_what_was_flushed(
    tmp_path: Path, fifo: Fifo, collector: Collector
) -> None:
    """Between two looks there may be a flush, and more written than was there before."""
    log = tmp_path / "log"
    reader = Reader([Source(app="web", number=0, stream=Stream.OUT, path=log)])
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    reader.last(0, follow=True)
    for turn in range(3):
        fifo.write(b"%d before\n" % turn)
        collector.drain(log).result(WITHIN_S)
        assert polled(reader) == [b"%d before" % turn]
        collector.flush(log).result(WITHIN_S)
        fifo.write(b"%d after, and longer\n" % turn)
        collector.drain(log).result(WITHIN_S)
        assert polled(reader) == [b"%d after, and longer" % turn]
    reader.close()


def test_a_line_that_is_flushed_before_its_end_is_whole_afterwards(
    tmp_path: Path, fifo: Fifo, collector: Collector
) -> None:
    log = tmp_path / "log"
    collector.add(fifo.path, log, Policy()).result(WITHIN_S)
    fifo.write(b"one\ntw")
    assert collector.flush(log).result(WITHIN_S) == Flushed(files=1, size_bytes=4)
    fifo.write(b"o\n")
    collector.drain(log).result(WITHIN_S)
    assert log.read_bytes() == b"two\n"


def polled(reader: Reader) -> list[bytes]:
    found = [line.text for line in reader.poll()]
    while reader.behind:
        found += [line.text for line in reader.poll()]
    return found
