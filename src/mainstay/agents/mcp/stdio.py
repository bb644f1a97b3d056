"""How is a server run that is a command?

As a child of a small process that ends it when we can not (`mainstay.agents.mcp.leash`), speaking one JSON message
a line. A line has a greatest length, what is no message is skipped, and the last words of its error output are
kept: they say why it ended.
"""

import asyncio
import logging
import os
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from mainstay.agents.mcp import leash
from mainstay.agents.mcp.link import LONGEST_MESSAGE_BYTES
from mainstay.agents.mcp.model import McpSettings
from mainstay.recovery.wording import one_line
from mainstay.settings import Secret
from mainstay.units import format_size

__all__ = ["CommandLink"]

_log = logging.getLogger(__name__)

_WAITING_WRITES: Final = 16
_LAST_LINES: Final = 3
_LONGEST_LINE: Final = 4000
"""Of a longer one only the beginning is kept: what begins in the middle may begin with half a secret."""
_END_WITHIN_S: Final = 3 * leash.GRACE_S + 1
_READ_WITHIN_S: Final = 0.5  # what it said last, once it has ended; one that left its group may hold the pipes

Received = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Received], MemoryObjectSendStream[SessionMessage]]


class CommandLink:
    """One run of the command; see `mainstay.agents.mcp.link.Link`."""

    def __init__(self, settings: McpSettings) -> None:
        self.ended = asyncio.Event()
        self._settings = settings
        self._by_itself = False
        self._too_long = False
        self._status: int | None = None
        self._said: deque[str] = deque(maxlen=_LAST_LINES)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Streams, None]:
        """See `mainstay.agents.mcp.link.Link.open`."""
        lifeline, held = os.pipe()
        try:
            process = await self._start(lifeline)
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            incoming, received = anyio.create_memory_object_stream[Received](0)
            outgoing, written = anyio.create_memory_object_stream[SessionMessage](_WAITING_WRITES)
            async with asyncio.TaskGroup() as tasks:
                ending = tasks.create_task(self._wait(process))
                writing = tasks.create_task(_write(process.stdin, written))
                reading = {
                    tasks.create_task(self._read(process.stdout, incoming)),
                    tasks.create_task(self._listen(process.stderr)),
                }
                try:
                    yield received, outgoing
                finally:
                    self._by_itself = self.ended.is_set()
                    received.close()
                    outgoing.close()
                    process.stdin.close()
                    held = _let_go(held)  # from here on the leash ends it, whatever becomes of us
                    await asyncio.wait({ending}, timeout=_END_WITHIN_S)
                    await asyncio.wait(reading, timeout=_READ_WITHIN_S)
                    for task in (ending, writing, *reading):
                        task.cancel()
        finally:
            _let_go(held)

    def why(self) -> str:
        """See `mainstay.agents.mcp.link.Link.why`."""
        if self._too_long:
            return f"it sent a message of more than {format_size(LONGEST_MESSAGE_BYTES)}"
        if not self._by_itself or self._status is None:
            return ""
        last = one_line(" ".join(self._said))
        return f"it ended with status {self._status}" + (f": {last}" if last else "")

    async def _start(self, lifeline: int) -> Process:
        settings = self._settings
        own = {name: value.reveal() if isinstance(value, Secret) else value for name, value in settings.env.items()}
        try:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", leash.__file__, str(lifeline), *settings.command),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=LONGEST_MESSAGE_BYTES,
                env=get_default_environment() | own,
                cwd=settings.cwd or None,
                pass_fds=(lifeline,),
                start_new_session=True,
            )
        finally:
            os.close(lifeline)

    async def _wait(self, process: Process) -> None:
        self._status = await process.wait()
        self.ended.set()

    async def _read(self, stdout: StreamReader, incoming: MemoryObjectSendStream[Received]) -> None:
        """Pass on the messages to the end of the output; what nobody takes any more is read all the same."""
        with incoming:
            try:
                while line := await _line(stdout):
                    if message := _message(line):
                        await incoming.send(message)
                self.ended.set()
            except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass  # the session is gone, and not because of the server
            except asyncio.LimitOverrunError:
                self._too_long = True
                self.ended.set()
        while await stdout.read(LONGEST_MESSAGE_BYTES):
            pass  # a server that can not write would not end

    async def _listen(self, stderr: StreamReader) -> None:
        line = ""
        try:
            while chunk := await stderr.read(_LONGEST_LINE):
                *whole, line = (line + chunk.decode(errors="replace")).split("\n")
                for each in whole:
                    self._heard(each)
                line = line[:_LONGEST_LINE]
        finally:
            self._heard(line)

    def _heard(self, line: str) -> None:
        if line.strip():
            _log.debug("%s says: %s", self._settings.command[0], one_line(line))
            self._said.append(line[:_LONGEST_LINE])


def _let_go(descriptor: int) -> int:
    """Close it, unless that was done; returns what is left of it."""
    if descriptor >= 0:
        os.close(descriptor)
    return -1


async def _line(stdout: StreamReader) -> bytes:
    try:
        return await stdout.readuntil()
    except asyncio.IncompleteReadError:
        return b""  # half a line at the end is no message


def _message(line: bytes) -> SessionMessage | None:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError:
        return None  # many servers print something before, or in between


async def _write(stdin: StreamWriter, written: MemoryObjectReceiveStream[SessionMessage]) -> None:
    with written:
        try:
            async for each in written:
                stdin.write(each.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                await stdin.drain()
        except ConnectionError:
            pass  # it reads no more: the end of its output tells
