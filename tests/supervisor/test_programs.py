"""Programs of others are kept as their users expect: real servers, with the processes that they start."""

import os
import re
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import pytest
from tests.needs import needs
from tests.supervisor.project import Supervised, gone, kill, supervised, until

NGINX = """
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log /dev/stdout;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "served"; }}
    }}
}}
"""
NODE = """
const http = require("node:http");
http.createServer((request, response) => {
  console.log(request.method, request.url);
  response.end("served");
}).listen(Number(process.argv[2]), "127.0.0.1", () => console.log("listening"));
"""
WSGI = """
def served(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"served"]
"""


def http_asked(port: int) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/here", timeout=10) as answer:
        return str(answer.read().decode())


def redis_asked(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as talk:
        talk.sendall(b"SET key served\r\nGET key\r\n")
        said = b""
        while said.count(b"\r\n") < 3:
            said += talk.recv(100) or b"\r\n" * 3
    return said.decode().splitlines()[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Somebody else's program, under the supervisor.

    Attributes:
        asked: does with it what its users do; returns "served".
        processes: how many it has.
        says: is somewhere in its output, each time that it starts or is asked.
    """

    name: str
    port: int
    command: list[str]
    asked: Callable[[int], str]
    processes: int
    says: str

    @property
    def instance(self) -> str:
        return f"{self.name}:0"

    def serves(self) -> bool:
        try:
            return self.asked(self.port) == "served"
        except (URLError, OSError):
            return False


def redis(directory: Path, port: int) -> Program:
    command = [
        needs("redis-server"),
        "--port",
        str(port),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--dir",
        str(directory),
    ]
    says = r"Ready to accept connections"
    return Program(name="redis", port=port, command=command, asked=redis_asked, processes=1, says=says)


def nginx(directory: Path, port: int) -> Program:
    (directory / "nginx.conf").write_text(NGINX.format(port=port))
    command = [needs("nginx"), "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    says = r'"GET /here HTTP/1.1" 200'
    return Program(name="nginx", port=port, command=command, asked=http_asked, processes=3, says=says)


def node(directory: Path, port: int) -> Program:
    (directory / "server.js").write_text(NODE)
    command = [needs("node"), "server.js", str(port)]
    return Program(name="node", port=port, command=command, asked=http_asked, processes=1, says="GET /here")


def gunicorn(directory: Path, port: int) -> Program:
    (directory / "app.py").write_text(WSGI)
    command = [sys.executable, "-m", "gunicorn", "-w", "2", "-b", f"127.0.0.1:{port}", "app:served"]
    says = r"Listening at: http://127\.0\.0\.1"
    return Program(name="gunicorn", port=port, command=command, asked=http_asked, processes=3, says=says)


MAKERS = {maker.__name__: maker for maker in (redis, nginx, node, gunicorn)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervised]:
    """One supervisor for all of them."""
    world = Supervised(tmp_path_factory.mktemp("programs"))
    with supervised(world):
        yield world


@pytest.fixture(scope="module", params=MAKERS)
def program(world: Supervised, request: pytest.FixtureRequest) -> Program:
    directory = world.directory / request.param
    directory.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = MAKERS[request.param](directory, port)
    world.add(made.name, command=made.command, cwd=made.name, stop_timeout="5s")
    assert re.search(rf"^{made.instance} +ready", world.run("start", made.name).stdout, re.MULTILINE)
    until(made.serves)
    return made


def session(leader: int) -> set[int]:
    """The living processes in the session that this one has begun, as /proc says."""
    found = set()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == leader and not gone(int(entry.name)):
                found.add(int(entry.name))
    return found


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main_process(world: Supervised, program: Program) -> int:
    return int(world.instances()[program.instance]["pid"])


def whole_tree(world: Supervised, program: Program) -> set[int]:
    """All its processes, once all are there."""
    main = main_process(world, program)
    until(lambda: len(session(main)) == program.processes)
    return session(main)


def test_what_it_says_is_in_its_log(world: Supervised, program: Program) -> None:
    assert program.serves()
    until(lambda: re.search(program.says, world.log(program.name) + world.log(program.name, "err")))


def test_the_memory_of_all_its_processes_is_shown(world: Supervised, program: Program) -> None:
    tree = whole_tree(world, program)
    shown = world.until(lambda now: now[program.instance]["processes"] == len(tree))[program.instance]
    if len(tree) > 1:
        assert shown["memory_bytes"] > max(map(resident_bytes, tree))
    assert re.search(rf"^{program.instance} +ready .* \d+\.\d MiB", world.run("list").stdout, re.MULTILINE)


def test_it_goes_on_serving_as_the_same_processes_when_the_supervisor_is_killed(
    world: Supervised, program: Program
) -> None:
    tree = whole_tree(world, program)
    kill(world.daemon())
    assert program.serves()
    world.run("start", program.name)
    assert program.serves()
    assert whole_tree(world, program) == tree
    assert world.instances()[program.instance]["restarts"] == 0


def test_a_kill_of_its_main_process_leaves_no_worker_and_it_serves_again(
    world: Supervised, program: Program
) -> None:
    before, tree = main_process(world, program), whole_tree(world, program)
    os.kill(before, signal.SIGKILL)
    world.until(lambda now: now[program.instance]["pid"] not in (before, None))
    assert all(map(gone, tree))
    until(program.serves)
    [restart] = world.instances()[program.instance]["history"]
    assert (restart["reason"], restart["detail"]) == ("signal", "killed by SIGKILL")


def test_a_stop_leaves_nothing_of_it(world: Supervised, program: Program) -> None:
    tree = whole_tree(world, program)
    world.run("stop", program.name)
    assert all(map(gone, tree))
    assert not program.serves()
    assert world.instances()[program.instance]["ended"] == "exit code 0" or program.name == "node"
    world.run("start", program.name)
    until(program.serves)
