"""As the first process of a container it buries the orphans, is updated in place, and ends when it is told to."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.process.conftest import DEADLINE_S

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
ORPHANS = "for n in 1 2 3; do (setsid sleep 0.1 & ); done; echo up; exec sleep 600"
"""Each sleeper has lost its parent when it ends."""

pytestmark = pytest.mark.skipif(
    subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no process may be the first of a new namespace here: be root, with unshare(1)",
)


def until(holds: Callable[[], object]) -> None:
    until_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until_s
        time.sleep(0.01)


def status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children(pid: int) -> dict[int, dict[str, str]]:
    found = {
        int(entry.name): status(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal()
    }
    return {child: each for child, each in found.items() if each.get("PPid") == str(pid)}


class Container:
    """Its first process, by the pid that it has out here."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running = subprocess.Popen(
            [*UNSHARE, sys.executable, "-m", "mainstay", "run"], cwd=directory, stdout=subprocess.DEVNULL
        )
        until(lambda: children(self.running.pid))
        [self.first] = children(self.running.pid)

    def list(self) -> dict[str, object]:
        told = subprocess.run(
            [sys.executable, "-m", "mainstay", "list", "--json"],
            cwd=self.directory,
            capture_output=True,
            check=False,
        )
        return dict(json.loads(told.stdout)[0]) if told.returncode == 0 else {}

    def inside(self) -> set[int]:
        """Everybody who lives in it."""
        own = Path(f"/proc/{self.first}/ns/pid").readlink()
        found = set()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and (entry / "ns" / "pid").readlink() == own:
                    found.add(int(entry.name))
            except OSError:
                continue
        return found

    def keeper(self) -> int:
        return next((pid for pid in self.inside() if status(pid).get("Name") == "mainstay-keeper"), 0)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    settings = {"command": ["sh", "-c", ORPHANS], "restart_delay": "0s"}
    lines = ["[apps.web]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
    (tmp_path / "mainstay.toml").write_text("\n".join(lines))
    made = Container(tmp_path)
    try:
        until(lambda: made.list().get("state") == "ready")
        yield made
    finally:
        made.running.kill()
        made.running.wait()


def test_nobody_who_has_ended_stays_whoever_is_gone(container: Container) -> None:
    keeper = container.keeper()

    def asleep() -> list[int]:
        return [pid for pid, each in children(keeper).items() if each["State"].startswith("S")]

    until(lambda: len(asleep()) == 1)  # the orphans that the app leaves come and go
    [app] = asleep()
    os.kill(keeper, signal.SIGKILL)
    os.kill(app, signal.SIGKILL)

    def is_clean() -> bool:
        dead = [pid for pid in container.inside() if status(pid).get("State", "").startswith("Z")]
        return not dead and container.list().get("restarts") == 1 and container.keeper() not in (0, keeper)

    until(is_clean)


def test_it_is_updated_and_stays_the_first_process(container: Container) -> None:
    before = container.list()["pid"]
    told = subprocess.run(
        [sys.executable, "-m", "mainstay", "update", "--json"],
        cwd=container.directory,
        capture_output=True,
        check=True,
    )
    assert json.loads(told.stdout)["pid"] == 1
    assert status(container.first)["Name"] == "mainstay-daemon"
    assert container.list()["pid"] == before


def test_it_ends_with_everybody_when_it_is_told_to(container: Container) -> None:
    everybody = container.inside()
    os.kill(container.first, signal.SIGTERM)
    assert container.running.wait(DEADLINE_S) == 0
    assert all(not status(pid) or status(pid)["State"].startswith("Z") for pid in everybody)
