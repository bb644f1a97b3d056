"""Apps stay as they were asked to be, whoever dies: typed as a user types it, with real processes."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.supervisor.project import COUNTING, DEADLINE_S, Supervised, gone, kill, python, supervised, until

from mainstay.errors import MainstayError
from mainstay.supervisor.client import Daemon

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
away = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(away.pid, flush=True)
time.sleep(600)
"""
HANGING = """
import faulthandler, time
from mainstay.notify import Notifier

def stuck():
    time.sleep(600)

faulthandler.enable()
Notifier().say("READY=1", "STATUS=well so far")
stuck()
"""
BLOCKED = """
import asyncio, time
from mainstay.containment.blocked import watching_the_loop
from mainstay.notify import Notifier

def stuck():
    time.sleep(600)

async def waits():
    await asyncio.sleep(600)

async def main():
    notifier = Notifier()
    waiting = asyncio.create_task(waits(), name="turn 7")
    with watching_the_loop(notifier):
        telling = asyncio.create_task(notifier.keep_alive())
        notifier.say("READY=1")
        await asyncio.sleep(0)
        stuck()

asyncio.run(main())
"""
WELL = """
import faulthandler, time
from mainstay.notify import Notifier

def well():
    while True:
        notifier.say("WATCHDOG=1")
        time.sleep(0.1)

faulthandler.enable()
notifier = Notifier()
notifier.say("READY=1")
well()
"""
LEAKING = """
import time
kept = []
while True:
    kept.append(bytearray(8_000_000))
    time.sleep(0.02)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    with supervised(made):
        yield made


@contextmanager
def begun(home: Supervised) -> Iterator[subprocess.Popen[bytes]]:
    """A daemon, which starts nothing by itself, and has ended at the end of the block."""
    words = [sys.executable, "-m", "mainstay", "daemon"]
    with subprocess.Popen(words, cwd=home.directory) as daemon:
        until_s = time.monotonic() + DEADLINE_S
        while all((line["what"], line.get("pid")) != ("daemon", daemon.pid) for line in home.lifecycle()):
            assert time.monotonic() < until_s
        yield daemon


def test_what_is_configured_runs_until_it_is_stopped(home: Supervised) -> None:
    home.configure(web=python(COUNTING, instances=2), later=python(COUNTING, autostart=False))
    listed = home.run("start").stdout
    assert re.search(r"^web:0 +ready +\d+", listed, re.MULTILINE)
    found = home.instances()
    assert {name: each["state"] for name, each in found.items()} == {
        "web:0": "ready",
        "web:1": "ready",
        "later:0": "stopped",
    }
    home.run("stop", "web:1")
    assert gone(found["web:1"]["pid"])
    assert home.instances()["web:0"]["pid"] == found["web:0"]["pid"]
    home.run("restart", "web:0")
    again = home.instances()["web:0"]
    assert (again["state"], again["restarts"]) == ("ready", 1)
    assert again["pid"] != found["web:0"]["pid"]
    assert gone(found["web:0"]["pid"])


def test_a_loop_of_crashes_ends_and_is_begun_anew_by_hand(home: Supervised) -> None:
    home.configure(crash={"command": ["sh", "-c", "exit 3"], "max_restarts": 2})
    home.run("start", code=None)
    found = home.until(lambda now: now["crash:0"]["state"] == "errored")["crash:0"]
    assert (found["restarts"], found["ended"]) == (2, "exit code 3")
    assert "given up after 2 restarts in a row" in home.run("list").stdout
    home.run("reset", "crash")
    assert home.instances()["crash:0"]["state"] == "stopped"
    home.run("start", code=None)
    home.until(lambda now: now["crash:0"]["restarts"] == 2)


def test_one_that_is_killed_is_started_again_and_the_record_says_why(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    before = home.instances()["web:0"]["pid"]
    os.kill(before, signal.SIGKILL)
    found = home.until(lambda now: now["web:0"]["pid"] not in (before, None) and now["web:0"]["state"] == "ready")
    [restart] = found["web:0"]["history"]
    assert (restart["reason"], restart["detail"]) == ("signal", "killed by SIGKILL")


def test_a_kill_of_the_daemon_leaves_the_children_their_pids_and_every_line(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    pid = home.instances()["web:0"]["pid"]
    for _ in range(3):
        kill(home.daemon())
        assert "has died, and what it kept goes on" in home.run("list", code=3).stderr
        assert not gone(pid)
        home.run("start")
        assert home.instances()["web:0"]["pid"] == pid
    seen = len(home.numbers("web"))
    home.until(lambda _: len(home.numbers("web")) > seen)
    numbers = home.numbers("web")
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize("with_the_keeper", [False, True])
def test_what_goes_on_without_its_daemon_can_be_stopped_and_killed(home: Supervised, with_the_keeper: bool) -> None:
    home.configure(web={"command": ["sleep", "600"]}, bot={"command": ["sleep", "600"]})
    home.run("start")
    [keeper] = [line["keeper"] for line in home.lifecycle() if line["what"] == "daemon"]

    def die() -> None:
        kill(home.daemon())
        if with_the_keeper:
            kill(keeper)

    die()
    assert "what it kept goes on" in home.run("list", code=3).stderr
    assert re.search(r"^web:0 +stopped", home.run("stop", "web").stdout, re.MULTILINE)
    assert home.everybody("bot:0")
    kill(home.daemon())
    (home.directory / "mainstay.toml").write_text("[broken")
    assert home.run("kill").stdout == "the supervisor and its apps have ended\n"
    assert not home.everybody()
    assert home.run("kill").stdout == "no supervisor runs\n"
    (home.directory / "mainstay.toml").unlink()
    home.configure(web={"command": ["sleep", "600"]})
    home.run("start")
    home.run("stop")
    kill(home.daemon())
    assert "its apps" not in home.run("list", code=3).stderr
    home.run("kill")
    assert not home.everybody()


def test_what_was_started_while_nothing_could_be_written_goes_on_under_the_next_daemon(
    home: Supervised,
) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    first = home.instances()["web:0"]["pid"]
    (home.directory / ".mainstay" / "supervisor.new").mkdir()
    kill(first)
    is_another = {"state": "ready", "restarts": 1}
    second = home.until(lambda now: is_another.items() <= now["web:0"].items())["web:0"]["pid"]
    kill(home.daemon())
    (home.directory / ".mainstay" / "supervisor.new").rmdir()
    home.run("start")
    found = home.instances()["web:0"]
    assert first != second == found["pid"]
    assert (found["restarts"], found["ended"]) == (1, "killed by SIGKILL")


def test_a_state_that_was_cut_is_said_in_one_line_and_nothing_is_touched(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    pid = home.instances()["web:0"]["pid"]
    kill(home.daemon())
    kept = home.directory / ".mainstay" / "supervisor.json"
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-9])
    [said] = home.run("start", code=1).stderr.splitlines()
    assert "supervisor.json can not be read" in said
    assert not gone(pid)
    kept.write_bytes(whole)
    home.run("start")
    assert home.instances()["web:0"]["pid"] == pid


def test_how_a_child_ended_while_no_daemon_was_there_is_known_and_it_is_started_again(home: Supervised) -> None:
    code = "import pathlib, sys, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\nsys.exit(7)"
    home.configure(web=python(code, cwd=str(home.directory), restart_delay="600s"))
    home.run("start")
    pid = home.instances()["web:0"]["pid"]
    kill(home.daemon())
    (home.directory / "go").touch()
    until_s = time.monotonic() + DEADLINE_S
    while not gone(pid):
        assert time.monotonic() < until_s
    home.run("start", "--no-wait")
    found = home.until(lambda now: now["web:0"]["state"] == "backoff")["web:0"]
    assert (found["history"][0]["reason"], found["ended"]) == ("exit", "exit code 7")


def test_nothing_is_left_of_one_that_does_not_want_to_end(home: Supervised) -> None:
    home.configure(web=python(STUBBORN, stop_timeout="300ms"))
    home.run("start")
    pid = home.instances()["web:0"]["pid"]
    log = home.directory / ".mainstay" / "logs" / "web-0.out.log"
    home.until(lambda _: log.exists() and log.read_text().endswith("\n"))
    away = int(log.read_text())
    assert not gone(away)
    home.run("stop")
    assert gone(pid)
    until_s = time.monotonic() + DEADLINE_S
    while not gone(away):
        assert time.monotonic() < until_s


def test_one_that_takes_too_much_memory_is_started_again(home: Supervised) -> None:
    home.configure(web=python(LEAKING, memory_limit="100MiB"))
    home.run("start")
    found = home.until(lambda now: bool(now["web:0"]["history"]))
    restart = found["web:0"]["history"][0]
    assert restart["reason"] == "memory"
    assert "more than 100.0 MiB" in restart["detail"]


def test_one_that_hangs_leaves_its_stacks_and_is_started_again(home: Supervised) -> None:
    home.configure(web=python(HANGING, ready="notify", watchdog="300ms"))
    assert "well so far" in home.run("start").stdout
    found = home.until(lambda now: bool(now["web:0"]["history"]))
    restart = found["web:0"]["history"][0]
    assert restart["reason"] == "hang"
    assert "stacks" not in restart, "they are for those who look closer"
    until(lambda: "in stuck" in (home.home / "supervisor.json").read_text())
    kill(home.daemon())
    home.run("start", "--no-wait")
    [described] = json.loads(home.run("describe", "web", "--json").stdout)
    assert "in stuck" in described["history"][0]["stacks"]
    assert "in stuck" in home.run("describe", "web").stdout


def test_who_asks_a_service_that_does_not_answer_hears_what_the_supervisor_knows(home: Supervised) -> None:
    home.configure(bot={"command": "mainstay serve", "autostart": False}, other=python(COUNTING))
    with socket.socket() as taken, (home.directory / "mainstay.toml").open("a") as file:
        taken.bind(("127.0.0.1", 0))
        file.write(f"\n[service]\nport = {taken.getsockname()[1]}\n")
    home.run("start")
    told = home.run("health", code=3).stderr
    assert told.endswith("start it with `mainstay serve`; the supervisor says: bot:0 is stopped\n")


def test_of_one_that_hangs_and_says_nothing_the_record_names_its_log(home: Supervised) -> None:
    home.configure(web=python("import time; time.sleep(600)", watchdog="300ms"))
    home.run("start")
    home.until(lambda now: bool(now["web:0"]["history"]))
    [described] = json.loads(home.run("describe", "web", "--json").stdout)
    assert re.fullmatch(r"no stacks: see .*/web-0\.err\.log, from byte 0 on", described["history"][0]["stacks"])


def test_a_service_that_hangs_has_said_what_its_tasks_were_doing(home: Supervised) -> None:
    home.configure(web=python(BLOCKED, ready="notify", watchdog="1s"))
    home.run("start")
    home.until(lambda now: bool(now["web:0"]["history"]))
    [described] = json.loads(home.run("describe", "web", "--json").stdout)
    stacks = described["history"][0]["stacks"]
    assert re.match(r"process \d+: nothing went on for ", stacks)
    assert "in stuck" in stacks
    assert re.search(r"task turn 7:\n.*in waits\n", stacks, re.DOTALL)


def test_one_that_is_stopped_leaves_its_stacks_too(home: Supervised) -> None:
    home.configure(web=python(WELL, ready="notify", watchdog="3s"))
    home.run("start")
    os.kill(home.instances()["web:0"]["pid"], signal.SIGSTOP)
    found = home.until(lambda now: bool(now["web:0"]["history"]))["web:0"]
    assert (found["history"][0]["reason"], found["ended"]) == ("hang", "killed by SIGABRT")
    until(lambda: "in well" in home.log("web", "err"))
    assert "in well" in home.run("logs", "--err", "-n", "100").stdout


def test_one_that_is_stopped_hears_that_it_is_to_end(home: Supervised) -> None:
    home.configure(web=python(COUNTING, stop_timeout="60s"))
    home.run("start")
    os.kill(home.instances()["web:0"]["pid"], signal.SIGSTOP)
    home.run("stop")
    assert home.instances()["web:0"]["ended"] == "killed by SIGTERM"


def test_what_was_answered_holds_if_the_daemon_is_killed_at_that_moment(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    for verb, state in (("start", "ready"), ("stop", "stopped"), ("start", "ready"), ("stop", "stopped")):
        with begun(home) as daemon, Daemon(home.directory / ".mainstay") as talk:
            talk.ask(verb, names=["web"])
            daemon.kill()
        with begun(home) as daemon, Daemon(home.directory / ".mainstay") as talk:
            [found] = talk.ask("list")
            daemon.kill()
        assert found["state"] == state


def test_of_one_that_hangs_it_is_said_how_to_get_another(home: Supervised) -> None:
    home.configure(web={"command": ["sleep", "600"]})
    home.run("start")
    pid, daemon = home.instances()["web:0"]["pid"], home.daemon()
    os.kill(daemon, signal.SIGSTOP)
    with (
        Daemon(home.home, timeout_s=0.1) as talk,
        pytest.raises(MainstayError, match=f"`kill -9 {daemon}` and `ma"),
    ):
        talk.ask("list")
    kill(daemon)
    home.run("start")
    assert home.instances()["web:0"]["pid"] == pid


def test_the_end_of_the_daemon_is_the_end_of_everything(home: Supervised) -> None:
    home.configure(web=python(COUNTING, instances=3))
    home.run("start")
    pids = [each["pid"] for each in home.instances().values()]
    daemon = home.daemon()
    assert "have ended" in home.run("kill").stdout
    assert all(map(gone, pids))
    until_s = time.monotonic() + DEADLINE_S
    while not gone(daemon):
        assert time.monotonic() < until_s
    assert home.run("kill").stdout == "no supervisor runs\n"
    assert home.lifecycle()[-1]["what"] == "daemon ended"


def test_what_a_daemon_that_was_killed_has_left_is_ended_by_kill_whatever_the_configuration_says(
    home: Supervised,
) -> None:
    home.configure(web=python(COUNTING), stubborn=python(STUBBORN, stop_timeout="200ms"))
    home.run("start")
    pids = [each["pid"] for each in home.instances().values()]
    kill(home.daemon())
    (home.directory / "mainstay.toml").write_text("[apps.web")
    assert "have ended" in home.run("kill").stdout
    assert all(map(gone, pids))
    until(lambda: not home.everybody())
    assert home.run("kill").stdout == "no supervisor runs\n"


def test_who_waits_for_a_start_hears_that_somebody_else_has_stopped_it(home: Supervised) -> None:
    home.configure(web={"command": ["sleep", "600"], "ready": "notify"}, other={"command": ["sleep", "600"]})
    home.run("start", "other")
    with ThreadPoolExecutor(1) as somebody:
        waiting = somebody.submit(home.run, "start", "web")
        home.until(lambda now: now["web:0"]["state"] == "starting")
        home.run("stop", "web")
        assert "stopped" in waiting.result().stdout


def test_who_waits_for_a_start_hears_how_it_went_however_long_it_takes_to_write_that_down(home: Supervised) -> None:
    program = "[ -e once ] && exec sleep 600; touch once; until [ -e go ]; do sleep 0.01; done; exit 3"
    settings = {"cwd": str(home.directory), "ready": "notify", "restart_delay": "500ms"}
    home.configure(web={"command": ["sh", "-c", program], **settings})
    kept, slow = home.home / "supervisor.json", home.home / "supervisor.new"

    def begun() -> int:
        return len([line for line in home.lifecycle() if line["what"] == "starting" and line["pid"]])

    with ThreadPoolExecutor(1) as somebody:
        waiting = somebody.submit(home.run, "start", code=1)
        until(lambda: begun() == 1 and '"child": {' in kept.read_text())
        os.mkfifo(slow)  # who writes there waits for a reader
        (home.directory / "go").touch()
        until(lambda: begun() == 2)
        os.close(os.open(slow, os.O_RDONLY | os.O_NONBLOCK))
        slow.unlink()
        assert re.search(r"^web:0 +backoff .*exit code 3", waiting.result().stdout, re.MULTILINE)


def test_the_daemon_has_what_it_needs_to_read_when_the_clock_restarts_an_app(home: Supervised) -> None:
    home.configure(web={"command": ["sleep", "600"], "cron_restart": "0 3 * * *"})
    home.run("start")
    kill(home.daemon())
    home.run("start")
    home.run("update")
    assert home.instances()["web:0"]["state"] == "ready"


def test_when_its_home_is_deleted_everything_ends(home: Supervised) -> None:
    home.configure(web={"command": ["sleep", "600"]})
    home.run("start")
    first = home.everybody()
    shutil.rmtree(home.home)
    home.run("start")
    until(lambda: not first & home.everybody())
    assert home.instances()["web:0"]["state"] == "ready"
    kill(home.daemon())
    home.run("start")  # finds the keeper, too


def test_in_the_foreground_it_ends_with_its_apps(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    with (home.directory / "shown").open("w") as shown:
        running = subprocess.Popen([sys.executable, "-m", "mainstay", "run"], cwd=home.directory, stdout=shown)
    try:
        until_s = time.monotonic() + DEADLINE_S
        while not (home.lifecycle() and home.lifecycle()[-1]["what"] == "ready"):
            assert time.monotonic() < until_s
        pid = home.instances()["web:0"]["pid"]
        [said] = home.run("run", code=1).stderr.splitlines()
        assert "another supervisor has" in said
        running.send_signal(signal.SIGTERM)
        assert running.wait(DEADLINE_S) == 0
        assert gone(pid)
        seen = [f"web:0 out | {number}" for number in home.numbers("web")]
        assert (home.directory / "shown").read_text().splitlines() == seen
    finally:
        with suppress(ProcessLookupError):
            running.kill()
        running.wait()


def test_what_can_not_be_started_says_why_and_the_others_run(home: Supervised) -> None:
    home.configure(
        web=python(COUNTING),
        typo={"command": "no-such-program", "max_restarts": 0},
        lost=python(COUNTING, cwd="nowhere", max_restarts=0),
    )
    assert home.run("start", code=1)
    found = home.instances()
    assert found["web:0"]["state"] == "ready"
    assert "there is no command 'no-such-program'" in found["typo:0"]["detail"]
    assert "nowhere" in found["lost:0"]["detail"]


def test_a_name_that_is_wrong_is_an_error_with_the_nearest(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    assert home.run("stop", "webb", code=2).stderr == "mainstay: there is no app webb; did you mean web?\n"
    assert home.run("signal", "SIGFOO", "web", code=2).stderr.startswith("mainstay: there is no signal SIGFOO")
    home.run("signal", "usr1", "web", code=0)
    found = home.until(lambda now: bool(now["web:0"]["history"]))
    assert found["web:0"]["history"][0]["detail"] == "killed by SIGUSR1"


def test_what_is_said_next_is_followed(home: Supervised) -> None:
    home.configure(web=python(COUNTING))
    home.run("start")
    words = [sys.executable, "-m", "mainstay", "logs", "-f", "-n", "0", "web"]
    with subprocess.Popen(words, cwd=home.directory, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        seen = [int(following.stdout.readline().removeprefix("web:0 out | ")) for _ in range(500)]
        following.send_signal(signal.SIGINT)
    assert seen == list(range(seen[0], seen[0] + 500))


def test_the_last_lines_are_shown_whether_or_not_anything_runs(home: Supervised) -> None:
    home.configure(talk={"command": ["sh", "-c", "echo 你好; echo oops >&2"], "autorestart": False})
    home.run("start")
    log = home.directory / ".mainstay" / "logs" / "talk-0.err.log"
    home.until(lambda _: log.exists() and log.stat().st_size > 0)
    home.run("kill")
    assert home.run("logs").stdout == "talk:0 out | 你好\ntalk:0 err | oops\n"
    assert home.run("logs", "--err", "talk:0").stdout == "talk:0 err | oops\n"
    line = {"app": "talk", "instance": 0, "stream": "out", "line": "你好"}
    assert json.loads(home.run("logs", "--out", "--json").stdout) == line
    assert home.run("logs", "talkk", code=2).stderr == "mainstay: there is no app talkk; did you mean talk?\n"
