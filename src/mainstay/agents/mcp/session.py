"""How is one MCP server kept connected?

By one task for as long as the service lives, because the SDK's sessions belong to the task that opened them; calls
come from any task. The connection is looked after (when the server says that its tools have changed, when a call
went wrong, and from time to time) by asking for the tools again: a server that does not answer is left, and a new
connection begun, each time after a longer wait. What a server asks of us (sampling, elicitation, roots) is
declined: so does the SDK's client unless it is told otherwise.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import lru_cache
from importlib.metadata import version
from secrets import SystemRandom
from typing import Final, NoReturn

from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
from jsonschema.validators import Draft202012Validator, validator_for  # type: ignore[import-untyped]
from mcp import Client, MCPError
from mcp.client import IncomingMessage
from mcp.client.subscriptions import SubscriptionLost
from mcp_types import Implementation, Tool, ToolListChangedNotification
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mainstay.agents.mcp.http import UrlLink
from mainstay.agents.mcp.link import Link, answering
from mainstay.agents.mcp.machine import (
    LONGEST_LISTED_NAME,
    MOST_LISTED,
    category_of,
    cut_description,
    is_too_long,
    wait_s,
)
from mainstay.agents.mcp.model import Answer, CallFailed, ListedTool
from mainstay.agents.mcp.server import McpServer
from mainstay.agents.mcp.stdio import CommandLink
from mainstay.agents.mcp.wording import in_words
from mainstay.clock import Clock
from mainstay.errors import Category
from mainstay.recovery.classify import classify
from mainstay.recovery.model import Failure
from mainstay.recovery.wording import one_line
from mainstay.units import format_duration

__all__ = ["keep"]

_LOOK_EVERY_S: Final = 60.0
_LOOK_AT_MOST_EVERY_S: Final = 1.0
_LISTEN_AGAIN_S: Final = 5.0
_GOOD_S: Final = 60.0
"""A connection that lasted so long was a good one: the next wait is a short one again."""

_CHANCE: Final = SystemRandom().random

for _name in ("mcp", "client"):
    # They write down what servers send. What there is to say is in our events, in one line and without secrets.
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)


async def keep(server: McpServer, *, clock: Clock, chance: Callable[[], float] = _CHANCE) -> NoReturn:
    """Keep the server connected until this is cancelled; what was started for it has ended then."""
    failures = 0
    while True:
        link: Link = CommandLink(server.settings) if server.settings.command else UrlLink(server.settings)
        began = clock.monotonic()
        try:
            await _connected(server, link)
        except Exception as error:  # noqa: BLE001  the border: whatever a server does becomes a state of it
            why = link.why() or classify(_first(error)).message
        failures = 1 if clock.monotonic() - began > _GOOD_S else failures + 1
        server.lost(why)
        await asyncio.sleep(wait_s(failures, chance()))


def _first(error: Exception) -> Exception:
    """The error itself, out of the groups that tasks wrap it in."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


async def _connected(server: McpServer, link: Link) -> NoReturn:
    """Connect, and stay connected; raises what ended it."""
    limit_s = server.settings.connect_timeout

    async def heard(message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            server.woken.set()

    client = Client(
        answering(link.open()),
        message_handler=heard,
        client_info=Implementation(name="mainstay", version=version("mainstay")),
        cache=None,
    )
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(limit_s):
                await stack.enter_async_context(client)
                server.lists(await _listed(client))
        except TimeoutError:
            raise TimeoutError(f"no answer within {format_duration(limit_s)}") from None
        stack.callback(server.detach)
        server.attach(_ClientSession(client))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_until_ended(link))
            tasks.create_task(_listen(client, server))
            tasks.create_task(_look_after(client, server))
    raise AssertionError("the tasks end by what they raise")


async def _until_ended(link: Link) -> NoReturn:
    await link.ended.wait()
    raise ConnectionError("the connection has ended")


async def _look_after(client: Client, server: McpServer) -> NoReturn:
    """Ask for the tools whenever there is a reason to; raises when the server does not answer."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY_S):
                await server.woken.wait()
        server.woken.clear()
        try:
            async with asyncio.timeout(server.settings.connect_timeout):
                server.lists(await _listed(client))
        except TimeoutError:
            if not server.calls:  # else it may be busy with a call, and nothing else
                raise TimeoutError("it does not answer any more") from None
        await asyncio.sleep(_LOOK_AT_MOST_EVERY_S)


async def _listen(client: Client, server: McpServer) -> None:
    """Hear of changes where the protocol has a stream of its own for that; before 2026 they came by themselves."""
    able = client.server_capabilities.tools
    if client.protocol_version not in MODERN_PROTOCOL_VERSIONS or not (able and able.list_changed):
        return
    while True:
        with suppress(SubscriptionLost):
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        server.woken.set()
            except MCPError:
                return  # it will not tell: it is asked from time to time
        await asyncio.sleep(_LISTEN_AGAIN_S)
        server.woken.set()  # nobody heard what has changed meanwhile


async def _listed(client: Client) -> list[ListedTool]:
    if client.server_capabilities.tools is None:
        return []
    tools: list[ListedTool] = []
    cursor: str | None = None
    while len(tools) < MOST_LISTED:
        page = await client.list_tools(cursor=cursor)
        tools += await asyncio.to_thread(_read_all, page.tools[: MOST_LISTED - len(tools)])
        cursor = page.next_cursor
        if cursor is None or not page.tools:
            break
    return tools


def _read_all(tools: Sequence[Tool]) -> list[ListedTool]:
    """What is too large is not kept, and not checked either: that takes seconds for each megabyte."""
    return [_read(tool, json.dumps(tool.input_schema)) for tool in tools]


def _read(tool: Tool, schema: str) -> ListedTool:
    hints, too_long = tool.annotations, is_too_long(tool.name, schema)
    return ListedTool(
        name=tool.name[:LONGEST_LISTED_NAME],
        description=cut_description(tool.description or tool.title or ""),
        schema={} if too_long else tool.input_schema,
        flaw=too_long or _flaw(schema),
        says_read_only=bool(hints and hints.read_only_hint),
    )


@lru_cache(maxsize=2 * MOST_LISTED)
def _flaw(schema: str) -> str:
    """Why this is no JSON Schema; empty if it is one. A provider would refuse every request with it."""
    read = json.loads(schema)
    try:
        validator_for(read, default=Draft202012Validator).check_schema(read)
    except (SchemaError, RecursionError) as error:
        return one_line(f"the schema of its arguments is wrong: {getattr(error, 'message', error)}")
    return ""


class _ClientSession:
    """See `mainstay.agents.mcp.server.Session`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self, tool: str, arguments: Mapping[str, object]) -> Answer:
        try:
            result = await self._client.call_tool(tool, dict(arguments))
        except MCPError as error:
            failure = Failure(category=category_of(error.code), message=one_line(error.message))
            raise CallFailed(failure) from None
        except Exception as error:  # the border: the SDK raises many kinds for an unreadable answer
            said = one_line(f"its answer can not be read: {error}")
            raise CallFailed(Failure(category=Category.MALFORMED, message=said)) from error
        content = [part.model_dump(mode="json", by_alias=True) for part in result.content]
        return Answer(in_words(content, result.structured_content), ok=not result.is_error)
