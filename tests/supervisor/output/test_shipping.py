"""Who ships logs elsewhere sees each line once, though files are renamed, compressed and deleted meanwhile."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.supervisor.output.conftest import Fifo, until

from mainstay.supervisor.output.asides import asides
from mainstay.supervisor.output.collector import Collector
from mainstay.supervisor.output.model import Policy

POLICY = Policy(max_size=20_000, keep=1000)


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector(notice=lambda _: None)
    made.start()
    yield made
    made.close()


class Shipper:
    """What Vector and Fluent Bit do: a file is its inode, wherever it is; read on from where one was.

    As the page says that they are to be configured: what was put aside is looked at as well, what is compressed is
    not. An inode that is nowhere any more is forgotten; until then it is held open, so that no other file has it.
    """

    def __init__(self, directory: Path, offsets: dict[int, int]) -> None:
        self._directory = directory
        self._open: dict[int, int] = {}
        self.offsets = offsets
        there = {path.stat().st_ino for path in self._included()}
        for inode in set(offsets) - there:
            del offsets[inode]

    def _included(self) -> list[Path]:
        found = {*self._directory.glob("*.log"), *self._directory.glob("*.log.[0-9]*")}
        return sorted(path for path in found if path.suffix not in (".gz", ".part"))

    def look(self) -> bytes:
        """What has come since the last time, the files one after the other."""
        for path in self._included():
            try:
                fd = os.open(path, os.O_RDONLY)
            except FileNotFoundError:  # compressed just now
                continue
            inode = os.fstat(fd).st_ino
            if inode in self._open:
                os.close(fd)
            else:
                self._open[inode] = fd
        said = b""
        for inode, fd in list(self._open.items()):
            at = self.offsets.get(inode, 0)
            while data := os.pread(fd, 1 << 16, at):
                said, at = said + data, at + len(data)
            self.offsets[inode] = at
            if not os.fstat(fd).st_nlink:
                os.close(self._open.pop(inode))
                del self.offsets[inode]
        return said

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)


def test_a_shipper_that_follows_inodes_sees_each_line_once_also_when_it_is_started_again(
    tmp_path: Path, fifo: Fifo, collector: Collector
) -> None:
    log = tmp_path / "logs" / "web-0.out.log"
    collector.add(fifo.path, log, POLICY).result()
    shipper, said, count = Shipper(log.parent, {}), [], 0
    for turn in range(120):
        for _ in range(300):
            fifo.write(b"%d of a log\n" % count)
            count += 1
        collector.drain(log).result()
        said += shipper.look().splitlines()
        if turn % 20 == 19:
            until(lambda: all(aside.compressed for aside in asides(log)[:-1]))
        if turn % 40 == 39:
            shipper.close()
            shipper = Shipper(log.parent, shipper.offsets)
    shipper.close()
    assert len(asides(log)) > 10
    assert sorted(int(line.split()[0]) for line in said) == list(range(count))


def test_tail_that_follows_the_name_sees_each_line_once(tmp_path: Path, fifo: Fifo, collector: Collector) -> None:
    log = tmp_path / "log"
    collector.add(fifo.path, log, POLICY).result()
    fifo.write(b"0\n")
    collector.drain(log).result()
    command = ["tail", "-n", "+1", "--sleep-interval=0.05", "-F", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tail:
        assert tail.stdout is not None
        seen = [int(tail.stdout.readline())]
        for number in range(1, 30):
            fifo.write(b"%d\n" % number)
            collector.drain(log).result()
            seen.append(int(tail.stdout.readline()))
            if number % 5 == 0:
                collector.rotate(log).result()
        tail.terminate()
    assert seen == list(range(30))
