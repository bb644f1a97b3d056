"""Which MCP servers are there?

Those that an agent in use names. The SDK is imported when the first of them is to be connected, in a thread and
behind everything that the service has to be ready for; without any it is not imported at all.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
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


def in_use(
    settings: Mapping[str, McpSettings], agents: Mapping[str, AgentSettings], root: str
) -> dict[str, McpSettings]:
    """The servers of the root agent and its specialists."""
    working = [agents[name] for name in (root, *agents[root].specialists)] if root in agents else []
    named = {name for agent in working for name in agent.mcp}
    return {name: each for name, each in settings.items() if name in named}


def find(names: Iterable[str]) -> None:
    """Look for the SDK without importing it.

    Raises:
        ConfigError: if it is needed and not installed.
    """
    if find_spec("mcp_types") is None:
        needed = [f"mcp.{name}: needs the MCP client: pip install 'mainstay[mcp]'" for name in names]
        if needed:
            raise ConfigError(*needed)


class McpServers:
    """All of them, by name; connected while `run` runs."""

    def __init__(self, settings: Mapping[str, McpSettings], *, breakers: Breakers, bus: Bus, clock: Clock) -> None:
        self._clock = clock
        self.by_name: Mapping[str, McpServer] = {
            name: McpServer(name, each, breaker=breakers.of(f"mcp:{name}"), bus=bus)
            for name, each in settings.items()
        }

    def checks(self) -> list[Check]:
        """One for each, named ``mcp:NAME``."""
        return [server.check for server in self.by_name.values()]

    async def run(self) -> None:
        """Keep them connected until this is cancelled; no process of theirs is left then."""
        if not self.by_name:
            return
        keep = await unpaused(_keeper)
        async with asyncio.TaskGroup() as tasks:
            for server in self.by_name.values():
                tasks.create_task(keep(server, clock=self._clock), name=f"mcp {server.name}")


def _keeper() -> Callable[..., Coroutine[None, None, NoReturn]]:
    from mainstay.agents.mcp.session import keep

    return keep
