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
sys.exit(int(sys.argv[1]))
"""


def started(path: Path, *words: str, session: bool = False) -> Forked:
    (path / "program.py").write_text(PROGRAM)
    return fork("program", words, directory=path, environ={"ONLY": "this"}, log=path / "log", session=session)


async def test_it_has_its_own_words_directory_environment_and_output(tmp_path: Path) -> None:
    assert await started(tmp_path, "3", "x").wait() == 3
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
