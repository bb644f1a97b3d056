"""PM2 and node, where they are."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


class Pm2:
    """The real one, with a home of its own."""

    def __init__(self, program: str, home: Path) -> None:
        self.program, self.home = program, home

    def run(self, *words: str) -> str:
        ran = subprocess.run(
            [self.program, *words],
            cwd=self.home,
            env={**os.environ, "PM2_HOME": str(self.home / "pm2"), "PM2_DISCRETE_MODE": "true"},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ran.returncode == 0, ran
        return ran.stdout + ran.stderr

    def listed(self) -> list[dict[str, Any]]:
        """All it knows, by name."""
        known: list[dict[str, Any]] = json.loads(self.run("jlist").splitlines()[-1])
        return sorted(known, key=lambda each: each["name"])

    def warnings(self, file: str) -> list[str]:
        """Of starting it, but for those that PM2 has for every file: it does not run yet, in a new directory."""
        said = re.sub(r"\x1b\[\d+m", "", self.run("start", file))
        warned = [line for line in said.splitlines() if "[WARN]" in line]
        return [line for line in warned if not re.search("not running, starting|Folder does not exist", line)]


@pytest.fixture
def real(pm2: str, tmp_path: Path) -> Iterator[Pm2]:
    made = Pm2(pm2, tmp_path)
    made.run("ping")
    yield made
    made.run("kill")
