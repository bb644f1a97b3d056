"""The daemon and its keeper go on with other code, and nobody who is supervised, writes or asks notices."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.supervisor.project import COUNTING, DEADLINE_S, Supervised, gone, python

import mainstay
from mainstay.errors import MainstayError
from mainstay.supervisor.client import Daemon

ENDS = (
    "import pathlib, sys, time\n"
    "while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    "sys.exit(7)"
)  # fmt: skip


class Installed(Supervised):
    """A project whose ``mainstay`` is a copy, which a test may change."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.package = directory / "site" / "mainstay"
        shutil.copytree(Path(mainstay.__file__).parent, self.package, ignore=shutil.ignore_patterns("__pycache__"))

    def run(self, *words: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHONPATH": str(self.package.parent)}
        done = subprocess.run(
            [sys.executable, "-P", "-m", "mainstay", *words],
            cwd=self.directory,
            env=environ,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert code is None or done.returncode == code, done
        return done

    def append(self, module: str, text: str) -> None:
        path = self.package / module
        path.write_text(f"{path.read_text()}\n{text}\n")

    def updated(self, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("update", "--json", code=code).stdout)
        return found

    @property
    def at(self) -> Path:
        return self.directory / ".mainstay"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.run("kill", code=None)


@pytest.fixture
def installed(tmp_path: Path) -> Iterator[Installed]:
    made = Installed(tmp_path)
    yield made
    made.run("kill", code=None)


@contextmanager
def asking(at: Path) -> Iterator[list[str]]:
    """Somebody asks all the time; what was not answered."""
    failed: list[str] = []
    over = threading.Event()

    def ask() -> None:
        with suppress(MainstayError), Daemon(at) as patient:
            while not over.is_set():
                try:
                    patient.ask("list", names=[], timeout_s=DEADLINE_S)
                    with Daemon(at) as another:
                        another.ask("list", names=[], timeout_s=DEADLINE_S)
                except MainstayError as error:
                    failed.append(str(error))
                    return

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for each in asking:
        each.start()
    try:
        yield failed
    finally:
        over.set()
        for each in asking:
            each.join()


def test_children_go_on_every_line_is_there_once_and_whoever_asks_is_answered(home: Supervised) -> None:
    home.configure(
        web=python(COUNTING, instances=3),
        waits={"command": ["sh", "-c", "exit 3"], "restart_delay": "600s"},
    )
    home.run("start", "web")
    home.run("start", "--no-wait", "waits")
    before = home.until(lambda now: now["waits:0"]["state"] == "backoff")
    daemon = home.daemon()
    with asking(home.directory / ".mainstay") as failed:
        for _ in range(3):
            assert f"process {daemon}" in home.run("update").stdout
    assert failed == []
    after = home.instances()
    assert {name: each["pid"] for name, each in after.items()} == {n: each["pid"] for n, each in before.items()}
    # by the clock of the machine: the time of day is reckoned from that anew, to the millisecond
    ends = [[each["at_s"] for each in now["waits:0"]["history"]] for now in (before, after)]
    assert (after["waits:0"]["state"], ends[1]) == ("backoff", ends[0])
    seen = len(home.numbers("web"))
    home.until(lambda _: len(home.numbers("web")) > seen)
    numbers = home.numbers("web")
    assert numbers == list(range(len(numbers)))
    assert [line["failed"] for line in home.lifecycle() if line["what"] == "updated"] == [""] * 3


def test_who_ends_meanwhile_is_seen_to_have_ended_and_how(home: Supervised) -> None:
    home.configure(web=python(ENDS, cwd=str(home.directory), instances=10, restart_delay="600s"))
    home.run("start")
    updating = subprocess.Popen([sys.executable, "-m", "mainstay", "update"], cwd=home.directory)
    (home.directory / "go").touch()
    assert updating.wait(DEADLINE_S) == 0
    found = home.until(lambda now: {each["state"] for each in now.values()} == {"backoff"})
    assert {each["ended"] for each in found.values()} == {"exit code 7"}
    assert {each["restarts"] for each in found.values()} == {0}


def test_who_waits_for_something_else_is_told_that_there_was_an_update(home: Supervised) -> None:
    home.configure(never=python("import time; time.sleep(600)", ready="notify", ready_timeout="600s"))
    home.run("start", "--no-wait")
    with Daemon(home.directory / ".mainstay", timeout_s=DEADLINE_S) as waiting:
        said: list[str] = []

        def wait() -> None:
            try:
                waiting.ask("restart", names=[], wait=True)
            except MainstayError as error:
                said.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        home.until(lambda now: now["never:0"]["restarts"] == 1)
        home.run("update")
        thread.join()
    assert len(said) == 1
    assert "was updated while it did this" in said[0]


def test_the_code_is_other_code_and_the_processes_are_the_same(installed: Installed) -> None:
    installed.configure(web=python(COUNTING))
    installed.run("start")
    child = installed.instances()["web:0"]["pid"]
    before = installed.updated()
    installed.append("supervisor/keeper.py", "# another release")
    assert "mainstay update" in _changed(installed).stderr
    after = installed.updated()
    assert (after["pid"], after["keeper"]) == (before["pid"], before["keeper"])
    assert after["pid"] == installed.daemon()
    assert after["code"] != before["code"]
    assert after["keeper_code"] != before["keeper_code"]
    assert installed.instances()["web:0"]["pid"] == child
    os.kill(child, signal.SIGKILL)
    found = installed.until(lambda now: now["web:0"]["restarts"] == 1)["web:0"]
    assert found["history"][0]["reason"] == "signal"


def _changed(installed: Installed) -> subprocess.CompletedProcess[str]:
    """The running code is told to read a configuration that is new, by code that is another one."""
    with (installed.directory / "mainstay.toml").open("a") as file:
        file.write("\ninstances = 1\n")
    return installed.run("start", code=1)


@pytest.mark.parametrize("module", ["supervisor/life.py", "config/load.py", "cli/main.py"])
def test_code_that_does_not_start_replaces_nobody(installed: Installed, module: str) -> None:
    installed.configure(web=python(COUNTING))
    installed.run("start")
    before, daemon = installed.instances(), installed.daemon()
    whole = (installed.package / module).read_text()
    installed.append(module, "import no_such_module")
    with Daemon(installed.at, timeout_s=DEADLINE_S) as talk, pytest.raises(MainstayError) as refused:
        talk.ask("update")
    assert "goes on as it was" in str(refused.value)
    assert "no_such_module" in str(refused.value)
    (installed.package / module).write_text(whole)
    assert not gone(daemon)
    assert installed.daemon() == daemon
    assert {each["pid"] for each in installed.instances().values()} == {each["pid"] for each in before.values()}
    assert installed.updated()["pid"] == daemon


def test_a_keeper_that_could_not_go_on_with_the_new_code_stays_what_it_is(installed: Installed) -> None:
    installed.configure(web=python(COUNTING))
    installed.run("start")
    child = installed.instances()["web:0"]["pid"]
    before = installed.updated()
    installed.append("supervisor/keeper.py", "import no_such_module")
    after = installed.updated(code=1)
    assert (after["keeper"], after["keeper_code"]) == (before["keeper"], before["keeper_code"])
    assert "the keeper goes on as it was" in after["failed"]
    assert "no_such_module" in after["failed"]
    os.kill(child, signal.SIGKILL)
    found = installed.until(lambda now: now["web:0"]["restarts"] == 1)["web:0"]
    assert found["history"][0]["detail"] == "killed by SIGKILL"


def test_in_the_foreground_it_goes_on_showing_what_the_apps_say(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    shown = home.directory / "shown"
    with shown.open("w") as file:
        running = subprocess.Popen([sys.executable, "-m", "mainstay", "run"], cwd=home.directory, stdout=file)
    try:
        until_s = time.monotonic() + DEADLINE_S
        while not shown.read_text().count("\n"):
            assert time.monotonic() < until_s
        home.run("update")
        assert home.daemon() == running.pid
        seen = shown.read_text().count("\n")
        while shown.read_text().count("\n") == seen:
            assert time.monotonic() < until_s
        running.terminate()
        assert running.wait(DEADLINE_S) == 0
    finally:
        running.kill()
        running.wait()
    numbers = [int(line.rpartition("| ")[2]) for line in shown.read_text().splitlines()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert home.numbers("web")[-1] == numbers[-1]
