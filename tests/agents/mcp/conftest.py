"""Real MCP servers, over stdio and HTTP, connected to the agents of a bench."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from tests.agents.conftest import CLOCK, Bench
from tests.agents.mcp.shop import shop

from mainstay.agents.mcp.model import McpSettings
from mainstay.agents.mcp.server import McpServer
from mainstay.agents.mcp.servers import McpServers
from mainstay.agents.model import AgentSettings
from mainstay.messages import Responder
from mainstay.recovery.breaker.model import BreakerSettings
from mainstay.recovery.breaker.registry import Breakers

HERE = Path(__file__).parent
DEADLINE_S = 60.0


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until it holds; fails after a deadline that only a broken program reaches."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  the other side is another process
            await asyncio.sleep(0.01)


@dataclass
class Journal:
    """What servers wrote down that they did."""

    path: Path

    @property
    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    @property
    def pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self.lines if line.startswith("started ")]

    def count(self, line: str) -> int:
        return self.lines.count(line)

    async def has(self, line: str, times: int = 1) -> None:
        await eventually(lambda: self.count(line) >= times)


@dataclass
class Street:
    """A bench whose agents have MCP servers."""

    bench: Bench
    journal: Journal
    settings: dict[str, McpSettings] = field(default_factory=dict)

    def stdio(self, name: str, program: str = "shop.py", *arguments: str, **settings: object) -> None:
        command = (sys.executable, str(HERE / program), str(self.journal.path), *arguments)
        self.settings[name] = McpSettings(**{"command": command, "prefix": "", "timeout": 20.0} | settings)

    def at(self, name: str, url: str, **settings: object) -> None:
        self.settings[name] = McpSettings(**{"url": url, "prefix": "", "timeout": 20.0} | settings)

    @asynccontextmanager
    async def open(self, breaker: BreakerSettings | None = None, *, wait: bool = True) -> AsyncIterator[McpServers]:
        self.bench.breakers = Breakers(breaker, clock=CLOCK)
        in_use = frozenset(self.settings)
        servers = McpServers(self.settings, in_use, breakers=self.bench.breakers, bus=self.bench.bus, clock=CLOCK)
        self.bench.servers = servers.by_name
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(part()) for part in servers.parts().values()]
            for server in servers.by_name.values() if wait else ():
                await eventually(lambda server=server: server.session)
            yield servers
            for each in running:
                each.cancel()

    def server(self, name: str = "shop") -> McpServer:
        return self.bench.servers[name]

    def responder(self, *servers: str, **settings: object) -> Responder:
        manager = AgentSettings(mcp=servers or tuple(self.settings), **settings)
        return self.bench.responder(["primary"], manager=manager)

    def offered(self, name: str = "shop") -> list[str]:
        return [tool.name for tool in self.server(name).offer.tools]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def street(bench: Bench, journal: Journal) -> Street:
    return Street(bench, journal)


@dataclass
class Listening:
    """A shop that listens on loopback; ``seen`` are the headers of the requests."""

    url: str
    port: int
    seen: list[dict[str, str]]


@asynccontextmanager
async def listening(journal: Journal, *, port: int = 0) -> AsyncIterator[Listening]:
    """Serve a shop over streamable HTTP."""
    seen: list[dict[str, str]] = []
    inner = shop(journal.path).streamable_http_app()

    async def app(scope, receive, send) -> None:
        if scope["type"] == "http":
            seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await inner(scope, receive, send)

    async with serving(app, port) as bound:
        yield Listening(f"http://127.0.0.1:{bound}/mcp", bound, seen)


@asynccontextmanager
async def serving(app: object, port: int = 0) -> AsyncIterator[int]:
    """Serve it on loopback; what is under way at the end is cut off."""
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=0)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.lifespan.startup()
    with socket.create_server(("127.0.0.1", port)) as listener:
        await server.startup([listener])
        try:
            yield listener.getsockname()[1]
        finally:
            for each in server.servers:
                each.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            for task in list(server.server_state.tasks):
                task.cancel()
            await asyncio.gather(*server.server_state.tasks, return_exceptions=True)
            await server.lifespan.shutdown()
