"""What a machine may lack: programs that are not Python's. `.ci/programs` installs them.

A test that needs one which is not there is skipped; with MAINSTAY_REQUIRE_ALL=1 that is a failure, see conftest.py.
"""

import os
import shutil
from pathlib import Path

import pytest

_MODULES = Path(__file__).parents[1] / ".node" / "node_modules"
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def needs(program: str) -> str:
    """The path of a program; without it the test is skipped."""
    found = shutil.which(program, path=_PATH)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


def pm2() -> str:
    """The path of PM2, which is node's: on the PATH, or where `.ci/programs` has put it."""
    needs("node")
    found = shutil.which("pm2", path=os.pathsep.join([str(_MODULES / ".bin"), _PATH]))
    if found is None:
        pytest.skip("pm2 is not installed")
    return found


def node_modules(module: str) -> tuple[str, Path]:
    """The path of node, and where its modules are, this one among them: `.ci/programs` has put it there."""
    node = needs("node")
    if not (_MODULES / module).is_dir():
        pytest.skip(f"{module} is not installed")
    return node, _MODULES
