"""Who has claimed a message, and is that process still there?"""

import os
import re
import socket
import subprocess
import sys

import pytest

from mainstay.inbox.owner import is_alive, owner_name

_SAY_OWNER = "from mainstay.inbox.owner import owner_name; print(owner_name(), flush=True); input()"


def test_an_owner_names_host_process_and_start() -> None:
    host, pid, started = owner_name().rsplit(":", 2)
    assert (host, pid) == (socket.gethostname(), str(os.getpid()))
    assert re.fullmatch("[0-9a-f]{8}", started)


def test_this_process_is_alive() -> None:
    assert is_alive(owner_name())


def test_a_killed_process_is_dead_also_before_anybody_has_waited_for_it() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _SAY_OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        owner = child.stdout.readline().strip()
        assert is_alive(owner)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped
        assert not is_alive(owner)
    assert not is_alive(owner)


def test_a_later_process_with_the_same_number_is_another_one() -> None:
    host, pid, _ = owner_name().rsplit(":", 2)
    assert not is_alive(f"{host}:{pid}:00000001")


def test_one_whose_start_is_not_known_counts_as_alive() -> None:
    assert is_alive(f"{socket.gethostname()}:1:0")


@pytest.mark.parametrize("owner", ["elsewhere:1:1", "elsewhere:2:7", "nonsense", "", "a:b:c"])
def test_who_can_not_be_seen_from_here_counts_as_alive(owner: str) -> None:
    assert is_alive(owner)


def test_a_name_with_colons_is_read_from_the_right() -> None:
    assert is_alive("fe80::1:1:1")
