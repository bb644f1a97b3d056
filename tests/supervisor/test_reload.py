"""A reload with real processes: typed as a user does, under clients who do not wait, with kills at any moment."""

import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.supervisor.project import DEADLINE_S, Supervised, gone, kill

from mainstay.supervisor.client import Daemon

SERVING = """
import os, select, signal, socket
assert os.environ["LISTEN_PID"] == str(os.getpid())
listener = socket.socket(fileno=3)
listener.setblocking(False)
told, tell = os.pipe2(os.O_NONBLOCK)
signal.set_wakeup_fd(tell)
signal.signal(signal.SIGTERM, lambda *_: None)
while not select.select([told], [], [], 0)[0]:
    if listener in select.select([listener, told], [], [])[0]:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            continue
        connection.sendall(b"%d" % os.getpid())
        connection.close()
"""
SAYING = """
import os, signal, socket, sys, time
def end(*_):
    time.sleep(float(sys.argv[2]))
    os._exit(0)
signal.signal(signal.SIGTERM, end)
time.sleep(float(sys.argv[1]))
way = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
way.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(60)
"""
NOT_THE_SECOND = """
import os
if os.path.exists("fail") and os.environ["NODE_APP_INSTANCE"] == "1":
    os._exit(3)
"""


class Watched(Supervised):
    """Is looked at without a command, of which each takes an interpreter."""

    def instances(self) -> dict[str, dict[str, Any]]:
        with Daemon(self.directory / ".mainstay") as daemon:
            return {each["name"]: each for each in daemon.ask("list", names=[])}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Watched(tmp_path)
    yield made
    made.run("kill", code=None)


def small(code: str, *words: str, **settings: object) -> dict[str, object]:
    return {"command": [sys.executable, "-I", "-S", "-c", code, *words], "min_uptime": "50ms", **settings}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def call(port: int) -> str:
    """Who has answered, or what went wrong."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as connection:
            return connection.recv(100).decode() or "no answer"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "no answer"


@contextmanager
def hammering(port: int) -> Iterator[Counter[str]]:
    """A client that calls again and again while the block runs."""
    over, answers = threading.Event(), Counter[str]()

    def calls() -> None:
        while not over.is_set():
            answers[call(port)] += 1

    client = threading.Thread(target=calls)
    client.start()
    try:
        yield answers
    finally:
        over.set()
        client.join()


def until(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until_s


def pids(home: Supervised) -> dict[str, int]:
    return {name: each["pid"] for name, each in home.instances().items()}


def living(home: Supervised) -> list[int]:
    """The processes that carry the mark of an instance of this home."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdecimal()
                and f"@{home.directory / '.mainstay'}".encode() in (entry / "environ").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if not gone(pid)]


def said(home: Supervised, what: str, name: str) -> int:
    return sum(each["what"] == what and each.get("name") == name for each in home.lifecycle())


def test_nobody_is_refused_while_a_server_is_reloaded_restarted_and_killed_and_the_daemon(
    home: Supervised,
) -> None:
    port = free_port()
    home.configure(web=small(SERVING, listen=[f"127.0.0.1:{port}"], instances=2))
    home.run("start")
    with hammering(port) as answers:
        before = pids(home)
        for _ in range(3):
            home.run("reload")
        after = pids(home)
        home.run("restart")
        kill(home.daemon())
        home.run("start")
        until(lambda: answers[str(pids(home)["web:0"])] > 0)
        assert answers["no answer"] == 0
        killed = pids(home).values()
        for pid in killed:
            kill(pid)
        home.until(lambda now: all(each["state"] == "ready" and each["pid"] not in killed for each in now.values()))
    assert answers["refused"] == 0
    assert not set(before.values()) & set(after.values())
    for runs in (before, after):
        assert any(answers[str(pid)] for pid in runs.values())
    assert [each["detail"] for each in home.instances()["web:0"]["history"]][:4] == [
        *["reloaded"] * 3,
        "asked for",
    ]


def test_a_reload_stops_at_the_first_one_that_fails_and_says_which_and_why(home: Supervised) -> None:
    program = small(NOT_THE_SECOND + SAYING, "0", "0", ready="notify", instances=3, cwd=str(home.directory))
    home.configure(web=program)
    home.run("start")
    before = pids(home)
    (home.directory / "fail").touch()
    told = home.run("reload", code=1).stderr
    assert told == (
        "mainstay: not reloaded: web:1: exit code 3; what ran before goes on; not reloaded either: web:2\n"
    )
    after = pids(home)
    assert after.keys() == before.keys()
    assert after["web:0"] != before["web:0"]
    assert (after["web:1"], after["web:2"]) == (before["web:1"], before["web:2"])
    assert {each["state"] for each in home.instances().values()} == {"ready"}
    assert gone(before["web:0"])
    assert len(living(home)) == 3


def test_one_that_does_not_get_ready_in_its_time_does_not_replace_the_one_that_is(home: Supervised) -> None:
    home.configure(web=small(SAYING, "0", "0", ready="notify"))
    home.run("start")
    before = pids(home)
    home.configure(web=small(SAYING, "600", "0", ready="notify", ready_timeout="200ms"))
    assert "web:0: not ready within 200ms; what ran before goes on" in home.run("reload", code=1).stderr
    assert pids(home) == before
    assert len(living(home)) == 1


def test_a_reload_takes_the_new_settings_and_starts_what_does_not_run(home: Supervised) -> None:
    home.configure(web=small(SAYING, "0", "0", ready="notify"), other=small(SAYING, "0", "0"))
    home.run("start")
    home.run("stop", "web")
    home.configure(
        web=small(SAYING, "0", "0", ready="notify"), other=small(SAYING, "0", "0", **{"env.COLOUR": "blue"})
    )
    home.run("reload")
    found = home.instances()
    assert {each["state"] for each in found.values()} == {"ready"}
    assert b"COLOUR=blue" in Path(f"/proc/{found['other:0']['pid']}/environ").read_bytes()


def test_a_kill_of_the_daemon_in_any_phase_of_a_reload_ends_in_exactly_one_run(home: Supervised) -> None:
    home.configure(web=small(SAYING, "0.03", "0.03", ready="notify"))
    home.run("start")
    chance = random.Random(4)
    phases = [("starting", "web:0/next"), ("ready", "web:0/next"), ("reloaded", "web:0"), ("stopped", "web:0/old")]
    for what, name in [*phases, *chance.sample(phases, 2)]:
        seen, daemon = said(home, what, name), home.daemon()
        with Daemon(home.directory / ".mainstay") as talk:
            talk.ask("reload", names=[], wait=False)
        until(lambda what=what, name=name, seen=seen: said(home, what, name) > seen)  # type: ignore[misc]
        time.sleep(chance.choice((0.0, 0.005, 0.02)))  # the moment is what is tried; nothing waits for it
        kill(daemon)
        assert living(home), f"nobody was there after {what} {name}"
        home.run("start")
        found = home.until(lambda now: now.keys() == {"web:0"} and now["web:0"]["state"] == "ready")
        until(lambda pid=found["web:0"]["pid"]: living(home) == [pid])  # type: ignore[misc]


def test_stop_in_the_middle_of_a_reload_ends_both(home: Supervised) -> None:
    home.configure(web=small(SAYING, "0", "0", ready="notify"))
    home.run("start")
    home.configure(web=small(SAYING, "600", "0", ready="notify"))
    with subprocess.Popen(
        [sys.executable, "-m", "mainstay", "reload"], cwd=home.directory, stderr=subprocess.PIPE, text=True
    ) as reloading:
        home.until(lambda now: now.keys() == {"web:0", "web:0/next"} and now["web:0/next"]["pid"] is not None)
        assert "web is being reloaded already" in home.run("reload", code=1).stderr
        assert "web is being reloaded" in home.run("scale", "web", "2", code=1).stderr
        home.run("stop", "web")
        assert reloading.stderr is not None
        assert "web:0: it was stopped" in reloading.stderr.read()
    assert reloading.returncode == 1
    found = home.until(lambda now: now.keys() == {"web:0"})
    assert found["web:0"]["state"] == "stopped"
    assert living(home) == []


def test_a_daemon_that_comes_back_knows_what_belongs_to_which_of_two_runs(home: Supervised) -> None:
    code = "(setsid sleep 600 & echo $! >> away); exec sleep 600"
    home.configure(web={"command": ["sh", "-c", code], "cwd": str(home.directory), "min_uptime": "600s"})
    home.run("start")
    away = home.directory / "away"
    until(lambda: away.exists() and away.read_text().count("\n") == 1)
    with Daemon(home.directory / ".mainstay") as talk:
        talk.ask("reload", names=[], wait=False)
        until(lambda: away.read_text().count("\n") == 2)
        talk.ask("start", names=["web"])  # runs already: answered when what was decided is written down
    first, second = map(int, away.read_text().split())
    kill(home.daemon())
    home.run("start")
    found = home.instances()
    assert found.keys() == {"web:0", "web:0/next"}
    kill(found["web:0/next"]["pid"])
    until(lambda: gone(second))
    home.until(lambda now: now.keys() == {"web:0"})
    assert sorted(living(home)) == sorted([first, found["web:0"]["pid"]])


def test_scale_holds_over_a_death_of_the_daemon_until_the_configuration_says_otherwise(
    home: Supervised,
) -> None:
    home.configure(web={"command": ["sleep", "600"], "instances": 2})
    home.run("start")
    before = pids(home)
    home.run("scale", "web", "+2")
    grown = pids(home)
    assert list(grown) == ["web:0", "web:1", "web:2", "web:3"]
    assert grown.items() >= before.items()
    home.run("scale", "web", "-1")
    assert pids(home) == {name: pid for name, pid in grown.items() if name != "web:3"}
    assert gone(grown["web:3"])
    kill(home.daemon())
    home.run("start")
    assert len(pids(home)) == 3
    environ = Path(f"/proc/{grown['web:2']}/environ").read_bytes().split(b"\0")
    assert {b"NODE_APP_INSTANCE=2", b"MAINSTAY_INSTANCE_ID=2"} <= set(environ)
    assert "there is to be one instance at least" in home.run("scale", "web", "0", code=2).stderr
    assert "'many' is no number of instances" in home.run("scale", "web", "many", code=2).stderr
    home.configure(web={"command": ["sleep", "600"], "instances": 1})
    home.run("start")
    home.until(lambda now: now.keys() == {"web:0"})
    until(lambda: living(home) == [before["web:0"]])


def test_what_is_deleted_is_not_shown_until_it_is_started_again(home: Supervised) -> None:
    port = free_port()
    home.configure(web=small(SERVING, listen=[f"127.0.0.1:{port}"]), other={"command": ["sleep", "600"]})
    home.run("start")
    home.run("scale", "web", "2")
    assert "web:0 is one instance" in home.run("delete", "web:0", code=2).stderr
    home.run("delete", "web")
    assert pids(home).keys() == {"other:0"}
    assert call(port) == "refused"
    assert "there is no app web" in home.run("restart", "web", code=2).stderr
    kill(home.daemon())
    home.run("start", "other")
    assert pids(home).keys() == {"other:0"}
    home.run("start", "web")
    assert pids(home).keys() == {"web:0", "other:0"}
    assert call(port) == str(pids(home)["web:0"])


def test_what_the_configuration_does_not_name_any_more_goes_on_until_it_is_deleted(home: Supervised) -> None:
    home.configure(web={"command": ["sleep", "600"], "out_file": "here.log"}, other={"command": ["sleep", "600"]})
    home.run("start")
    before = pids(home)
    home.configure(other={"command": ["sleep", "600"]})
    home.run("restart")
    for _ in range(2):
        found = home.instances()
        assert found["web:0"]["pid"] == before["web:0"]
        assert found["web:0"]["detail"] == "not in the configuration any more"
        assert found["web:0"]["logs"][0].endswith("/here.log")
        assert "not in the configuration any more" in home.run("restart", "web", code=2).stderr
        assert "not in the configuration any more" in home.run("reload", "web", code=2).stderr
        kill(home.daemon())
        home.run("start")
    home.run("delete", "web")
    assert pids(home).keys() == {"other:0"}
    assert gone(before["web:0"])


def test_a_socket_that_can_not_be_opened_is_a_reason_and_what_is_left_of_one_is_none(home: Supervised) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(home.directory / "web.sock"))
        home.configure(
            web=small(SERVING, listen=[address], max_restarts=0),
            other=small(SERVING, listen=["unix:web.sock"]),
        )
        home.run("start", code=1)
        detail = home.instances()["web:0"]["detail"]
        assert f"can not listen on {address}: Address already in use: end who has it, or set another" in detail
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(home.directory / "web.sock"))
        assert caller.recv(100).decode() == str(pids(home)["other:0"])
    home.run("start")
    assert home.instances()["web:0"]["state"] == "ready"


def test_the_sockets_outlive_the_keeper(home: Supervised) -> None:
    port = free_port()
    home.configure(
        web=small(SERVING, listen=[f"127.0.0.1:{port}"], restart_delay="600s"), other={"command": ["sleep", "600"]}
    )
    home.run("start", "web")
    [before] = [each for each in home.lifecycle() if each["what"] == "daemon"]
    kill(before["keeper"])
    until(lambda: _holds_again(home, before["keeper"]))
    kill(home.daemon())
    kill(_child_of(home))
    home.run("start", "other")
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as caller:
        home.run("restart")
        assert caller.recv(100).decode() == str(pids(home)["web:0"])


def _child_of(home: Supervised) -> int:
    [pid] = living(home)
    return pid


def _holds_again(home: Supervised, before: int) -> bool:
    """Whether another keeper has a socket that listens."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == before:
            continue
        try:
            if str(home.directory / ".mainstay").encode() not in (entry / "cmdline").read_bytes():
                continue
            links = [str(each.readlink()) for each in (entry / "fd").iterdir()]
        except OSError:
            continue
        if sum(link.startswith("socket:") for link in links) >= 3:
            return True
    return False


def test_what_was_reloaded_goes_on_when_what_was_decided_is_lost(home: Supervised) -> None:
    home.configure(web={"command": ["sleep", "600"]})
    home.run("start")
    home.run("reload")
    pid = home.instances()["web:0"]["pid"]
    kill(home.daemon())
    (home.home / "supervisor.json").unlink()
    home.run("start")
    assert home.instances()["web:0"]["pid"] == pid
