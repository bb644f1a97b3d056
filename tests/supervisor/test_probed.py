"""Apps that are asked how they are: as a user types it, with real processes, and the daemon killed in between."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.needs import needs
from tests.supervisor.project import Supervised, kill

SERVING = """
import http.server, json, pathlib, sys

class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = pathlib.Path(self.path[1:])
        status, _, content = found.read_text().partition(" ") if found.exists() else ("404", "", "")
        self.send_response(int(status))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *args):
        pass

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answers).serve_forever()
"""


@pytest.fixture
def home(tmp_path: Path) -> Any:  # noqa: ANN401  a generator of one
    made = Supervised(tmp_path)
    yield made
    made.run("kill", code=None)


class Web:
    """A server in the home; each page is a file with its status and content."""

    def __init__(self, home: Supervised) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.home = home

    def configure(self, more: str = "", **probes: str) -> None:
        app = {"command": [sys.executable, "-I", "-S", "-c", SERVING, str(self.port)], "stop_timeout": "300ms"}
        lines = ["[apps.web]", *(f"{key} = {json.dumps(value)}" for key, value in app.items()), more]
        for name, probe in probes.items():
            lines += [
                f"[apps.web.{name}]",
                'period = "100ms"',
                f'http = "http://127.0.0.1:{self.port}/{name}"',
                probe,
            ]
        (self.home.directory / "mainstay.toml").write_text("\n".join(lines))

    def says(self, page: str, status: int, content: str = "") -> None:
        fresh = self.home.directory / f"{page}.new"
        fresh.write_text(f"{status} {content}")
        fresh.replace(self.home.directory / page)

    def until(self, state: str, detail: str = "") -> dict[str, Any]:
        found = self.home.until(
            lambda now: now["web:0"]["state"] == state and now["web:0"]["detail"].startswith(detail)
        )
        return found["web:0"]


def of_probe(now: dict[str, dict[str, Any]], probe: str, key: str) -> object:
    """What is known of a probe of the web; None as long as nobody has begun to ask."""
    return next((each[key] for each in now["web:0"]["probes"] if each["probe"] == probe), None)


@pytest.fixture
def web(home: Supervised) -> Web:
    return Web(home)


def test_it_is_ready_when_its_probes_have_passed_also_after_a_kill_of_the_daemon(web: Web) -> None:
    web.configure(startup="failure_threshold = 1000", readiness="")
    web.home.run("start", "--no-wait")
    before = web.until("starting")
    web.says("startup", 200)
    kill(web.home.daemon())
    web.home.run("start", "--no-wait")
    web.home.until(lambda now: of_probe(now, "startup", "passes") is True)
    assert web.home.instances()["web:0"]["state"] == "starting"
    web.says("readiness", 200)
    found = web.until("ready")
    assert (found["pid"], found["restarts"]) == (before["pid"], 0)


def test_a_readiness_that_fails_is_shown_and_is_no_restart(web: Web) -> None:
    web.says("readiness", 200)
    web.configure(readiness="")
    web.home.run("start")
    pid = web.until("ready")["pid"]
    web.says("readiness", 503)
    web.until("unhealthy", "readiness: HTTP status 503")
    kill(web.home.daemon())
    web.home.run("start", "--no-wait")
    web.until("unhealthy", "readiness: HTTP status 503")
    web.home.until(lambda now: of_probe(now, "readiness", "passes") is False)  # asked by the new daemon, too
    described = web.home.run("describe", "web").stdout
    assert re.search(r"^ +readiness +fails since", described, re.MULTILINE)
    web.says("readiness", 200)
    found = web.until("ready")
    assert (found["pid"], found["restarts"], found["history"]) == (pid, 0, [])


def test_a_liveness_that_fails_is_a_restart_also_of_one_that_is_frozen(web: Web) -> None:
    web.says("liveness", 200)
    web.configure(liveness='timeout = "200ms"\ninitial_delay = "2s"', more="max_restarts = 100")
    web.home.run("start")
    pid = web.home.instances()["web:0"]["pid"]
    web.home.until(lambda now: of_probe(now, "liveness", "passes") is True)
    os.kill(pid, signal.SIGSTOP)
    found = web.home.until(lambda now: bool(now["web:0"]["history"]))["web:0"]
    [restart] = found["history"]
    assert restart["reason"] == "health"
    assert restart["detail"] == "liveness probe failed 3 times in a row: no answer within 200ms"


def test_one_that_never_starts_is_started_again(web: Web) -> None:
    web.configure(startup="failure_threshold = 2", liveness="")
    web.home.run("start", "--no-wait")
    found = web.home.until(lambda now: bool(now["web:0"]["history"]))["web:0"]
    restart = found["history"][0]
    assert restart["reason"] == "start"
    assert restart["detail"].startswith("startup probe failed 2 times in a row: ")


def test_the_trouble_of_others_is_shown_is_no_restart_and_lengthens_the_next_delay(web: Web) -> None:
    web.says("health", 503, json.dumps({"status": "unhealthy", "reasons": ["6 rate limits"]}))
    web.configure(health="", more='backoff_base = "600s"\nbackoff_cap = "1h"')
    web.home.run("start")
    found = web.until("unhealthy", "health: unhealthy; 6 rate limits")
    assert found["history"] == []
    web.home.run("signal", "KILL", "web")
    web.until("backoff")  # alone it would have been started again at once
    web.says("health", 200, json.dumps({"status": "healthy"}))
    web.home.run("restart", "--no-wait", "web")
    web.until("ready")
    web.home.until(lambda now: of_probe(now, "health", "passes") is True)


def test_a_command_asks_where_the_app_runs_and_with_its_environment(home: Supervised) -> None:
    words = ["sh", "-c", 'test "$NAME" = web && test -e here && test -z "$NOTIFY_SOCKET"']
    (home.directory / "mainstay.toml").write_text(
        f'[apps.web]\ncommand = "sleep 600"\nenv = {{ NAME = "web" }}\n'
        f'[apps.web.readiness]\ncommand = {json.dumps(words)}\nperiod = "100ms"\ntimeout = "30s"\n'
    )
    home.run("start", "--no-wait")
    home.until(lambda now: of_probe(now, "readiness", "last") == "exit code 1")
    assert home.instances()["web:0"]["state"] == "starting"
    (home.directory / "here").touch()
    home.until(lambda now: now["web:0"]["state"] == "ready")


NODE = """
const fs = require('fs');
process.on('disconnect', () => { console.log('disconnected'); process.exit(3); });
console.log(process.env.LISTEN_FDS, process.env.NODE_CHANNEL_FD);
process.send({ready: 'x'.repeat(100000)});
const timer = setInterval(() => {
  if (fs.existsSync('go')) { process.send('ready'); clearInterval(timer); setInterval(() => {}, 1000); }
}, 20);
"""


def test_a_node_program_is_ready_by_its_message_and_does_not_notice_that_the_daemon_dies(home: Supervised) -> None:
    home.configure(node={"command": [needs("node"), "-e", NODE], "ready": "message", "ready_timeout": "60s"})
    home.run("start", "--no-wait")
    log = home.directory / ".mainstay" / "logs" / "node-0.out.log"
    home.until(lambda now: log.exists() and log.read_text() == "undefined undefined\n")
    before = home.instances()["node:0"]
    assert before["state"] == "starting"
    (home.directory / "go").touch()
    assert home.until(lambda now: now["node:0"]["state"] == "ready")["node:0"]["pid"] == before["pid"]
    for _ in range(2):
        kill(home.daemon())
        home.run("start")
    after = home.instances()["node:0"]
    assert (after["pid"], after["state"], after["restarts"]) == (before["pid"], "ready", 0)
    assert log.read_text() == "undefined undefined\n"
    home.run("restart", "node")
    assert home.instances()["node:0"]["state"] == "ready"


def test_a_node_program_that_never_says_so_is_not_ready(home: Supervised) -> None:
    command = [needs("node"), "-e", "setInterval(() => {}, 1000)"]
    home.configure(node={"command": command, "ready": "message", "ready_timeout": "300ms", "restart_delay": "600s"})
    home.run("start", "--no-wait")
    found = home.until(lambda now: now["node:0"]["state"] == "backoff")["node:0"]
    assert found["detail"] == "not ready within 300ms"
