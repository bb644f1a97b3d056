"""An MCP server for the tests, written with the official SDK: ``python shop.py JOURNAL`` speaks over stdio.

What it does is written into the journal, one line each, so that a test can see it from outside.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp_types import (
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

Did = Callable[[str], None]


def shop(journal: Path, *, many: int = 0) -> MCPServer:
    server = MCPServer("shop")

    def did(what: str) -> None:
        with journal.open("a") as lines:
            lines.write(f"{what}\n")

    did(f"started {os.getpid()}")
    offer_goods(server, did)
    offer_trouble(server, did)
    for number in range(many):
        server.add_tool(lambda: "", name=f"spare_{number}", description="Spare.")
    return server


def offer_goods(server: MCPServer, did: Did) -> None:
    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def price(item: str) -> str:
        """The price of an item.

        Args:
            item: Which one.
        """
        did(f"price {item}")
        return f"{item} costs 3"

    @server.tool()
    def order(item: str) -> str:
        """Order an item."""
        did(f"order {item}")
        return f"ordered {item}"

    @server.tool()
    def stock() -> dict[str, int]:
        """What there is."""
        return {"tea": 3}

    @server.tool(name="shelf.list")
    def shelf() -> CallToolResult:
        """A photograph, a page, and a word."""
        return CallToolResult(
            content=[
                ImageContent(type="image", data="aGVsbG8=", mime_type="image/png"),
                EmbeddedResource(
                    type="resource", resource=TextResourceContents(uri="file:///shelf.txt", text="tea, top left")
                ),
                TextContent(type="text", text="two\x1b[31m shelves"),
            ]
        )


def offer_trouble(server: MCPServer, did: Did) -> None:
    @server.tool()
    def refuse() -> str:
        """Always fails."""
        raise ValueError("sold out; password=hunter22")

    @server.tool()
    async def wait(ctx: Context) -> str:
        """Never returns."""
        did("wait")
        try:
            await anyio.sleep_forever()
        finally:
            did("cancelled")
        return ""

    @server.tool()
    def crash() -> str:
        """Ends the whole server."""
        did("crash")
        sys.stderr.write("out of tea\n")
        sys.stderr.flush()
        os._exit(3)

    @server.tool()
    def catalogue(pages: int) -> str:
        """Very long."""
        return "page " * pages

    @server.tool()
    async def rename(ctx: Context) -> str:
        """Changes the tools."""
        server.add_tool(lambda: "brand new", name="novelty", description="New.")
        await ctx.notify_tools_changed()
        return "renamed"


if __name__ == "__main__":
    shop(Path(sys.argv[1]), many=int(sys.argv[2]) if len(sys.argv) > 2 else 0).run()
