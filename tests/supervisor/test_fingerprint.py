"""A plan is never read by other code than that which wrote it."""

import shutil
import subprocess
import sys
from pathlib import Path

import mainstay

PROGRAM = "from mainstay.supervisor.fingerprint import of_daemon; print(of_daemon())"


def test_whatever_of_the_supervisor_is_changed_is_seen(tmp_path: Path) -> None:
    package = tmp_path / "mainstay"
    shutil.copytree(Path(mainstay.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))

    def fingerprint() -> str:
        asked = [sys.executable, "-c", PROGRAM]
        return subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    seen = {fingerprint()}
    rooms = {path.parent for path in (package / "supervisor").rglob("*.py")} | {package}
    for room in rooms:
        with (room / "__init__.py").open("a") as file:
            file.write("# changed\n")
        seen.add(fingerprint())
    assert len(rooms) > 3
    assert len(seen) == 1 + len(rooms)
