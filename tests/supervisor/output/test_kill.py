"""Is a line lost, cut or written twice when the daemon is killed while a child writes as fast as it can?"""

import random
import re
from itertools import pairwise
from pathlib import Path

import pytest
from tests.supervisor.output.conftest import Daemon, Fifo, Writer
from tests.supervisor.output.known import line, numbers

from mainstay.supervisor.output.model import Policy

KILLS = 20
_READ_BY_HAND = 64 * 1024  # what `Pump` states


def _kill_again_and_again(
    fifo: Fifo, child: Writer, log: Path, policy: Policy, *, times: int = 1, **more: object
) -> int:
    """Returns how many lines were written; ``times`` as much as is enough for the tests of each day."""
    chance = random.Random(2026)
    for turn in range(KILLS):
        aimed = turn % 2 == 1  # at the rotation
        daemon = Daemon(fifo, log, policy, **more, die_at_rename=chance.randint(1, 5) if aimed else None)
        try:
            if aimed:
                daemon.died()
            else:
                daemon.ready()
                child.wrote(times * chance.randint(1_200_000, 4_000_000))
                daemon.kill()
        finally:
            daemon.close()
    last = Daemon(fifo, log, policy, **more)
    try:
        last.ready()
        count = child.end()
        last.end()
    finally:
        last.close()
    return count


@pytest.mark.parametrize(
    ("stamps", "compress", "times"),
    [
        pytest.param(False, False, 1, id="raw, plain"),
        pytest.param(True, True, 1, id="timestamps, compressed"),
        pytest.param(False, False, 4, id="raw, plain, 100 MB", marks=pytest.mark.soak),
        pytest.param(False, True, 4, id="raw, compressed, 100 MB", marks=pytest.mark.soak),
        pytest.param(True, False, 4, id="timestamps, plain, 100 MB", marks=pytest.mark.soak),
    ],
)
def test_no_line_is_lost_cut_or_doubled_by_twenty_kills(
    tmp_path: Path, fifo: Fifo, child: Writer, stamps: bool, compress: bool, times: int
) -> None:
    log = tmp_path / "web-0.out.log"
    policy = Policy(max_size=400_000, keep=100_000, timestamps=stamps, compress=compress)
    count = _kill_again_and_again(fifo, child, log, policy, times=times)
    found = numbers(log, stamps=stamps)
    assert found == list(range(count))
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log*")) > times * 2_000_000


def test_without_splice_a_kill_costs_what_is_stated_and_doubles_nothing(
    tmp_path: Path, fifo: Fifo, child: Writer
) -> None:
    log = tmp_path / "web-0.out.log"
    policy = Policy(max_size=0, timestamps=False)
    for _ in range(KILLS):
        daemon = Daemon(fifo, log, policy, splice=False)
        daemon.ready()
        child.wrote(1_500_000)
        daemon.kill()
    last = Daemon(fifo, log, policy, splice=False)
    last.ready()
    count = child.end()
    last.end()
    written = sum(len(line(number)) for number in range(count))
    assert written - KILLS * _READ_BY_HAND <= log.stat().st_size <= written
    seen = [int(match[1]) for match in re.finditer(rb"^(\d+) .* \1$", log.read_bytes(), re.MULTILINE)]
    assert all(earlier < later for earlier, later in pairwise(seen))
    assert seen[-1] == count - 1
