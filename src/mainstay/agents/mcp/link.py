"""What carries the messages between us and one MCP server?"""

import asyncio
from typing import Final, Protocol

from mcp.client import Transport

__all__ = ["LONGEST_MESSAGE_BYTES", "Link"]

LONGEST_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Of one message of a server; a longer one is not taken in."""


class Link(Protocol):
    """One connection, opened once.

    Attributes:
        ended: set when it has ended by itself, as far as its kind can know.
    """

    ended: asyncio.Event

    def open(self) -> Transport:
        """What the SDK's client takes; whatever is started for it has ended when it is left."""

    def why(self) -> str:
        """What is known about why it ended by itself, or could not begin; empty if nothing is."""
