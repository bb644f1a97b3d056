"""What happens while the disk takes nothing more?"""

import json
import subprocess
import sys
from pathlib import Path


def test_a_full_disk_loses_nothing_that_was_confirmed_and_recovery_shows_by_itself(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("disk.py")), str(tmp_path / "test.db")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    seen = json.loads(child.stdout)
    assert seen["before"] == "stored"
    assert "the disk" in seen["full"]
    assert (seen["check"], seen["still"]) == ("down", "down")
    assert seen["after"] == "stored"
    assert seen["notes"] == ["before", "after"]
    assert seen["tables"] == ["notes"]
