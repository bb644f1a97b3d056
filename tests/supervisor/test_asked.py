"""What a user asks about the apps and their logs is answered, and no secret is in the answer."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.supervisor.project import COUNTING, DEADLINE_S, Supervised, kill, python

MANY = """
import time
for number in range(40000):
    print(number, "x" * 40)
print("done", flush=True)
time.sleep(600)
"""
SILENT = {"command": ["sleep", "600"]}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    yield made
    made.run("kill", code=None)


def test_the_environment_is_shown_with_its_origins_and_without_secrets(
    home: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "hush-from-the-shell")
    monkeypatch.setenv("UNREMARKABLE", "hush-as-well")
    monkeypatch.setenv("NODE_ENV", "production")
    home.configure(web={**SILENT, "listen": ["unix:web.sock"]})
    settings = home.directory / "mainstay.toml"
    settings.write_text(settings.read_text() + '\nenv = { PORT = "3999", API = "hush-in-the-settings" }\n')
    before = home.run("env", "web", "--json").stdout
    home.run("start")
    monkeypatch.setenv("NODE_ENV", "of another shell")
    now = home.run("env", "web:0", "--json").stdout
    for said in (before, now):
        assert "hush" not in said
        assert "3999" not in said
        [answer] = json.loads(said)
        found = {each["name"]: each for each in answer["variables"]}
        assert found["NODE_ENV"] == {
            "name": "NODE_ENV",
            "origin": "daemon",
            "value": "production",
            "changes": False,
        }
        assert (found["PORT"]["origin"], found["PORT"]["value"]) == ("settings", None)
        assert (found["UNREMARKABLE"]["origin"], found["UNREMARKABLE"]["value"]) == ("daemon", None)
        assert found["NOTIFY_SOCKET"]["origin"] == "supervisor"
        number = found["MAINSTAY_INSTANCE_ID"]
        assert (number["origin"], number["value"]) == ("supervisor", "0")
        assert not [name for name, each in found.items() if each["changes"]]
    assert [json.loads(said)[0]["running"] for said in (before, now)] == [False, True]
    settings.write_text(settings.read_text().replace("3999", "4000").replace("API", "KEY"))
    home.run("start")  # reads the settings anew; what runs keeps what it has
    [answer] = json.loads(home.run("env", "web", "--json").stdout)
    changes = {each["name"]: each["origin"] for each in answer["variables"] if each["changes"]}
    assert changes == {"PORT": "settings", "KEY": "settings", "API": "earlier"}
    shown = home.run("env", "web").stdout
    assert "hush" not in shown
    assert re.search(r"^API +earlier +changes +\*\*\*$", shown, re.MULTILINE)
    assert home.run("env", "wep", code=2).stderr == "mainstay: there is no app wep; did you mean web?\n"


def test_logs_are_flushed_while_they_are_written_and_when_nothing_runs(home: Supervised) -> None:
    home.configure(web=python(COUNTING), other=python(COUNTING))
    home.run("start")
    home.until(lambda _: len(home.numbers("web")) > 100 and len(home.numbers("other")) > 100)
    words = [sys.executable, "-m", "mainstay", "logs", "-f", "-n", "0", "--raw", "web"]
    with subprocess.Popen(words, cwd=home.directory, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        first = int(following.stdout.readline())
        other = home.numbers("other")
        flushed = json.loads(home.run("flush", "web", "--json").stdout)
        assert [(log["name"], log["stream"], log["files"], log["error"]) for log in flushed] == [
            ("web:0", "out", 1, ""),
            ("web:0", "err", 0, ""),
        ]
        assert flushed[0]["size_bytes"] > 100
        seen = [first, *(int(following.stdout.readline()) for _ in range(300))]
        following.send_signal(signal.SIGINT)
    assert seen == list(range(first, first + 301))
    home.until(lambda _: len(home.numbers("web")) > 0)
    assert home.numbers("web")[0] > 100
    assert home.numbers("other")[: len(other)] == other
    home.run("kill")
    assert re.search(r"^web:0 out: 1 file deleted, .*\n.*in all$", home.run("flush", "web").stdout)
    assert home.run("logs", "web").stdout == ""
    assert home.run("flush", "wep", code=2).stderr == "mainstay: there is no app wep; did you mean web?\n"


def test_a_log_that_can_not_be_written_is_seen_in_every_listing_and_counted(home: Supervised) -> None:
    home.configure(
        web={"command": ["sh", "-c", "echo one; echo two; exec sleep 600"], "out_file": "wrong/web.log"},
        fine=SILENT,
    )
    (home.directory / "wrong").write_text("a file where the directory should be")
    home.run("start")
    found = home.until(lambda now: now["web:0"]["output"][0]["dropped_lines"] == 2)
    assert found["web:0"]["state"] == "ready"
    assert "directory" in found["web:0"]["output"][0]["trouble"]
    assert found["fine:0"]["output"][0]["trouble"] == ""
    assert "web:0: " in home.run("list").stdout.splitlines()[-1]
    said = home.run("show", "web").stdout
    assert "is not written now" in said
    assert "2 lines (8 B) could not be written" in said
    assert any(line["what"] == "Dropping" for line in home.lifecycle())


def test_a_fifo_that_was_deleted_costs_no_line_even_of_a_daemon_that_came_later(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    shutil.rmtree(home.directory / ".mainstay" / "pipes")
    kill(home.daemon())
    home.run("start")
    seen = len(home.numbers("web"))
    home.until(lambda _: len(home.numbers("web")) > seen + 100)
    numbers = home.numbers("web")
    assert numbers == list(range(len(numbers)))
    home.run("restart")
    home.until(lambda _: home.numbers("web").count(0) == 2)


def test_the_words_of_others_are_understood(home: Supervised) -> None:
    home.configure(web=SILENT)
    home.run("start")
    head = home.run("list").stdout.split()[:8]
    for word in ("ls", "l", "ps", "status"):
        assert home.run(word).stdout.split()[:8] == head
    assert json.loads(home.run("jlist").stdout)[0]["name"] == "web:0"
    for word in ("show", "desc", "info"):
        assert home.run(word, "web").stdout.startswith("web:0: ready since ")
    assert home.run("log", "--nostream", "--lines", "3").stdout == ""
    assert home.run("ping").stdout == f"pong: the supervisor runs (pid {home.daemon()})\n"
    home.run("sendSignal", "SIGKILL", "web")
    home.until(lambda now: bool(now["web:0"]["history"]))
    home.run("kill")
    assert home.run("ping", code=3).stderr.startswith("mainstay: no supervisor runs")


def test_what_does_not_start_is_code_1_and_a_reason(home: Supervised) -> None:
    home.configure(
        crash={"command": ["sh", "-c", "exit 3"], "ready": "notify", "restart_delay": "600s"}, fine=SILENT
    )
    done = home.run("start", code=1)
    assert done.stderr == (
        "mainstay: crash:0 does not run: exit code 3; `mainstay logs crash:0` shows what it said, "
        "`mainstay start crash:0` tries again at once\n"
    )
    assert home.run("start", "fine").stderr == ""
    home.configure(crash={"command": ["no-such-program"], "max_restarts": 0}, fine=SILENT)
    home.run("stop", "crash")
    said = json.loads(home.run("start", "crash", "--json", code=1).stdout)
    assert said[0]["state"] == "errored"


@pytest.mark.parametrize("form", ["--json", "--raw"])
def test_in_the_foreground_lines_are_for_machines_where_that_is_asked_for(home: Supervised, form: str) -> None:
    """Across rotations: each line once."""
    home.configure(web=python(MANY, log_max_size="100kB", log_keep=100))
    command = [sys.executable, "-m", "mainstay", "run", form]
    with subprocess.Popen(command, cwd=home.directory, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        seen = []
        for line in running.stdout:
            said = json.loads(line)["line"] if form == "--json" else line.rstrip("\n")
            if said == "done":
                break
            seen.append(said)
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE_S) == 0
    assert seen == [f"{number} {'x' * 40}" for number in range(40000)]
    assert list((home.directory / ".mainstay" / "logs").glob("*.gz"))
