"""T17, T19 and T20 with small programs: a loop of crashes, a leak and a hang, as an operator sees them."""

import re
import socket
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Final

import pytest
from tests.supervisor.project import Supervised, gone, supervised, until

LEAKING: Final = """
import http.server, os, pathlib, signal, sys, threading, time

class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/slow":
            threading.Thread(target=leak, daemon=True).start()
            while not pathlib.Path("go").exists():
                time.sleep(0.01)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"whole answer of {os.getpid()}".encode())

kept = []

def leak():
    while True:
        kept.append(b"x" * 2_000_000)
        time.sleep(0.1)

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

server = Server(("127.0.0.1", int(sys.argv[1])), Slow)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
server.server_close()
"""
DEAF: Final = """
import os, signal, socket, time

def say(what):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
        way.sendto(what, os.environ["NOTIFY_SOCKET"])

signal.signal(signal.SIGABRT, signal.SIG_IGN)
say(b"READY=1\\nSTATUS=well so far")
time.sleep(600)
"""


def python(code: str, *arguments: object, **settings: object) -> dict[str, object]:
    return {"command": [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)], **settings}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Supervised]:
    made = Supervised(tmp_path)
    with supervised(made):
        yield made


def asked(port: int, path: str = "/") -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return str(answer.read().decode())


def answers(port: int) -> bool:
    try:
        return bool(asked(port))
    except OSError:
        return False


def test_a_loop_of_crashes_gets_slower_until_it_is_given_up_and_is_begun_anew_by_hand(home: Supervised) -> None:
    settings = {"max_restarts": 5, "min_uptime": "10s", "restart_delay": "100ms", "ready": "notify"}
    home.configure(
        crash={"command": ["sh", "-c", "echo oops >&2; [ -e mended ] || exit 1; exec sleep 600"], **settings}
    )
    assert "exit code 1" in home.run("start", code=1).stdout
    found = home.until(lambda now: now["crash:0"]["state"] == "errored")["crash:0"]
    assert (found["restarts"], found["ended"]) == (5, "exit code 1")
    assert [(each["reason"], each["detail"]) for each in found["history"]] == [("exit", "exit code 1")] * 5
    at = {"starting": [], "backoff": []}
    for line in home.lifecycle():
        if line["what"] in at and line["pid"] is None:
            at[line["what"]].append(datetime.fromisoformat(line["at"]).timestamp())
    waited = [begun - ended for ended, begun in zip(at["backoff"], at["starting"][1:], strict=True)]
    leasts = (0.1, 0.15, 0.3, 0.6, 1.2)
    whole_ms = [round(1000 * each) for each in waited]  # as they are written down
    assert all(each >= 1000 * least - 1 for each, least in zip(whole_ms, leasts, strict=True)), waited
    said = home.run("list").stdout
    assert re.search(
        r"^crash:0 +errored .*given up after 5 restarts in a row with less than 10s", said, re.MULTILINE
    )
    until(lambda: home.log("crash", "err") == "oops\n" * 6)
    home.run("reset", "crash")
    assert (home.instances()["crash:0"]["state"], home.instances()["crash:0"]["restarts"]) == ("stopped", 0)
    (home.directory / "mended").touch()
    file = home.directory / "mainstay.toml"
    file.write_text(file.read_text().replace('"notify"', '"started"'))
    home.run("start")
    assert home.instances()["crash:0"]["state"] == "ready"


def test_a_leak_ends_in_peace_and_everybody_is_told_why(home: Supervised) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home.configure(leaking=python(LEAKING, port, memory_limit="100MB", stop_timeout="60s"))
    home.run("start")
    until(lambda: answers(port))
    before = home.instances()["leaking:0"]["pid"]
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(asked, port, "/slow")
        found = home.until(lambda now: now["leaking:0"]["state"] == "stopping")["leaking:0"]
        assert found["pid"] == before
        assert re.fullmatch(r"uses \d+\.\d MiB of memory, more than 95\.4 MiB", found["detail"])
        assert found["detail"] in home.run("list").stdout
        (home.directory / "go").touch()
        assert slow.result() == f"whole answer of {before}"
    after = home.until(lambda now: now["leaking:0"]["pid"] not in (None, before))["leaking:0"]
    until(lambda: answers(port))
    assert asked(port) == f"whole answer of {after['pid']}"
    assert (after["restarts"], after["ended"]) == (1, "exit code 0")
    [restart] = after["history"]
    assert (restart["reason"], restart["detail"]) == ("memory", found["detail"])
    assert f"memory: {found['detail']}" in home.run("describe", "leaking").stdout
    assert found["detail"] in [line.get("detail") for line in home.lifecycle() if line["what"] == "stopping"]
    assert gone(before)


def test_one_that_hangs_is_shown_to_hang_for_as_long_as_it_is_there(home: Supervised) -> None:
    home.configure(deaf=python(DEAF, ready="notify", watchdog="300ms"))
    assert "well so far" in home.run("start").stdout
    hung = home.until(lambda now: now["deaf:0"]["state"] == "stopping")["deaf:0"]
    assert hung["detail"] == "hung: nothing heard for 300ms"
    assert not gone(hung["pid"])
    after = home.until(lambda now: now["deaf:0"]["pid"] != hung["pid"])["deaf:0"]
    assert (after["history"][0]["reason"], after["ended"]) == ("hang", "killed by SIGKILL")
    assert gone(hung["pid"])
    assert hung["detail"] in [line.get("detail") for line in home.lifecycle() if line["what"] == "stopping"]
