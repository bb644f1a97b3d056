"""``mainstay fault``: let a model of the sandbox misbehave, and see what comes of it."""

import argparse
import asyncio
import json
from typing import Any, Final

from mainstay.cli.running import configured, find_sandbox
from mainstay.cli.terminal import table
from mainstay.errors import ConfigError, nearest
from mainstay.sandbox.provider.faults import FAULTS
from mainstay.units import format_duration

__all__ = ["add", "run"]

_MODELS: Final = ("primary", "fallback")
_ACTIONS: Final = ("clear", "list")


def add(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare the verb."""
    parser = verbs.add_parser(
        "fault",
        help="inject a failure into the sandbox's models; also: fault list, fault clear",
        description=f"NAME is one of {', '.join(FAULTS)}; or clear, or list.",
    )
    parser.add_argument("name", metavar="NAME", help="a fault, or clear, or list")
    parser.add_argument("--model", choices=_MODELS, help="only this model; both if absent")
    parser.add_argument("--times", type=int, metavar="N", help="only the next N calls")
    parser.add_argument("--for", dest="for_s", type="duration", metavar="30s", help="only for this time")
    parser.add_argument("--json", action="store_true", help="with list: as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Change or list what goes wrong."""
    if args.name not in (*FAULTS, *_ACTIONS):
        raise ConfigError(f"fault: there is no fault {args.name}{nearest(args.name, (*FAULTS, *_ACTIONS))}")
    if args.times is not None and args.times < 1:
        raise ConfigError("fault: --times must be at least 1")
    print(asyncio.run(_do(args)))
    return 0


async def _do(args: argparse.Namespace) -> str:
    from mainstay.sandbox.client import SandboxClient

    where = args.model or "both models"
    async with SandboxClient(find_sandbox(configured(args))) as client:
        if args.name == "clear":
            await client.clear(model=args.model or "")
            return f"{where}: no faults"
        if args.name == "list":
            faults = (await client.state())["faults"]
            return json.dumps(faults, indent=2) if args.json else _listing(faults)
        await client.fault(args.name, model=args.model or "", times=args.times, for_s=args.for_s)
        times = "" if args.times is None else f", the next {args.times} call{'s' * (args.times > 1)}"
        period = "" if args.for_s is None else f", for {format_duration(args.for_s)}"
        return f"{where}: {args.name}{times}{period}; `mainstay fault clear` ends it"


def _listing(faults: dict[str, list[dict[str, Any]]]) -> str:
    rows = [(model, fault["name"]) for model, active in faults.items() for fault in active]
    return table([("MODEL", "FAULT"), *rows]) if rows else "no faults"
