"""``mainstay ask``: say something to the bot and watch it answer.

The text goes the whole way: into the sandbox's Feishu, to the service, through inbox, agents and model, and back
onto a card, which is shown here as it grows.
"""

import argparse
import asyncio
import json
import socket
import sys
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from mainstay.cli.outcome import summary
from mainstay.cli.running import NotRunning, configured, find_sandbox
from mainstay.cli.terminal import Growing, dim
from mainstay.config.model import Config, has_credentials
from mainstay.errors import ConfigError, MainstayError, StorageError
from mainstay.messages import Outcome, turn_id_of
from mainstay.units import format_duration

if TYPE_CHECKING:
    from mainstay.inbox.model import Entry
    from mainstay.sandbox.client import SandboxClient
    from mainstay.sandbox.model import SaidMessage, Snapshot

__all__ = ["add", "run"]

_LONGER_THAN_A_TURN_S: Final = 15.0
_CONNECT_S: Final = 2.0
_ASK_AGAIN_S: Final = 0.1
_NOTHING_YET: Final = " .…"
"""What a card says before the first word of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """What ``--json`` prints; ``retryable``, which it does not: the card offers another try."""

    outcome: str
    text: str
    seconds: float
    agent: str = ""
    model: str = ""
    hops: list[dict[str, str]] = field(default_factory=list)
    retryable: bool = False

    def as_json(self) -> str:
        return json.dumps(self.as_dict(), ensure_ascii=False)

    def as_dict(self) -> dict[str, object]:
        """What is printed of it."""
        keys = ("outcome", "text", "agent", "model", "hops", "seconds")
        return {key: getattr(self, key) for key in keys}


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser("ask", help="say something to the bot in the sandbox, and watch it answer")
    parser.add_argument("text", nargs="+", metavar="TEXT", help="what to say")
    parser.add_argument("--json", action="store_true", help="print the outcome as one JSON object")
    parser.add_argument(
        "--chat", default="", metavar="ID", help="in this chat; the sender's private chat if absent"
    )
    parser.add_argument("--as", dest="sender", default="ou_u1", metavar="ID", help="as this person")
    parser.add_argument(
        "--timeout",
        type="duration",
        metavar="3m",
        help="how long to wait; a turn's own limit and a little more",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Say it, and wait for the outcome."""
    if args.timeout == 0:
        raise ConfigError("ask: --timeout must be more than 0")
    config = configured(args)
    timeout_s = args.timeout or config.service.turn_timeout + _LONGER_THAN_A_TURN_S
    growing = None if args.json else Growing()
    result = asyncio.run(_ask(config, args, growing, timeout_s))
    if growing is None:
        print(result.as_json())
    else:
        growing.end(result.text)
        more = "; the card offers another try" if result.retryable else ""
        print(dim(summary(result.as_dict()) + more, sys.stderr), file=sys.stderr)
    return 0 if result.outcome == Outcome.ANSWERED else 1


async def _ask(config: Config, args: argparse.Namespace, growing: Growing | None, timeout_s: float) -> _Result:
    from mainstay.sandbox.client import SandboxClient

    async with SandboxClient(find_sandbox(config)) as client:
        await _require_service(client)
        began = time.monotonic()
        said = await client.say(" ".join(args.text), chat=args.chat, sender=args.sender)
        last = await _watch(client, said.message_id, growing, timeout_s)
        seconds = round(time.monotonic() - began, 3)
    if not last.final:
        return _Result(outcome=Outcome.FAILED, text=last.text, seconds=seconds)
    entry = await _entry(config, said)
    detail: dict[str, Any] = json.loads(entry.detail) if entry and entry.detail else {}
    known = {name: detail[name] for name in ("agent", "model", "hops", "retryable") if name in detail}
    outcome = entry.outcome if entry and entry.outcome else Outcome.ANSWERED
    return _Result(outcome=outcome, text=last.text, seconds=seconds, **known)


async def _require_service(client: "SandboxClient") -> None:
    """Somebody has to hear what is said: the sandbox would deliver it later, and nobody would be waiting."""
    state = await client.state()
    if state["by_connection"]:
        await _require_connection(client)
        return
    url = urlsplit(str(state["url"] or ""))
    if not url.hostname or not url.port:
        raise NotRunning("the sandbox runs, but no service listens to it: start one with `mainstay serve`")
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(url.hostname, url.port)
    except (OSError, TimeoutError, socket.gaierror):
        raise NotRunning(
            f"no service answers at {url.hostname}:{url.port}: start it with `mainstay serve`"
        ) from None
    writer.close()


async def _require_connection(client: "SandboxClient") -> None:
    """The service may be between two runs, and connects when it is ready."""
    try:
        async with asyncio.timeout(_CONNECT_S):
            while not any(each.open for each in await client.connections()):  # noqa: ASYNC110  another process
                await asyncio.sleep(_ASK_AGAIN_S)
    except TimeoutError:
        raise NotRunning("no service is connected to the sandbox: start it with `mainstay serve`") from None


async def _watch(client: "SandboxClient", message_id: str, growing: Growing | None, timeout_s: float) -> "Snapshot":
    """The last snapshot there is within the time."""
    last: Snapshot | None = None
    try:
        async with asyncio.timeout(timeout_s), aclosing(client.watch(message_id)) as snapshots:
            async for snapshot in snapshots:
                last = snapshot
                if growing is not None and not snapshot.final:
                    begun = snapshot.text.strip(_NOTHING_YET)
                    growing.show(snapshot.text if begun else "", snapshot.status)
    except TimeoutError:
        print(f"mainstay: no outcome within {format_duration(timeout_s)}", file=sys.stderr)
    if last is None:
        raise MainstayError("nothing was shown at all: look at the service's log, and at `mainstay health`")
    return last


async def _entry(config: Config, said: "SaidMessage") -> "Entry | None":
    """What the inbox knows about the message: who answered, with which model."""
    from mainstay.clock import SystemClock
    from mainstay.inbox.sqlite import Inbox
    from mainstay.inbox.tables import HEAD
    from mainstay.storage.sqlite import Storage

    channel = next((name for name, each in config.bots.items() if not has_credentials(each)), "feishu")
    turn_id = turn_id_of(channel, said.app_id, "message", said.message_id)
    storage = Storage(config.storage, clock=SystemClock())
    try:
        await storage.open({"mainstay.inbox": HEAD})
    except StorageError as error:
        print(f"mainstay: who answered is not known: {error}", file=sys.stderr)
        return None
    try:
        return await Inbox(storage, config.inbox, clock=SystemClock(), worker="ask").find(turn_id)
    finally:
        await storage.close()
