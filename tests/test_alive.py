"""A process is known by its pid and by when it started."""

import os
import subprocess
import sys

from mainstay.alive import is_alive, own_mark, started_mark


def test_this_process_is_alive_under_its_own_mark_only() -> None:
    assert own_mark()
    assert is_alive(os.getpid(), own_mark())
    assert not is_alive(os.getpid(), "another start")
    assert not is_alive(os.getpid(), "")


def test_a_process_that_ended_is_gone_even_before_its_parent_has_noticed() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.read()
    child.stdout.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started_mark(child.pid) == ""
    child.wait()
    assert started_mark(child.pid) == ""


def test_no_pid_is_nobody() -> None:
    assert started_mark(0) == ""
    assert started_mark(-1) == ""


def test_a_name_with_parentheses_and_spaces_is_read_over() -> None:
    script = "import ctypes, sys; ctypes.CDLL(None).prctl(15, b') S 1 (x'); print(flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    mark = started_mark(child.pid)
    child.communicate()
    assert mark.split(":")[-1].isdecimal()
    assert int(mark.split(":")[-1]) > 1
