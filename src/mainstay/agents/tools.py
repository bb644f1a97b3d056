"""What is a tool, and how is it run?

Any Python function, named in the configuration as ``module:function``; its signature and docstring are what the
model is told. (Those of MCP servers are in `mainstay.agents.mcp`.) A tool counts as having effects unless its
author says otherwise::

    @read_only
    def weather(city: str) -> str:
        "The weather in a city now."
"""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from threading import Thread
from typing import Any, Protocol, TypeVar, cast

import orjson
from pydantic import validate_call
from pydantic_ai.tools import Tool, ToolDefinition

from mainstay.agents.characters import whole
from mainstay.errors import ConfigError
from mainstay.messages import Notebook
from mainstay.recovery.call.attempt import is_cancelled
from mainstay.recovery.wording import one_line

__all__ = [
    "AgentTool",
    "FunctionTool",
    "Run",
    "ToolResult",
    "ToolUnavailable",
    "failed",
    "load_tool",
    "read_only",
    "remember",
    "too_late",
]

F = TypeVar("F", bound=Callable[..., object])
_READ_ONLY = "mainstay_read_only"
_LONGEST_ERROR = 1000


def read_only(function: F) -> F:
    """Declare that running this tool twice changes nothing, so that it may be run again after a crash."""
    setattr(function, _READ_ONLY, True)
    return function


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model is told about a run."""

    text: str
    ok: bool


Run = Callable[[Mapping[str, object], float], Awaitable[ToolResult]]
"""``(arguments, timeout_s)``: runs a tool once; whatever goes wrong is in the result."""


class ToolUnavailable(Exception):
    """The tool can not be run now, and was not; the text is for the model."""


class AgentTool(Protocol):
    """Something that a model may call.

    Attributes:
        definition: what the model is told.
        effects: whether running it twice may do something twice.
    """

    @property
    def definition(self) -> ToolDefinition: ...  # noqa: D102  see above

    @property
    def effects(self) -> bool: ...  # noqa: D102

    def admit(self) -> AbstractContextManager[Run]:
        """The right to run it once, asked for before the intent is recorded, and kept until the result is.

        Raises:
            ToolUnavailable: when it is entered, if there is no such right now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionTool:
    """A function that a model may call; ``function`` checks its arguments itself. See `AgentTool`."""

    definition: ToolDefinition
    function: Callable[..., object]
    effects: bool

    @property
    def name(self) -> str:
        """What the model calls it."""
        return self.definition.name

    def admit(self) -> AbstractContextManager[Run]:
        """Always."""
        return nullcontext(partial(_run, self))


def load_tool(spec: str, where: str) -> FunctionTool:
    """The tool that the configuration names.

    Args:
        spec: ``"package.module:function"``.
        where: the setting, for the message.

    Raises:
        ConfigError: if it cannot be imported, or can be no tool.
    """
    module_name, _, name = spec.partition(":")
    if not module_name or not name:
        raise ConfigError(f'{where}: {spec!r} is not a tool: write it like "package.module:function"')
    try:
        function = getattr(importlib.import_module(module_name), name)
    except Exception as error:  # importing a user's module may raise anything
        raise ConfigError(f"{where}: {spec} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise ConfigError(f"{where}: {spec} is a {type(function).__name__}, not a function")
    try:
        return _tool(function)
    except (RuntimeError, TypeError, ValueError, NameError) as error:
        raise ConfigError(f"{where}: {spec} can not be a tool: {one_line(str(error))}") from error


def remember(notebook: Notebook) -> FunctionTool:
    """The tool with which an agent writes into the person's notebook."""

    async def remember(note: str) -> str:
        """Remember something about this person for later conversations, in one short sentence.

        Args:
            note: What to remember.
        """
        await notebook.add(note)
        return "remembered"

    return _tool(remember)


async def _run(tool: FunctionTool, arguments: Mapping[str, object], timeout_s: float) -> ToolResult:
    """Run it; whatever goes wrong becomes a text for the model.

    A function that is not async runs in a thread. When its time is over nobody waits for it any more, but the
    thread itself cannot be stopped: it ends with the process. A cancellation that nobody asked us for is the tool's
    own, of a task that it had begun.
    """
    timer = asyncio.timeout(timeout_s)
    try:
        async with timer:
            if inspect.iscoroutinefunction(tool.function):
                return _returned(await cast("Awaitable[object]", tool.function(**arguments)))
            return await _in_a_thread(tool, arguments)
    except TimeoutError as error:
        return too_late(timeout_s, effects=tool.effects) if timer.expired() else _error(error)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # the user's code
        if isinstance(error, asyncio.CancelledError) and is_cancelled():
            raise
        return _error(error)


async def _in_a_thread(tool: FunctionTool, arguments: Mapping[str, object]) -> ToolResult:
    """Run it in a thread of its own, for which nobody has to wait: those of a pool hold up the end of the process.

    What it raises comes back as a result: StopIteration can not pass a future, and SystemExit ends services.
    """
    done: Future[ToolResult] = Future()
    done.set_running_or_notify_cancel()
    run = copy_context().run

    def called() -> None:
        try:
            done.set_result(_returned(run(tool.function, **arguments)))
        except BaseException as error:  # noqa: BLE001  a tool is the user's code: its faults are told to the model
            done.set_result(_error(error))

    Thread(target=called, name=f"tool {tool.name}", daemon=True).start()
    return await asyncio.wrap_future(done)


def _returned(value: object) -> ToolResult:
    return ToolResult(whole(value if isinstance(value, str) else _json(value)), ok=True)


def _tool(function: Callable[..., Any]) -> FunctionTool:
    definition = Tool(function, takes_ctx=False).tool_def
    effects = not getattr(function, _READ_ONLY, False)
    return FunctionTool(definition=definition, function=validate_call(function), effects=effects)


def too_late(timeout_s: float, *, effects: bool) -> ToolResult:
    """The result of a run that did not end in time."""
    doubt = " It may still take effect: do not call it again." if effects else ""
    return ToolResult(f"The tool did not finish within {timeout_s:.3g} seconds.{doubt}", ok=False)


def failed(why: str) -> ToolResult:
    """The result of a run that failed, in one line without secrets."""
    return ToolResult(one_line(f"The tool failed: {why}", longest=_LONGEST_ERROR), ok=False)


def _error(error: BaseException) -> ToolResult:
    return failed(f"{type(error).__name__}: {error}")


def _json(value: object) -> str:
    """As JSON, or as Python writes it: a result that can not be told must not look like a run that failed."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:
        return str(value)
