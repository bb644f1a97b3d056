"""Programs of others are kept as their users expect: real servers, with the processes that they start themselves."""

import os
import re
import shutil
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Iterator
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
    command = [needs("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(directory)]
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
PRESENT = [name for name in MAKERS if name == "gunicorn" or shutil.which(name)]
