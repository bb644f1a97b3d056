"""What is one call of a server's tool?

Under the server's breaker, within the time of the server, the agent and the turn. What comes back is data for the
model; what the server did not answer is judged: whether it says something about the server, and whether the tool
may have taken effect all the same.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from typing import Final

from pydantic_ai.tools import ToolDefinition

from mainstay.agents.mcp.model import CallFailed, OfferedTool
from mainstay.agents.mcp.server import McpServer, Session
from mainstay.agents.mcp.wording import cut
from mainstay.agents.tools import AgentTool, Run, ToolResult, ToolUnavailable, failed, too_late
from mainstay.errors import Category
from mainstay.recovery.breaker.permits import BreakerOpen, Permit
from mainstay.recovery.model import Failure

__all__ = ["McpTool", "absent", "offered", "tried"]

_MOST_TOOLS: Final = 120
"""APIs take 128 in a request; those that hand over, and the one that remembers, come on top of these."""

_FIRST_TRY_S: Final = 10.0

_FAIR_S: Final = 1.0
"""A call that the turn's end cut off before that says nothing about the server."""


def offered(servers: Iterable[McpServer], own: Mapping[str, AgentTool]) -> dict[str, AgentTool]:
    """What an agent can call: its own tools, and those of its servers, as many as APIs take."""
    theirs = ((each.name, McpTool(server, each)) for server in servers for each in server.offer.tools)
    return dict(own) | dict(islice(theirs, max(0, _MOST_TOOLS - len(own))))


def absent(servers: Iterable[McpServer]) -> str:
    """What an agent is told of the servers whose tools it can not call now; it begins a paragraph of its own."""
    names = ", ".join(server.name for server in servers if server.session is None)
    return f"\n\nNot available now, and not your fault: the tools of {names}." if names else ""


async def tried(servers: Iterable[McpServer], left_s: float) -> None:
    """Wait a while for servers that the service has only begun to connect.

    Not for the sake of a new message, which is answered without them; but one that was interrupted by the end of
    the process goes on in the first moment of the next, with calls of their tools.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(min(_FIRST_TRY_S, left_s / 2)):
            for server in servers:
                await server.tried.wait()


class McpTool:
    """A tool of an MCP server; see `mainstay.agents.tools.AgentTool`."""

    def __init__(self, server: McpServer, offered: OfferedTool) -> None:
        self._server = server
        self._called = offered.called
        self.effects = offered.effects
        self.definition = ToolDefinition(
            name=offered.name,
            description=offered.description,
            parameters_json_schema=dict(offered.schema),
        )

    @contextmanager
    def admit(self) -> Iterator[Run]:
        """See `mainstay.agents.tools.AgentTool.admit`."""
        session = self._server.session
        if session is None:
            raise self._unavailable()
        try:
            permit = self._server.breaker.permit()
        except BreakerOpen:
            raise self._unavailable() from None
        self._server.calls += 1
        try:
            yield partial(self._run, session, permit)
        finally:
            self._server.calls -= 1
            permit.ignore()  # unless the run has said how it went

    def _unavailable(self) -> ToolUnavailable:
        return ToolUnavailable(f"The tool {self.definition.name} is not available now.")

    async def _run(
        self, session: Session, permit: Permit, arguments: Mapping[str, object], timeout_s: float
    ) -> ToolResult:
        settings = self._server.settings
        limit_s = min(timeout_s, settings.timeout)
        timer = asyncio.timeout(limit_s)
        try:
            async with timer:
                answer = await session.call(self._called, arguments)
        except TimeoutError:
            if limit_s >= min(_FAIR_S, settings.timeout):
                permit.fail(Failure(category=Category.TIMEOUT, message=f"no answer within {limit_s:.3g} s"))
                self._server.woken.set()
            return too_late(limit_s, effects=self.effects)
        except CallFailed as error:
            permit.fail(error.failure)
            self._server.woken.set()
            unsure = self.effects and error.failure.traits.counts
            doubt = ". It may have taken effect: do not call it again." if unsure else ""
            return failed(str(error).rstrip(".") + doubt)
        permit.succeed()
        return ToolResult(cut(answer.text, settings.result_limit), ok=answer.ok)
