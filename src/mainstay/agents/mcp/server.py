"""How is one MCP server, and which of its tools can be called now?

What the agents and `/health` see of it. The connection is kept by `mainstay.agents.mcp.session`, which, with what
carries it, imports the SDK; a session is attached here while there is one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from mainstay.agents.mcp.machine import offer
from mainstay.agents.mcp.model import Answer, ListedTool, McpSettings, Offer
from mainstay.agents.standing import breaker_detail, left_alone
from mainstay.bus import Bus
from mainstay.checks import Condition
from mainstay.events import McpServerChanged
from mainstay.recovery.breaker.model import State
from mainstay.recovery.breaker.permits import Breaker
from mainstay.recovery.wording import one_line

__all__ = ["McpServer", "Session"]


class Session(Protocol):
    """A connection that is ready for calls, by any task."""

    async def call(self, tool: str, arguments: Mapping[str, object]) -> Answer:
        """Call one tool; a cancellation is passed on to the server.

        Raises:
            CallFailed: without a result.
        """


class McpServer:
    """One configured server.

    Attributes:
        session: the connection; None while there is none.
        offer: what it offers, as far as it was ever known: the tools stay while the connection is away.
        calls: how many are under way.
        woken: set when somebody should look whether the connection is still good, or the tools the same.
        tried: set once it was connected, or could not be.
    """

    def __init__(self, name: str, settings: McpSettings, *, breaker: Breaker, bus: Bus) -> None:
        self.name = name
        self.settings = settings
        self.breaker = breaker
        self.session: Session | None = None
        self.offer = Offer()
        self.calls = 0
        self.woken = asyncio.Event()
        self.tried = asyncio.Event()
        self._bus = bus
        self._connections = 0
        self._why = "not tried yet"

    def lists(self, listed: Sequence[ListedTool]) -> None:
        """The server has these tools, from now on."""
        self.offer = offer(self.settings.prefix_for(self.name), self.settings, listed)

    def attach(self, session: Session) -> None:
        """The connection is there."""
        self.session = session
        self._connections += 1
        self._why = ""
        self.tried.set()
        self._bus.emit(McpServerChanged(server=self.name, connected=True, tools=len(self.offer.tools)))

    def detach(self) -> None:
        """No new calls: the connection is being left."""
        self.session = None

    def lost(self, why: str) -> None:
        """There is no connection, for this reason; each reason is told once."""
        self.detach()
        self.tried.set()
        why = one_line(why)
        if why != self._why:
            self._why = why
            self._bus.emit(McpServerChanged(server=self.name, connected=False, reason=why))

    def check(self) -> Condition:
        """Degraded without a connection, while left alone, and where something of it can not be used."""
        snapshot = self.breaker.snapshot()
        is_open = snapshot.state is State.OPEN
        about = f"MCP server {self.name}"
        reason = ""
        if is_open:
            reason = left_alone(about, snapshot)
        elif self.session is None:
            reason = f"{about} is not connected: {self._why or 'the connection is being left'}"
        elif self.offer.notes:
            reason = one_line(f"{about}: {'; '.join(self.offer.notes)}")
        return Condition(
            name=f"mcp:{self.name}",
            required=False,
            affects_status=is_open,
            status="degraded" if reason else "ok",
            reason=reason,
            detail={
                "connected": self.session is not None,
                "connections": self._connections,
                "tools": len(self.offer.tools),
                **breaker_detail(snapshot),
            },
        )
