"""Which MCP servers are there, and which are kept connected?

Those that a working agent names. The SDK is imported when the first of them is to be connected, in a thread and
behind everything that the service has to be ready for; without any it is not imported at all.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from importlib.util import find_spec
from typing import NoReturn

from mainstay.agents.mcp.model import McpSettings
from mainstay.agents.mcp.server import McpServer
from mainstay.agents.model import AgentSettings
from mainstay.agents.warm import unpaused
from mainstay.bus import Bus
from mainstay.checks import Check
from mainstay.clock import Clock
from mainstay.errors import ConfigError
from mainstay.recovery.breaker.registry import Breakers

__all__ = ["McpServers", "find", "in_use"]


def in_use(agents: Mapping[str, AgentSettings], root: str) -> frozenset[str]:
    """The names of the servers of the root agent and its specialists."""
    working = (agents[name] for name in (root, *agents[root].specialists)) if root in agents else ()
    return frozenset(name for agent in working for name in agent.mcp)


def find(names: Iterable[str]) -> None:
    """Look for the SDK without importing it.

    Raises:
        ConfigError: if it is needed and not installed.
    """
    if find_spec("mcp_types") is None:
        needed = [f"mcp.{name}: needs the MCP client: pip install 'mainstay[mcp]'" for name in sorted(names)]
        if needed:
            raise ConfigError(*needed)


class McpServers:
    """All of them, by name; those ``in_use`` are connected while their `parts` run."""

    def __init__(
        self,
        settings: Mapping[str, McpSettings],
        in_use: frozenset[str],
        *,
        breakers: Breakers,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self.by_name: Mapping[str, McpServer] = {
            name: McpServer(name, each, breaker=breakers.of(f"mcp:{name}"), bus=bus)
            for name, each in settings.items()
        }
        self._in_use = [server for name, server in self.by_name.items() if name in in_use]

    def checks(self) -> list[Check]:
        """One for each in use, named ``mcp:NAME``."""
        return [server.check for server in self._in_use]

    def parts(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What keeps each in use connected until it is cancelled (no process of theirs is left then), by name."""
        return {f"MCP server {server.name}": partial(self._keep, server) for server in self._in_use}

    async def _keep(self, server: McpServer) -> None:
        keep = await unpaused(_keeper)
        await keep(server, clock=self._clock)


def _keeper() -> Callable[..., Coroutine[None, None, NoReturn]]:
    from mainstay.agents.mcp.session import keep

    return keep
