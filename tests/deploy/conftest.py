"""PM2 and node, where they are."""

import os
import shutil
from pathlib import Path

import pytest

_OURS = Path(__file__).parents[2] / ".node/node_modules/.bin"


@pytest.fixture(scope="session")
def node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    return found


@pytest.fixture(scope="session")
def pm2(node: str) -> str:
    found = shutil.which("pm2", path=os.pathsep.join((str(_OURS), os.environ["PATH"])))
    if found is None:
        pytest.skip("pm2 is not installed")
    return found
