"""Is what was forked a process like one that was started?"""

import signal
from pathlib import Path

import pytest

from mainstay.testing.forked import Forked, fork

pytestmark = pytest.mark.anyio

PROGRAM = """
import os, signal, sys
print(__name__, sys.argv[1:], os.getcwd(), dict(os.environ), os.getsid(0) == os.getpid(), flush=True)
if sys.argv[1] == "waits":
    signal.pause()
print("wrong", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


def started(path: Path, *words: str, session: bool = False) -> Forked:
    (path / "program.py").write_text(PROGRAM)
    log, errors = path / "log", path / "errors"
    return fork("program", words, directory=path, environ={"ONLY": "this"}, log=log, errors=errors, session=session)


async def test_it_has_its_own_words_directory_environment_and_output(tmp_path: Path) -> None:
    assert await started(tmp_path, "3", "x").wait() == 3
    assert (tmp_path / "errors").read_text() == "wrong\n"
    assert (tmp_path / "log").read_text() == f"__main__ ['3', 'x'] {tmp_path} {{'ONLY': 'this'}} False\n"


async def test_it_has_a_session_of_its_own_where_that_is_asked_for(tmp_path: Path) -> None:
    assert await started(tmp_path, "0", session=True).wait() == 0
    assert (tmp_path / "log").read_text().endswith("True\n")


async def test_a_signal_ends_it_as_it_ends_every_process(tmp_path: Path) -> None:
    forked = started(tmp_path, "waits")
    assert forked.returncode is None
    forked.send_signal(signal.SIGKILL)
    assert await forked.wait() == -signal.SIGKILL == forked.returncode
    forked.send_signal(signal.SIGTERM)  # nobody is there any more, and that is no error


async def test_its_output_is_added_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    assert await started(tmp_path, "0").wait() == 0
    assert (tmp_path / "log").read_text().startswith("before\n__main__")


def test_what_does_not_end_in_time_is_told(tmp_path: Path) -> None:
    forked = started(tmp_path, "waits")
    try:
        with pytest.raises(TimeoutError, match="has not ended within 0"):
            forked.join(0)
    finally:
        forked.send_signal(signal.SIGKILL)
    assert forked.join() == -signal.SIGKILL
