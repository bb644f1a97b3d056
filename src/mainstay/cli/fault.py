"""``mainstay fault``: let a model of the sandbox, or the bot's connection to it, fail, and see what comes of it."""

import argparse
import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from mainstay.cli.running import configured, find_sandbox
from mainstay.cli.terminal import table
from mainstay.errors import ConfigError, MainstayError, nearest
from mainstay.sandbox.provider.faults import FAULTS, MIDWAY
from mainstay.units import format_duration

if TYPE_CHECKING:
    from mainstay.sandbox.client import SandboxClient

__all__ = ["add", "run"]

_ACTIONS: Final = ("clear", "list")
_AT_LEAST: Final = {"times": 1, "after_calls": 0, "after_tokens": 0}
_OF_SOME: Final = {"after_tokens": MIDWAY, "retry_after": ("rate-limit",)}
_OF_CONNECTIONS: Final = ("kick", "half-open", "quiet", "no-pongs", "refuse-connections")
_WITHOUT_CLOSE: Final = 1006
_OF_MODELS: Final = {
    "model": "--model", "for_s": "--for", "after_calls": "--after-calls",
    "after_tokens": "--after-tokens", "retry_after": "--retry-after",
}  # fmt: skip


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "fault",
        help="inject a failure into the sandbox's models, or the bot's connection; also: fault list, fault clear",
        description=f"NAME is one of {', '.join(FAULTS)}; of the bot's long connection one of "
        f"{', '.join(_OF_CONNECTIONS)}; or clear, or list.",
    )
    parser.add_argument("name", metavar="NAME", help="a fault, or clear, or list")
    parser.add_argument("--model", metavar="NAME", help="only this model; all of them if absent")
    parser.add_argument("--times", type=int, metavar="N", help="only so many calls")
    parser.add_argument("--for", dest="for_s", type="duration", metavar="30s", help="only for this time")
    parser.add_argument("--after-calls", type=int, metavar="N", help="let the next N calls pass first")
    parser.add_argument(
        "--after-tokens",
        type=int,
        metavar="N",
        help="send N tokens of the answer first, and then break it; 5 if absent",
    )
    parser.add_argument(
        "--retry-after",
        type="duration",
        metavar="30s",
        help="with rate-limit: how long to ask to wait; 2s if absent",
    )
    parser.add_argument("--json", action="store_true", help="with list: as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Change or list what goes wrong."""
    problems = list(_problems(args))
    if problems:
        raise ConfigError(*problems)
    print(asyncio.run(_do(args)))
    return 0


def _problems(args: argparse.Namespace) -> Iterator[str]:
    known = (*FAULTS, *_OF_CONNECTIONS, *_ACTIONS)
    if args.name not in known:
        yield f"fault: there is no fault {args.name}{nearest(args.name, known)}"
        return
    if args.name in _OF_CONNECTIONS:
        flags = _OF_MODELS | ({"times": "--times"} if args.name != "refuse-connections" else {})
        given = [flag for name, flag in flags.items() if getattr(args, name) is not None]
        yield from (f"fault: {flag} means nothing to {args.name}, which is no model's" for flag in given)
    for name, least in _AT_LEAST.items():
        given = getattr(args, name)
        if given is not None and given < least:
            yield f"fault: --{name.replace('_', '-')} must be at least {least}"
    for name, faults in _OF_SOME.items():
        if getattr(args, name) is not None and args.name not in faults:
            yield f"fault: --{name.replace('_', '-')} means nothing to {args.name}, only to {', '.join(faults)}"


async def _do(args: argparse.Namespace) -> str:
    from mainstay.sandbox.client import SandboxClient

    address = find_sandbox(configured(args))
    if args.model and args.model not in address.models:
        raise ConfigError(f"fault: the sandbox has no model {args.model}{nearest(args.model, address.models)}")
    where = args.model or "all models"
    async with SandboxClient(address) as client:
        if args.name == "clear":
            await client.clear(model=args.model or "")
            return f"{where}: no faults"
        if args.name in _OF_CONNECTIONS:
            return await _connection(client, args)
        if args.name == "list":
            faults = (await client.state())["faults"] | await _illnesses(client)
            return json.dumps(faults, indent=2) if args.json else _listing(faults)
        details = {
            "after_calls": args.after_calls,
            "after_tokens": args.after_tokens,
            "retry_after_s": args.retry_after,
        }
        given = {name: value for name, value in details.items() if value is not None}
        await client.fault(args.name, model=args.model or "", times=args.times, for_s=args.for_s, **given)
        return f"{where}: {args.name}{_limits(args)}; `mainstay fault clear` ends it"


async def _connection(client: "SandboxClient", args: argparse.Namespace) -> str:
    """Let the bot's long connections fail."""
    if args.name == "refuse-connections":
        times = args.times or 1
        await client.refuse_handshakes(times=times, status=0, message="unavailable", http=503)
        return f"connection: the next {_count(times, 'attempt')} to make one will be refused"
    met = {
        "kick": lambda: client.kick(_WITHOUT_CLOSE),
        "half-open": client.half_open,
        "quiet": client.quiet,
        "no-pongs": client.without_pongs,
    }
    count = await met[args.name]()
    if not count:
        raise MainstayError('fault: the bot has no long connection open: is its mode "subscription"?')
    if args.name == "kick":
        return f"connection: {_count(count, 'connection')} ended, without a CLOSE"
    return f"connection: {_count(count, 'connection')} {args.name}; `mainstay fault clear` ends it"


async def _illnesses(client: "SandboxClient") -> dict[str, list[dict[str, str]]]:
    """The faults of the connections that are open, in the form of a model's."""
    ill = [each for each in await client.connections() if each.open and each.illness != "none"]
    return {"connection": [{"name": each.illness, "id": each.id} for each in ill]} if ill else {}


def _limits(args: argparse.Namespace) -> str:
    limits = ""
    if args.after_tokens is not None:
        limits += f" after {_count(args.after_tokens, 'token')}"
    if args.retry_after is not None:
        limits += f", retry after {format_duration(args.retry_after)}"
    if args.times is not None:
        limits += f", the next {_count(args.times, 'call')}"
    if args.after_calls:
        limits += f", letting {_count(args.after_calls, 'call')} pass first"
    if args.for_s is not None:
        limits += f", for {format_duration(args.for_s)}"
    return limits


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _listing(faults: Mapping[str, list[dict[str, Any]]]) -> str:
    rows = [(model, fault["name"]) for model, active in faults.items() for fault in active]
    return table([("MODEL", "FAULT"), *rows]) if rows else "no faults"
